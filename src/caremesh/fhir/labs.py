"""Results as people read them: a table with units, ranges and flags, and series over time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct


class LabRow(Struct, frozen=True, kw_only=True):
    """One result. ``date``: ISO 8601 day; ``number``: its value if it is one, for plots; ``panel``: codes around it."""

    date: str
    code: str
    name: str
    value: str
    unit: str
    number: float | None
    reference: str
    flag: str
    panel: list[str] = []


def lab_rows(resources: Iterable[dict[str, Any]]) -> list[LabRow]:
    """The rows of all Observations among FHIR resources, components too, newest first."""
    rows = [row for json in resources if json.get("resourceType") == "Observation" for row in _rows(json)]
    return sorted(rows, key=lambda row: (row.date, row.name), reverse=True)


def _rows(json: dict[str, Any]) -> list[LabRow]:
    date = str(json.get("effectiveDateTime") or _object(json.get("effectivePeriod")).get("start") or json.get("issued"))
    panel = [str(coding.get("code", "")) for coding in _objects(_object(json.get("code")).get("coding"))]
    parts = [json, *_objects(json.get("component"))]
    rows = [_row(part, "" if date == "None" else date[:10], panel if part is not json else []) for part in parts]
    return [row for row in rows if row is not None]


def _row(part: dict[str, Any], date: str, panel: list[str]) -> LabRow | None:
    value, unit, number = _value(part)
    if not value:
        return None
    concept = _object(part.get("code"))
    coding = _first(concept.get("coding"))
    return LabRow(
        date=date,
        code=str(coding.get("code", "")),
        name=str(concept.get("text") or coding.get("display", "")),
        value=value,
        unit=unit,
        number=number,
        reference=_range(_first(part.get("referenceRange"))),
        flag=str(_first(_first(part.get("interpretation")).get("coding")).get("code", "")),
        panel=panel,
    )


def _value(part: dict[str, Any]) -> tuple[str, str, float | None]:
    quantity = part.get("valueQuantity")
    if isinstance(quantity, dict) and isinstance(quantity.get("value"), int | float):
        number = float(quantity["value"])
        return f"{number:.4g}" if abs(number) < 1e4 else f"{number:.0f}", _unit(quantity), number
    concept = part.get("valueCodeableConcept")
    if isinstance(concept, dict):
        return str(concept.get("text") or _first(concept.get("coding")).get("display", "")), "", None
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
    low, high = (_object(reference.get(end)).get("value") for end in ("low", "high"))
    if low is None and high is None:
        return ""
    return f"{'' if low is None else low}–{'' if high is None else high}"


def _object(value: Any) -> dict[str, Any]:
    """A JSON object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a JSON array; none of anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _first(value: Any) -> dict[str, Any]:
    return next(iter(_objects(value)), {})
