"""Constraints of R4 that are written by hand: for speed, or because FHIRPath alone does not say them."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from caremesh.fhir import definitions
from caremesh.fhir.validation import dispatch
from caremesh.fhir.validation.checks import (
    Context,
    Problems,
    at,
    data_type,
    is_uri,
    many,
    points_at,
    put,
)
from caremesh.fhir.validation.narrative import faults
from caremesh.fhir.validation.paths import compare_times, descendants

DEEPEST = 20
"""Resources inside resources: R4 needs three (a bundle in Parameters in a bundle); more is an attack."""


def period(v: Any, _c: Context) -> Problems | None:
    """per-1: a period does not end before it starts. What the precision does not tell is let pass."""
    if "start" in v and "end" in v:
        start, end = v["start"], v["end"]
        if (start > end or start[-1:] != end[-1:]) and compare_times(start, end) == 1:
            return put(None, "", "per-1")
    return None


def ranges(v: Any, _c: Context) -> Problems | None:
    """rng-2: low is not above high, where both are in the same unit."""
    low, high = v.get("low"), v.get("high")
    if not low or not high or any(low.get(key) != high.get(key) for key in ("code", "system", "unit")):
        return None
    return put(None, "", "rng-2") if "value" in low and "value" in high and low["value"] > high["value"] else None


def reference(v: Any, c: Context) -> Problems | None:
    """The form of a reference whose place does not say what it may point at."""
    return points_at(v["reference"], c, None) if "reference" in v else None


_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")


def identifier(v: Any, _c: Context) -> Problems | None:
    """An identifier of the system of URIs is a URI (R4, Identifier, Notes)."""
    if v.get("system") == "urn:ietf:rfc:3986" and "value" in v and not _SCHEME.match(v["value"]):
        return put(None, "value", "identifier-uri")
    return None


def probability(v: Any, _c: Context) -> Problems | None:
    """ras-1: low and high of a probability are percentages."""
    held = v.get("probabilityRange")
    if held:
        for end in ("low", "high"):
            one = held.get(end)
            if one and (one.get("code") != "%" or one.get("system") != "http://unitsofmeasure.org"):
                return put(None, "probabilityRange", "ras-1")
    return None


def link_ids(v: Any, _c: Context) -> Problems | None:
    """que-2: every linkId of a questionnaire is there once."""
    seen: set[str] = set()
    waiting = list(v.get("item", ()))
    while waiting:
        item = waiting.pop()
        name = item.get("linkId")
        if name is not None and name in seen:
            return put(None, "", "que-2")
        seen.add(name)
        waiting += item.get("item", ())
    return None


def same_code(v: Any, _c: Context) -> Problems | None:
    """obs-7: no value where a component has the code of the whole."""
    components = v.get("component")
    if components and any(key.startswith("value") for key in v):
        codings = v.get("code", {}).get("coding", ())
        for component in components:
            for each in component.get("code", {}).get("coding", ()):
                if each in codings:
                    return put(None, "", "obs-7")
    return None


def narrative(v: Any, c: Context) -> Problems | None:
    """txt-1 and txt-2: a narrative is the allowed part of XHTML, and says something; its inner links lead somewhere."""
    if "div" not in v:
        return None
    rule, how, links = faults(v["div"])
    if rule:
        return put(None, "div", rule, how)
    if links and not links <= _element_ids(c.resource):
        return put(None, "div", "narrative-link")
    return None


def _element_ids(resource_: dict[str, Any]) -> set[str]:
    """Every id in a resource."""
    nodes = (resource_, *descendants([resource_]))
    return {node["id"] for node in nodes if isinstance(node, dict) and isinstance(node.get("id"), str)}


def one_content(v: Any, _c: Context) -> Problems | None:
    """ext-1: an extension has a value or extensions, not both and not neither."""
    has_value = any(key[:5] == "value" or key[:6] == "_value" for key in v)
    return put(None, "", "ext-1") if has_value == ("extension" in v) else None


def extension(v: Any, c: Context) -> Problems | None:
    """An extension that is not part of another: its url is absolute; where HL7 defines it, it is as defined."""
    problems = data_type("extension")(v, c)
    url = v.get("url", ":")
    if ":" not in url:
        return put(problems, "url", "extension-url")
    defined = _extensions().get(url)
    if defined is None:
        return problems
    held = [key[5:] for key in v if key[:5] == "value"]
    values = defined["values"]
    if held and not any(held[0].lower() == kind.lower() for kind in values):
        problems = put(problems, "", "extension-value", ", ".join(values) or "nothing (it has parts)")
    if defined["parts"]:
        for index, part in enumerate(v.get("extension", ())):
            if part.get("url") not in defined["parts"] and ":" not in part.get("url", ":"):
                problems = put(problems, f"extension[{index}]", "extension-part", ", ".join(sorted(defined["parts"])))
    return problems


@cache
def _extensions() -> dict[str, Any]:
    found: dict[str, Any] = definitions.structure()["extensions"]
    return found


_RESTFUL: Final = re.compile(r"https?://\S+/(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9\-.]{1,64})")


def bundle_entries(v: Any, _c: Context) -> Problems | None:
    """fullUrl is there where R4 wants it, and does not contradict the resource (R4, Bundle, fullUrl)."""
    problems = None
    exempt = v.get("type") in {"batch", "transaction", "batch-response", "transaction-response"}
    for index, entry in enumerate(v.get("entry", ())):
        held = entry.get("resource")
        url = entry.get("fullUrl")
        if url is None:
            if held is not None and not exempt and "_fullUrl" not in entry:
                problems = put(problems, f"entry[{index}]", "full-url")
        elif held is not None and _says_another(url, held):
            problems = put(problems, f"entry[{index}].fullUrl", "full-url-differs")
    return problems


def contained(v: Any, c: Context) -> Problems | None:
    """dom-2 to dom-5, and every contained resource by its own rules."""
    nodes = v["contained"]
    problems = many(lambda node, _: dispatch.inner(node, c.inside(node)), nodes, c)
    for node in nodes:
        meta = node.get("meta")
        if not isinstance(meta, dict):
            meta = {}
        if "contained" in node:
            problems = put(problems, "", "dom-2")
        if "versionId" in meta or "lastUpdated" in meta:
            problems = put(problems, "", "dom-4")
        if "security" in meta:
            problems = put(problems, "", "dom-5")
    for node in nodes:
        if "id" not in node:
            problems = put(problems, "", "contained-id")
    if not all(b'"#%s"' % str(node.get("id")).encode() in c.text for node in nodes):
        used, back = _mentioned(v)
        for node in nodes:
            if "id" in node and f"#{node['id']}" not in used and id(node) not in back:
                problems = put(problems, "", "dom-3")
    ids = [node["id"] for node in nodes if isinstance(node.get("id"), str)]
    return put(problems, "", "contained-twice") if len(set(ids)) != len(ids) else problems


def _mentioned(v: Any) -> tuple[set[str], set[int]]:
    """Fragments that the resource mentions, and which of its contained resources refer back to it."""
    used: set[str] = set()
    back: set[int] = set()
    for owner in (v, *v["contained"]):
        waiting: list[Any] = [owner]
        while waiting:
            node = waiting.pop()
            for key, child in node.items() if isinstance(node, dict) else enumerate(node):
                if isinstance(child, str):
                    if child[:1] == "#":
                        if child == "#" and owner is not v:
                            back.add(id(owner))
                        used.add(child)
                elif isinstance(child, dict | list) and not (owner is v and key == "contained"):
                    waiting.append(child)
    return used, back


def resource(v: Any, c: Context) -> Problems | None:
    """A resource inside another (a bundle's entry, a parameter): by its own rules, as a resource of its own."""
    if c.depth >= DEEPEST:
        return put(None, "", "too-deep")
    inner = Context(v, under=c.under, text=c.text if c.depth else b"")
    inner.bundle, inner.depth = c.bundle or "inside", c.depth + 1
    return dispatch.inner(v, inner)


def _says_another(url: str, held: dict[str, Any]) -> bool:
    match = _RESTFUL.fullmatch(url)
    if match is None or match["type"] not in dispatch.types():
        return False
    return (match["type"], match["id"]) != (held.get("resourceType"), held.get("id"))


def domain(v: Any, c: Context) -> Problems | None:
    """What every resource has: meta, text, contained, extensions."""
    problems: Problems | None = None
    if "meta" in v and (below := data_type("meta")(v["meta"], c)):
        problems = at(problems, "meta", below)
    if "implicitRules" in v and not is_uri(v["implicitRules"]):
        problems = put(problems, "implicitRules", "uri")
    if "text" in v and (below := data_type("narrative")(v["text"], c)):
        problems = at(problems, "text", below)
    if "contained" in v and (below := contained(v, c)):
        problems = at(problems, "contained", below)
    for key in ("extension", "modifierExtension"):
        if key in v and (below := many(extension, v[key], c)):
            problems = at(problems, key, below)
    return problems
