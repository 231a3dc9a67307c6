"""What the generated functions call: presence, codes, references, dates, and how problems are collected.

A check gives None when all is well, otherwise a list of problems. The path of a problem grows on the way up, so that
nothing is spent on paths while nothing is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from functools import cache
from importlib import import_module
from typing import Any, Final, NamedTuple

from caremesh.fhir import definitions

MAX_PROBLEMS: Final = 200
"""One resource does not get more issues than this: a file of faults is not worth gigabytes of words."""


class Problem(NamedTuple):
    """``path`` below the element that was checked, ``rule`` that it breaks, ``detail`` that the words need."""

    path: str
    rule: str
    detail: str = ""


Problems = list[Problem]


class Context:
    """What a check may look at besides its element: the resource it is in, the one that contains it, their text.

    ``under``: there may be names that begin with an underscore; ``ids``: of what is contained.
    """

    __slots__ = ("bundle", "depth", "ids", "resource", "root", "text", "under")

    def __init__(self, root: dict[str, Any], *, under: bool, text: bytes = b"") -> None:
        self.root = root
        self.text = text
        self.resource = root
        self.under = under
        self.bundle = ""
        self.depth = 0
        self.ids: frozenset[str] = frozenset()

    def inside(self, resource: dict[str, Any]) -> Context:
        """The same, one resource further in."""
        inner = Context(self.root, under=self.under, text=self.text)
        inner.resource, inner.bundle, inner.depth, inner.ids = resource, self.bundle, self.depth + 1, self.ids
        return inner


Check = Callable[[Any, Context], Problems | None]


def put(problems: Problems | None, path: str, rule: str, detail: str = "") -> Problems:
    """One more problem."""
    if problems is None:
        return [Problem(path, rule, detail)]
    problems.append(Problem(path, rule, detail))
    return problems


def at(problems: Problems | None, name: str, below: Problems) -> Problems:
    """The problems of a child, under its name."""
    found = problems if problems is not None else []
    if not name:
        return [*found, *below]
    for path, rule, detail in below[: MAX_PROBLEMS - len(found)]:
        found.append(Problem(f"{name}{path}" if not path or path[0] == "[" else f"{name}.{path}", rule, detail))
    return found


def many(check: Check, nodes: list[Any], c: Context) -> Problems | None:
    """The same check on each of a list, which may not be empty."""
    problems = None
    for index, node in enumerate(nodes):
        below = check(node, c)
        if below:
            problems = at(problems, f"[{index}]", below)
    return problems if nodes else put(None, "", "empty-array")


def bare(v: dict[str, Any]) -> bool:
    """True for an element without value or children (ele-1)."""
    return not v or (len(v) == 1 and "id" in v)


def codes(name: str) -> frozenset[str]:
    """The codes of a value set that can be enumerated, whatever their system."""
    held = definitions.terminology()["sets"][name]
    return frozenset(code for some in held.values() for code in some)


def values(test: Callable[[Any], bool], nodes: list[Any], rule: str, detail: str = "") -> Problems | None:
    """A test on each of a list of primitives; null stands for one that has only extensions."""
    problems = None
    for index, node in enumerate(nodes):
        if node is not None and not test(node):
            problems = put(problems, f"[{index}]", rule, detail)
    return problems


def whole_array(v: dict[str, Any], key: str) -> Problems | None:
    """A list of primitives is not empty, and its nulls are where extensions stand instead."""
    nodes = v[key]
    if not nodes:
        return put(None, "", "empty-array")
    if None in nodes:
        others = v.get(f"_{key}") or []
        for index, node in enumerate(nodes):
            if node is None and (index >= len(others) or not others[index]):
                return put(None, f"[{index}]", "null")
    return None


def real_day(text: str) -> bool:
    """False for the 30th of February and its like; ``text``: a date or date-time whose form is right."""
    if text[8:10] <= "28":
        return True
    try:
        date.fromisoformat(text[:10])
    except ValueError:
        return False
    return True


_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}")


def is_base64(text: str) -> bool:
    """RFC 4648 with white space allowed between, as XML Schema has it."""
    packed = "".join(text.split())
    return len(packed) % 4 == 0 and _BASE64.fullmatch(packed) is not None


_UUID: Final = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_OID: Final = re.compile(r"urn:oid:[0-2](\.(0|[1-9][0-9]*))+")


def is_uri(text: str) -> bool:
    """False for a ``urn:uuid:`` or ``urn:oid:`` that is not one."""
    if text.startswith("urn:uuid:"):
        return _UUID.fullmatch(text) is not None
    return not text.startswith("urn:oid:") or _OID.fullmatch(text) is not None


def is_absolute(text: str) -> bool:
    """A canonical url: absolute, or a fragment (R4, data types, canonical)."""
    return text[:1] == "#" or (":" in text and is_uri(text.partition("|")[0]))


def is_whole(number: Any) -> bool:
    """A whole number as FHIR writes it: 1, not 1.0."""
    return number.__class__ is int


@cache
def systems() -> dict[str, frozenset[str]]:
    """The codes of HL7's complete code systems by url."""
    return {url: frozenset(held) for url, held in definitions.terminology()["systems"].items()}


