"""Which category a resource belongs to. The stricter category wins; what cannot be placed is restricted.

In this order:
1. every coding anywhere in the resource that stands in a sensitive value set (``valuesets/sensitive.json``), so that a
   medication, a reason or a result that betrays a diagnosis is placed with it;
2. every ``meta.security`` label for sensitive information (HL7 v3 ActCode, ``_InformationSensitivityPolicy``);
3. else by resource type, and for Observation and DiagnosticReport by ``category``;
4. else ``unclassified``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

import msgspec

from caremesh.fhir.categories import ALL, SENSITIVE
from caremesh.fhir.entries import Resource

_BY_TYPE: Final = {
    "AllergyIntolerance": "allergies",
    "Condition": "conditions",
    "Medication": "medications",
    "MedicationRequest": "medications",
    "MedicationStatement": "medications",
    "MedicationAdministration": "medications",
    "MedicationDispense": "medications",
    "Immunization": "immunizations",
    "Procedure": "procedures",
    "ImagingStudy": "imaging",
    "Encounter": "encounters",
    "DocumentReference": "documents",
    "Composition": "documents",
    "CarePlan": "care-plans",
    "CareTeam": "care-plans",
    "Goal": "care-plans",
    "Device": "devices-wearables",
    "SupplyDelivery": "devices-wearables",
    "Patient": "demographics",
    "RelatedPerson": "demographics",
    "Claim": "claims",
    "ExplanationOfBenefit": "claims",
    "Coverage": "claims",
    "Provenance": "documents",
}
_BY_OBSERVATION_CATEGORY: Final = {
    "laboratory": "laboratory",
    "vital-signs": "vital-signs",
    "procedure": "procedures",
    "imaging": "imaging",
    "exam": "procedures",
    "clinical-test": "procedures",
    "therapy": "procedures",
    "social-history": "demographics",
    "survey": "care-plans",
}
"""HL7 observation-category, and the two that US Core adds."""
_BY_REPORT_CATEGORY: Final = {"LAB": "laboratory", "RAD": "imaging", "34117-2": "documents", "11506-3": "documents"}
"""HL7 v2-0074 and, as US Core has it for notes, LOINC."""
_TELLING: Final = frozenset(
    {
        "addresses", "condition", "derivedFrom", "diagnosisReference", "finding", "focus", "hasMember", "investigation",
        "item", "itemReference", "manifestation", "medicationReference", "problem", "procedureReference",
        "reasonReference", "reference", "result", "prescription",
    }
)  # fmt: skip
"""Elements that say why a record was made, or what it is about."""
_BY_LABEL: Final = {
    "ETH": "substance-use",
    "ETHUD": "substance-use",
    "OPIOIDUD": "substance-use",
    "SUD": "substance-use",
    "PSY": "mental-health",
    "PSYTHPN": "mental-health",
    "BH": "mental-health",
    "MH": "mental-health",
    "SEX": "reproductive-health",
    "STD": "reproductive-health",
    "GDIS": "genetics",
    "HIV": "hiv",
    "DV": "violence-abuse",
    "SDV": "violence-abuse",
    "SA": "violence-abuse",
    "R": "unclassified",
    "V": "unclassified",
}
"""HL7 v3 ActCode for sensitivity, v3 Confidentiality for *restricted* and *very restricted*."""


def classify(resource: Resource) -> str:
    """The category of a resource: one of ``categories.ALL``."""
    found = set(_sensitive(resource.json))
    if found:
        return max(found, key=SENSITIVE.index)
    return _by_kind(resource.type, resource.json)


def raised(type_: str, category: str, reached: Iterable[tuple[str, str, str]]) -> str:
    """The category of a record that refers to others; ``reached``: (element, type, category) of each.

    A record that gives another as its reason or content reveals it, so the stricter of both is right.
    """
    if type_ == "Provenance":
        return category
    found = [other for name, _, other in reached if name in _TELLING and other in SENSITIVE]
    return max([*found, category], key=ALL.index) if found else category


def _by_kind(kind: str, json: dict[str, Any]) -> str:
    if kind == "Observation":
        return _first(_codes(json.get("category")), _BY_OBSERVATION_CATEGORY)
    if kind == "DiagnosticReport":
        return _first(_codes(json.get("category")), _BY_REPORT_CATEGORY)
    return _BY_TYPE.get(kind, "unclassified")


def _first(codes: list[str], table: dict[str, str]) -> str:
    return next((table[code] for code in codes if code in table), "unclassified")


def _sensitive(json: dict[str, Any]) -> Iterator[str]:
    table = _value_sets()
    for system, code in _codings(json):
        category = table.get((system, code))
        if category is not None:
            yield category
    meta = json.get("meta")
    if isinstance(meta, dict):
        for _, code in _codings(meta.get("security")):
            if code in _BY_LABEL:
                yield _BY_LABEL[code]


def _codings(value: Any) -> Iterator[tuple[str, str]]:
    """Every (system, code) anywhere below, contained resources and extensions too. Iterative: depth costs nothing."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            system, code = item.get("system"), item.get("code")
            if isinstance(code, str) and isinstance(system, str):
                yield system, code
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _codes(value: Any) -> list[str]:
    return [code for _, code in _codings(value)]


@lru_cache(maxsize=1)
def _value_sets() -> dict[tuple[str, str], str]:
    text = files("caremesh.fhir").joinpath("valuesets/sensitive.json").read_bytes()
    table: dict[tuple[str, str], str] = {}
    for category, by_system in msgspec.json.decode(text)["categories"].items():
        for system, codes in by_system.items():
            for code in codes:
                known = table.get((system, code))
                if known is None or SENSITIVE.index(known) < SENSITIVE.index(category):
                    table[system, code] = category
    return table
