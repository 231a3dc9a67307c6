"""Make faulty resources from good ones: one fault each, of five kinds, the same ones on every run.

The kinds: *cardinality* (a required element gone, an empty array, two forms of a choice), *code* (outside a required
value set or an HL7 code system), *reference* (a form, a type, or a contained resource that cannot be), *invariant* (a
constraint of R4),
*type* (text for a number, a day that is none, an element that R4 does not have). Each is wrong by a rule of R4 whatever
the rest of the resource says, so a validator that lets one pass is wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final, NamedTuple

from caremesh.fhir import definitions
from tools.fhir_examples import DEFINITIONS, kept
from tools.fhir_types import Element, Types

Json = dict[str, Any]
PER_KIND: Final = 300
LARGEST: Final = 8_000
ABSENT: Final = "caremesh-no-such-code"
NOWHERE: Final = "#caremesh-nowhere"


class Mutant(NamedTuple):
    """A faulty resource. ``name``: kind, fault, and the example it was made from."""

    name: str
    kind: str
    resource: bytes


class Spot(NamedTuple):
    """A place in a resource: the object, its path in the types, an element of it and the key that it is under."""

    owner: Json
    path: str
    element: Element
    key: str


@cache
def types() -> Types:
    """The types of R4."""
    return Types(definitions.structure())


def spots(node: Json, path: str) -> Iterator[Spot]:
    """Every element that is there, at any depth, but not in contained resources and extensions."""
    for element in types().children(path).values():
        for key in element.keys:
            if key not in node or element.name in {"extension", "modifierExtension", "contained", "resource"}:
                continue
            yield Spot(node, path, element, key)
            for child in node[key] if isinstance(node[key], list) else [node[key]]:
                if isinstance(child, dict):
                    yield from spots(child, element.at[key])


def _number(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("/".join(parts).encode()).digest()[:8], "big")


def mutants(sources: tuple[str, ...], usable: Callable[[str, str], bool]) -> list[Mutant]:
    """``PER_KIND`` of each kind, from the examples that ``usable(source, name)`` allows."""
    made: dict[str, list[tuple[int, Mutant]]] = {}
    for source in sources:
        for name, data in kept(source).items():
            kind_of = json.loads(data)["resourceType"]
            if not usable(source, name) or len(data) > LARGEST or kind_of in DEFINITIONS or kind_of == "Bundle":
                continue
            for mutant in _of(f"{source}/{name}", data):
                made.setdefault(mutant.kind, []).append((_number("mutant", mutant.name), mutant))
    return [mutant for kind in sorted(made) for _, mutant in sorted(made[kind])[:PER_KIND]]


def _of(name: str, data: bytes) -> Iterator[Mutant]:
    """One mutant of each kind that the example has a place for; which fault, the hash of its name says."""
    for kind, faults in FAULTS.items():
        for fault in sorted(faults, key=lambda one: _number(name, one.__name__)):
            resource = json.loads(data)
            applied = list(fault(resource, list(spots(resource, resource["resourceType"]))))
            if applied:
                applied[_number(name, fault.__name__, "which") % len(applied)]()
                text = json.dumps(resource, separators=(",", ":"), ensure_ascii=False).encode()
                yield Mutant(f"{kind}/{fault.__name__}/{name}", kind, text)
                break


Acts = Iterator[Callable[[], Any]]


def _setter(owner: Json, key: str, value: Any) -> Callable[[], Any]:
    return lambda: owner.__setitem__(key, value)


def _primitive(spot: Spot, *codes: str) -> bool:
    return spot.element.keys[spot.key] in codes and not isinstance(spot.owner[spot.key], list)


def required_gone(_: Json, found: list[Spot]) -> Acts:
    """A required element is left out."""
    for spot in found:
        if (
            spot.element.min > 0
            and not spot.element.choice
            and f"_{spot.key}" not in spot.owner
            and len(spot.owner) > 2
        ):
            yield lambda spot=spot: spot.owner.pop(spot.key)  # type: ignore[misc]


def empty_array(_: Json, found: list[Spot]) -> Acts:
    """An array holds nothing."""
    for spot in found:
        if isinstance(spot.owner[spot.key], list):
            yield _setter(spot.owner, spot.key, [])


def two_choices(_: Json, found: list[Spot]) -> Acts:
    """Two forms of a choice."""
    for spot in found:
        texts = {"String": "two", "Boolean": True, "DateTime": "2020-01-01", "Integer": 1}
        for form, value in texts.items():
            other = spot.element.name + form
            if spot.element.choice and other in spot.element.keys and other not in spot.owner:
                yield _setter(spot.owner, other, value)


def too_many(_: Json, found: list[Spot]) -> Acts:
    """An array where R4 has one."""
    for spot in found:
        if not spot.element.many:
            yield _setter(spot.owner, spot.key, [spot.owner[spot.key]] * 2)


def _bound(spot: Spot) -> bool:
    binding = spot.element.binding
    return bool(binding and binding[0] == "required" and definitions.terminology()["sets"].get(binding[1]))


def code_outside(_: Json, found: list[Spot]) -> Acts:
    """A code that its required value set does not have."""
    for spot in found:
        if _primitive(spot, "code") and _bound(spot):
            yield _setter(spot.owner, spot.key, ABSENT)


def concept_outside(_: Json, found: list[Spot]) -> Acts:
    """A CodeableConcept outside its required value set."""
    for spot in found:
        if spot.element.keys[spot.key] == "CodeableConcept" and _bound(spot) and not spot.element.many:
            coding = {"system": "http://loinc.org", "code": "1-8"}
            yield _setter(spot.owner, spot.key, {"coding": [coding]})


def unknown_code(_: Json, found: list[Spot]) -> Acts:
    """A code that its HL7 code system does not have."""
    for spot in found:
        if (
            spot.path == "Coding"
            and spot.key == "code"
            and spot.owner.get("system") in definitions.terminology()["systems"]
        ):
            yield _setter(spot.owner, "code", ABSENT)


def _references(found: list[Spot]) -> Iterator[tuple[Json, list[str]]]:
    for spot in found:
        if spot.element.keys[spot.key] == "Reference":
            held = spot.owner[spot.key]
            for one in held if isinstance(held, list) else [held]:
                if "reference" in one:
                    yield one, spot.element.targets.get(spot.key, [])


def wrong_target(_: Json, found: list[Spot]) -> Acts:
    """A reference at a type that may not stand there."""
    for one, targets in _references(found):
        if targets and not {"Resource", "Slot"} & set(targets):
            yield _setter(one, "reference", "Slot/1")


def dangling(_: Json, found: list[Spot]) -> Acts:
    """A reference at a contained resource that is not there."""
    for one, _targets in _references(found):
        yield _setter(one, "reference", NOWHERE)


def malformed(_: Json, found: list[Spot]) -> Acts:
    """A reference that is no URL, or names what is no type."""
    for one, _targets in _references(found):
        yield _setter(one, "reference", "no reference")
        yield _setter(one, "reference", "Nonsense/1")


def unit_without_system(_: Json, found: list[Spot]) -> Acts:
    """qty-3"""
    for spot in found:
        if (
            spot.path in {"Quantity", "Age", "Count", "Distance", "Duration"}
            and spot.key == "code"
            and "system" in spot.owner
        ):
            yield lambda spot=spot: spot.owner.pop("system")  # type: ignore[misc]


def ends_before_start(_: Json, found: list[Spot]) -> Acts:
    """per-1"""
    for spot in found:
        if spot.path == "Period" and spot.key == "start":
            yield _setter(spot.owner, "end", "1800-01-01")


def empty_element(_: Json, found: list[Spot]) -> Acts:
    """ele-1"""
    for spot in found:
        if isinstance(spot.owner[spot.key], dict):
            yield _setter(spot.owner, spot.key, {})


def blank_narrative(resource: Json, _: list[Spot]) -> Acts:
    """txt-2"""
    if "text" in resource:
        yield _setter(resource["text"], "div", '<div xmlns="http://www.w3.org/1999/xhtml"> </div>')


def script_in_narrative(resource: Json, _: list[Spot]) -> Acts:
    """txt-1"""
    if "text" in resource:
        yield _setter(resource["text"], "div", '<div xmlns="http://www.w3.org/1999/xhtml"><script>x</script></div>')


def orphan(resource: Json, _: list[Spot]) -> Acts:
    """dom-3"""
    yield lambda: resource.setdefault("contained", []).append(
        {"resourceType": "Basic", "id": "orphan", "code": {"text": "x"}}
    )


def value_and_extensions(resource: Json, _: list[Spot]) -> Acts:
    """ext-1"""
    part = [{"url": "a", "valueString": "b"}]
    one = {"url": "http://example.org/caremesh", "valueString": "x", "extension": part}
    yield lambda: resource.setdefault("extension", []).append(one)


def telecom_without_system(_: Json, found: list[Spot]) -> Acts:
    """cpt-2"""
    for spot in found:
        if spot.path == "ContactPoint" and spot.key == "system" and "value" in spot.owner:
            yield lambda spot=spot: spot.owner.pop("system")  # type: ignore[misc]


def reason_beside_value(resource: Json, _: list[Spot]) -> Acts:
    """obs-6"""
    if resource["resourceType"] == "Observation" and any(key.startswith("value") for key in resource):
        yield _setter(resource, "dataAbsentReason", {"text": "x"})


def number_for_text(_: Json, found: list[Spot]) -> Acts:
    """A number where text belongs."""
    for spot in found:
        if _primitive(spot, "string", "code", "dateTime", "date", "uri", "id", "instant"):
            yield _setter(spot.owner, spot.key, 7)


def text_for_number(_: Json, found: list[Spot]) -> Acts:
    """Text where a number or a truth belongs."""
    for spot in found:
        if _primitive(spot, "decimal", "integer", "positiveInt", "unsignedInt", "boolean"):
            yield _setter(spot.owner, spot.key, "true")


def text_for_object(_: Json, found: list[Spot]) -> Acts:
    """Text where an object belongs."""
    for spot in found:
        if isinstance(spot.owner[spot.key], dict):
            yield _setter(spot.owner, spot.key, "text")


def no_such_day(_: Json, found: list[Spot]) -> Acts:
    """The 30th of February, the year 0, and a time without its zone."""
    for spot in found:
        if _primitive(spot, "date", "dateTime"):
            yield _setter(spot.owner, spot.key, "2019-02-30")
            yield _setter(spot.owner, spot.key, "0000-01-01")
        if _primitive(spot, "dateTime", "instant"):
            yield _setter(spot.owner, spot.key, "2019-02-03T10:00:00")


def no_such_element(_: Json, found: list[Spot]) -> Acts:
    """An element that R4 does not have."""
    for spot in found:
        yield _setter(spot.owner, "caremesh", "x")


def bad_id(resource: Json, _: list[Spot]) -> Acts:
    """An id with a character that ids may not have."""
    yield _setter(resource, "id", "not_an_id")


FAULTS: Final[dict[str, tuple[Callable[[Json, list[Spot]], Acts], ...]]] = {
    "cardinality": (required_gone, empty_array, two_choices, too_many),
    "code": (code_outside, concept_outside, unknown_code),
    "reference": (wrong_target, dangling, malformed),
    "invariant": (
        unit_without_system,
        ends_before_start,
        empty_element,
        blank_narrative,
        script_in_narrative,
        orphan,
        value_and_extensions,
        telecom_without_system,
        reason_beside_value,
    ),
    "type": (number_for_text, text_for_number, text_for_object, no_such_day, no_such_element, bad_id),
}
