"""Constraints of R4 that are written by hand: for speed, or because FHIRPath alone does not say them."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from caremesh.fhir.validation import dispatch
from caremesh.fhir.validation.checks import Check, Context, Problems, at, is_uri, many, put
from caremesh.fhir.validation.narrative import faults
from caremesh.fhir.validation.paths import compare_times

DEEPEST = 20
"""Resources inside resources: R4 needs three (a bundle in Parameters in a bundle); more is an attack."""


def period(v: Any, _c: Context) -> Problems | None:
    """per-1: a period does not end before it starts. What the precision does not tell is let pass."""
    if "start" in v and "end" in v:
        start, end = v["start"], v["end"]
        if start > end and compare_times(start, end) == 1:
            return put(None, "", "per-1")
        if start[-1:] != end[-1:] and compare_times(start, end) == 1:
            return put(None, "", "per-1")
    return None


def ranges(v: Any, _c: Context) -> Problems | None:
    """rng-2: low is not above high, where both are in the same unit."""
    low, high = v.get("low"), v.get("high")
    if low and high and "value" in low and "value" in high:
        same_unit = low.get("code") == high.get("code") and low.get("system") == high.get("system")
        if same_unit and low["value"] > high["value"]:
            return put(None, "", "rng-2")
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


def narrative(v: Any, _c: Context) -> Problems | None:
    """txt-1 and txt-2: the narrative is the allowed part of XHTML, and says something."""
    if "div" not in v:
        return None
    fault = faults(v["div"])
    return put(None, "div", *fault) if fault else None


def contained(v: Any, c: Context) -> Problems | None:
    """dom-2 to dom-5, and every contained resource by its own rules."""
    nodes = v["contained"]
    problems = many(lambda node, _: dispatch.inner(node, c.inside(node)), nodes, c)
    for node in nodes:
        meta = node.get("meta", {})
        if "contained" in node:
            problems = put(problems, "", "dom-2")
        if "versionId" in meta or "lastUpdated" in meta:
            problems = put(problems, "", "dom-4")
        if "security" in meta:
            problems = put(problems, "", "dom-5")
    used, back = _mentioned(v)
    for node in nodes:
        if "id" not in node:
            problems = put(problems, "", "contained-id")
        elif f"#{node['id']}" not in used and id(node) not in back:
            problems = put(problems, "", "dom-3")
    ids = [node["id"] for node in nodes if "id" in node]
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
    inner = Context(v, under=c.under)
    inner.bundle, inner.depth = c.bundle or "inside", c.depth + 1
    return dispatch.inner(v, inner)


def domain(v: Any, c: Context) -> Problems | None:
    """What every resource has: meta, text, contained, extensions."""
    problems: Problems | None = None
    if "meta" in v and (below := _data("meta")(v["meta"], c)):
        problems = at(problems, "meta", below)
    if "implicitRules" in v and not is_uri(v["implicitRules"]):
        problems = put(problems, "implicitRules", "uri")
    if "text" in v and (below := _data("narrative")(v["text"], c)):
        problems = at(problems, "text", below)
    if "contained" in v and (below := contained(v, c)):
        problems = at(problems, "contained", below)
    for key in ("extension", "modifierExtension"):
        if key in v and (below := many(_data("extension"), v[key], c)):
            problems = at(problems, key, below)
    return problems


@cache
def _data(name: str) -> Check:
    """A generated function of a data type; they import this module, so that it cannot import them first."""
    found: Check = getattr(import_module("caremesh.fhir.validation.generated.datatypes"), f"check_{name}")
    return found
