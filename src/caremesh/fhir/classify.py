"""Which category a resource belongs to. The stricter category wins; what cannot be placed is restricted.

A record is as sensitive as anything in it, at any depth: codings (the second one of a concept, an extension's, a
contained resource's, a nested bundle's), words and codes in texts, names and the narrative, attached texts, labels. So
a medication, a reason or a result that betrays a diagnosis is placed with it. In short:

1. what a value set (``valuesets/``) knows of its codes and words;
2. ``meta.security`` and ``securityLabel`` (HL7 v3 ActCode for sensitive information, Confidentiality R and V);
3. what its type is, and that of the resources within it (``kinds.py``);
4. an attachment that cannot be read as text makes it ``unclassified``, unless its source labels it as normal.

Each look is a pass over the bytes; the tree is walked only where a pass says that there is something to see.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, Final

from caremesh.fhir.categories import ALL, SENSITIVE
from caremesh.fhir.entries import DIRECTORY_TYPES, Resource
from caremesh.fhir.kinds import by_kind
from caremesh.fhir.valuesets import GROUPED_CODE, SHORT_CODE, ValueSets, look, value_sets

UNCLASSIFIED: Final = "unclassified"
_STRICTNESS: Final = {category: rank for rank, category in enumerate(ALL)}
TELLING: Final = frozenset(
    {
        "addresses", "condition", "derivedFrom", "diagnosisReference", "finding", "focus", "hasMember",
        "investigation", "item", "manifestation", "medicationReference", "prescription", "problem",
        "procedureReference", "reasonReference", "result",
    }
)  # fmt: skip
"""Elements that say why a record was made, or what it is about."""
_READABLE: Final = ("text/", "application/json", "application/fhir", "application/xml", "application/hl7")
_OPAQUE_TYPES: Final = frozenset(
    {"DocumentReference", "DiagnosticReport", "Binary", "Media", "Communication", "Consent"}
)
_PLAIN_WITHIN: Final = DIRECTORY_TYPES | {"ServiceRequest", "Substance", "Questionnaire", "Group", "Parameters"}
"""Unclassified by themselves; within another resource they are as open as that one, but for what is said in them."""
_ICD: Final = re.compile(r"icd[-_]?10|2\.16\.840\.1\.113883\.6\.(90|3)$", re.IGNORECASE)
_ATC: Final = re.compile(r"atc|2\.16\.840\.1\.113883\.6\.73", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^>]*>")
_INVISIBLE: Final = dict.fromkeys((0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))


def classify(resource: Resource) -> str:
    """The category of a resource: one of ``categories.ALL``."""
    return category_of(resource.json, resource.compact)


def category_of(json: dict[str, Any], compact: bytes) -> str:
    """As ``classify``. ``compact``: the resource as compact JSON text, see ``text.parse_both``; ``json``: parsed."""
    sets = value_sets()
    marks = look(_visible(compact.decode()))
    found = {by_kind(json), *marks.categories}
    closer = marks.closer
    if b"\\" in compact:
        found |= look(_visible("\n".join(_strings(json)))).categories
    if "narrative" in closer:
        found |= look(_visible(_without_tags("\n".join(_values(json, "div"))))).categories
    if closer & {SHORT_CODE, GROUPED_CODE}:
        found.update(_by_codings(json, sets))
    if "labels" in closer:
        found.update(_by_labels(json, sets))
    if "resources" in closer:
        found.update(_within(json, compact.count(b'"resourceType"') - 1))
    if "attachments" in closer:
        found.update(_by_attachments(json, sets))
    return max(found, key=_STRICTNESS.__getitem__)


def raised(type_: str, category: str, reached: Iterable[tuple[str, str, str]]) -> str:
    """The category of a record that refers to others; ``reached``: (element, type, category) of each.

    A record that gives another as its reason or content reveals it, so the stricter of both is right.
    """
    if type_ == "Provenance":
        return category
    found = [other for name, _, other in reached if name in TELLING and other in SENSITIVE]
    return max([*found, category], key=_STRICTNESS.__getitem__) if found else category


def stricter(one: str, other: str) -> str:
    """The stricter of two categories; "" is none."""
    return one if one == other or _STRICTNESS.get(one, -1) > _STRICTNESS.get(other, -1) else other


def _by_codings(json: Any, sets: ValueSets) -> Iterator[str]:
    """By code and system, for systems whose codes cannot be told from numbers in running text."""
    for item in _objects(json):
        system, code = item.get("system"), item.get("code")
        if isinstance(code, str) and isinstance(system, str):
            yield from sets.codes.get((system, code), ())
            bare = code.replace(".", "").upper()
            if _ICD.search(system):
                yield from (category for start, category in sets.icd10 if bare.startswith(start))
            elif _ATC.search(system):
                yield from (category for start, category in sets.atc if bare.startswith(start))


def _by_labels(json: Any, sets: ValueSets) -> Iterator[str]:
    for label in _labels(json):
        if label in sets.labels:
            yield sets.labels[label]


def _labels(json: Any) -> Iterator[str]:
    for item in _objects(json):
        if isinstance(item.get("confidentiality"), str):  # Composition
            yield item["confidentiality"].upper()
        for name in ("security", "securityLabel"):
            for coding in _objects(item.get(name)):
                if isinstance(coding.get("code"), str):
                    yield coding["code"].upper()


def _within(json: dict[str, Any], number: int) -> Iterator[str]:
    """The sensitive categories of resources inside this one; open ones stay with it. ``number``: how many there are."""
    inside = list(_inside(json))
    if len(inside) != number:  # not where FHIR has them: look everywhere
        inside = [item for item in _objects(json) if item is not json and isinstance(item.get("resourceType"), str)]
    for item in inside:
        category = by_kind(item)
        if category in SENSITIVE and item["resourceType"] not in _PLAIN_WITHIN:
            yield category


def _inside(json: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The resources that are contained, and those in entries of a bundle, at any depth."""
    waiting = [json]
    while waiting:
        item = waiting.pop()
        held, entries = item.get("contained"), item.get("entry")
        found = list(held) if isinstance(held, list) else []
        found += (
            [each.get("resource") for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []
        )
        for each in found:
            if isinstance(each, dict) and isinstance(each.get("resourceType"), str):
                yield each
                waiting.append(each)


def _by_attachments(json: dict[str, Any], sets: ValueSets) -> Iterator[str]:
    """What attached texts tell; what cannot be read tells nothing, and so is restricted."""
    for item in _objects(json):
        data = item.get("data")
        kind = str(item.get("contentType", "")).lower()
        if not isinstance(data, str) or not data:
            continue
        if "origin" in item:  # SampledData: numbers, not an attachment
            continue
        text = _decoded(data)
        if kind.startswith(_READABLE) and text is not None:
            yield from look(_visible(text)).categories
            if "<" in text:
                yield from look(_visible(_without_tags(text))).categories
        elif str(json.get("resourceType")) in _OPAQUE_TYPES and sets.normal.isdisjoint(_labels(json)):
            yield UNCLASSIFIED


def _decoded(data: str) -> str | None:
    try:
        return base64.b64decode(data).decode("utf-8")
    except (binascii.Error, ValueError):
        return None


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object at any depth. Iterative: depth costs nothing."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting += [value for value in item.values() if isinstance(value, (dict, list))]
        elif isinstance(item, list):
            waiting += item


def _strings(value: Any) -> Iterator[str]:
    """Every text at any depth."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _values(json: Any, name: str) -> Iterator[str]:
    for item in _objects(json):
        if isinstance(item.get(name), str):
            yield item[name]


def _without_tags(text: str) -> str:
    return html.unescape(_TAG.sub("", text))


def _visible(text: str) -> str:
    """As a reader sees it: letters of any width are the same, what has no width is not there."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text).translate(_INVISIBLE)
