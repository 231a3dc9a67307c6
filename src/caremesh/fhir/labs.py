"""Results as people read them: a table with units, ranges and flags, and series over time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct


class LabRow(Struct, frozen=True, kw_only=True):
    """One result. ``date``: ISO 8601 day; ``number``: its value when it is one, for plots."""

    date: str
    code: str
    name: str
    value: str
    unit: str
    number: float | None
    reference: str
    flag: str


def lab_rows(resources: Iterable[dict[str, Any]]) -> list[LabRow]:
    """The rows of all Observations among FHIR resources, components too, newest first."""
    rows = [row for json in resources if json.get("resourceType") == "Observation" for row in _rows(json)]
    return sorted(rows, key=lambda row: (row.date, row.name), reverse=True)


def _rows(json: dict[str, Any]) -> list[LabRow]:
    date = str(json.get("effectiveDateTime") or json.get("issued") or "")[:10]
    return [row for part in [json, *json.get("component", [])] if (row := _row(part, date)) is not None]


def _row(part: dict[str, Any], date: str) -> LabRow | None:
    value, unit, number = _value(part)
    if not value:
        return None
    coding = (part.get("code", {}).get("coding") or [{}])[0]
    interpretation = (part.get("interpretation") or [{}])[0].get("coding") or [{}]
    ranges = part.get("referenceRange") or [{}]
    return LabRow(
        date=date,
        code=str(coding.get("code", "")),
        name=str(part.get("code", {}).get("text") or coding.get("display", "")),
        value=value,
        unit=unit,
        number=number,
        reference=_range(ranges[0]),
        flag=str(interpretation[0].get("code", "")),
    )


def _value(part: dict[str, Any]) -> tuple[str, str, float | None]:
    quantity = part.get("valueQuantity")
    if isinstance(quantity, dict) and isinstance(quantity.get("value"), int | float):
        number = float(quantity["value"])
        return f"{number:.4g}" if abs(number) < 1e4 else f"{number:.0f}", _unit(quantity), number
    concept = part.get("valueCodeableConcept")
    if isinstance(concept, dict):
        coding = (concept.get("coding") or [{}])[0]
        return str(concept.get("text") or coding.get("display", "")), "", None
    for name in ("valueString", "valueInteger", "valueBoolean", "valueDateTime"):
        if name in part:
            return str(part[name]), "", None
    return "", "", None


def _unit(quantity: dict[str, Any]) -> str:
    """The unit as printed; UCUM annotations in braces mean *no unit*."""
    unit = str(quantity.get("unit") or quantity.get("code") or "")
    return "" if unit.startswith("{") else unit


def _range(reference: dict[str, Any]) -> str:
    if reference.get("text"):
        return str(reference["text"])
    low, high = (reference.get(end, {}).get("value") for end in ("low", "high"))
    if low is None and high is None:
        return ""
    return f"{'' if low is None else low}–{'' if high is None else high}"