_SYSTEMS: Final = systems()


def known_code(v: dict[str, Any]) -> bool:
    """False for a code that its HL7 code system does not have; true where that is not ours to say."""
    held = _SYSTEMS.get(v["system"])
    return held is None or v["code"] in held


class Bound:
    """A required binding of a Coding, CodeableConcept or Quantity to a value set that can be enumerated."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.held = {system: frozenset(some) for system, some in definitions.terminology()["sets"][name].items()}

    def coding(self, v: dict[str, Any]) -> bool:
        """True for a code of the set."""
        return v.get("code") in self.held.get(v.get("system", ""), ())

    def concept(self, v: dict[str, Any]) -> bool:
        """True when one of the codings is of the set."""
        return any(self.coding(each) for each in v.get("coding", ()))


_REFERENCE: Final = re.compile(
    r"(?:(?P<base>(?:https?|Https?)://[^\s?#]+)/)?(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9\-.]{1,64})"
    r"(?:/_history/[A-Za-z0-9\-.]{1,64})?(?:#[^\s]*)?"
)
_CONDITIONAL: Final = re.compile(r"(?P<type>[A-Z][A-Za-z]+)\?[^\s]+")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_TYPES: Final = frozenset(
    name for name, one in definitions.structure()["types"].items() if one["kind"] == "resource" and not one["abstract"]
)


def refer(v: dict[str, Any], c: Context, targets: frozenset[str] | None) -> Problems | None:
    """A Reference has a form that R4 knows, and points at a type that may stand there (``targets``; None: any)."""
    text = v.get("reference")
    problems = None if text is None else points_at(text, c, targets)
    if "type" in v and text is not None and (match := _REFERENCE.fullmatch(text)) and v["type"] != match["type"]:
        problems = put(problems, "type", "reference-differs")
    if problems is None and (text is None or len(v) > 2 or (len(v) == 2 and "display" not in v)):
        return data_type("reference")(v, c)
    return problems


def refer_all(nodes: list[Any], c: Context, targets: frozenset[str] | None) -> Problems | None:
    """The same for each of a list, which may not be empty."""
    problems = None
    for index, node in enumerate(nodes):
        below = refer(node, c, targets)
        if below:
            problems = at(problems, f"[{index}]", below)
    return problems if nodes else put(None, "", "empty-array")


@cache
def data_type(name: str) -> Check:
    """The generated function of a data type; those import this module, so that it cannot import them first."""
    found: Check = getattr(import_module("caremesh.fhir.validation.generated.datatypes"), f"check_{name}")
    return found


def points_at(text: str, c: Context, targets: frozenset[str] | None) -> Problems | None:
    """The text of a reference."""
    if text[:4] == "urn:":
        return None if is_uri(text) else put(None, "reference", "uri")
    if text[:1] == "#":
        return _contained(text[1:], c, targets)
    match = _REFERENCE.fullmatch(text) or _CONDITIONAL.fullmatch(text)
    if match is None:
        return None if _SCHEME.match(text) else put(None, "reference", "reference-form")
    kind = match["type"]
    if kind not in _TYPES:
        elsewhere = match.re is _REFERENCE and match["base"]
        return None if elsewhere else put(None, "reference", "reference-type")
    if targets is not None and kind not in targets:
        return put(None, "reference", "reference-target", ", ".join(sorted(targets)))
    return None


def _contained(name: str, c: Context, targets: frozenset[str] | None) -> Problems | None:
    """ref-1, and the type of what is contained."""
    if not name:
        return None
    if name not in c.ids:
        return put(None, "", "ref-1")
    if targets is not None:
        for each in c.root.get("contained", ()) if c.root.get("id") != name else ():
            kind = each.get("resourceType")
            if each.get("id") == name and isinstance(kind, str) and kind not in targets:
                return put(None, "reference", "reference-target", ", ".join(sorted(targets)))
    return None
