"""Choose among opened records: by type, code and date, the newest version of each or all of them; and bundle them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

_DATES: Final = (
    "effectiveDateTime", "effectivePeriod", "effectiveInstant", "performedDateTime", "performedPeriod",
    "occurrenceDateTime", "occurrencePeriod", "onsetDateTime", "onsetPeriod", "recordedDate", "authoredOn", "started",
    "period", "billablePeriod", "created", "date", "dateAsserted", "issued", "recorded", "whenHandedOver",
    "whenPrepared", "assertedDate", "birthDate",
)  # fmt: skip
"""Where resources say when, what happened before when it was written down."""


class Selected(Struct, frozen=True, kw_only=True):
    """One record: ``data`` its original bytes, ``json`` the same, parsed."""

    type: str
    id: str
    version: str
    last_updated: str
    data: bytes
    json: dict[str, Any]


class Filter(Struct, frozen=True, kw_only=True):
    """What is asked for. Empty lists and texts ask for anything.

    ``codes``: ``code`` or ``system|code``, anywhere in the record; ``since``, ``until``: days, ISO 8601, both included.
    """

    types: list[str] = []
    codes: list[str] = []
    since: str = ""
    until: str = ""
    history: bool = False


def select(records: Iterable[Selected], wanted: Filter) -> list[Selected]:
    """The records that fit, in their order; only the newest version of each unless ``history`` is asked for."""
    rows = list(records)
    if not wanted.history:
        rows = newest(rows)
    return [row for row in rows if _fits(row, wanted)]


def newest(records: Sequence[Selected]) -> list[Selected]:
    """The newest version of each record: by ``lastUpdated``, then version number, then what was registered last."""
    last: dict[tuple[str, str], int] = {}
    for at, row in enumerate(records):
        before = last.get((row.type, row.id))
        if before is None or _age(records[before], before) < _age(row, at):
            last[row.type, row.id] = at
    return [records[at] for at in sorted(last.values())]


def day_range(json_: dict[str, Any]) -> tuple[str, str]:
    """The first and last day that a record is about, ISO 8601; ("", "") when it does not say."""
    for name in _DATES:
        value = json_.get(name)
        if isinstance(value, str):
            return _first_day(value), _last_day(value)
        if isinstance(value, dict):
            start, end = value.get("start"), value.get("end")
            return (
                _first_day(start) if isinstance(start, str) else "",
                _last_day(end) if isinstance(end, str) else "9999-12-31",
            )
    return "", ""


def as_bundle(records: Iterable[Selected]) -> Iterator[bytes]:
    """A collection Bundle in pieces. Each resource stands in it as the bytes that its source imported; ``fullUrl`` is
    its identity there, so that ``urn:uuid:`` references lead where they led."""
    yield b'{"resourceType":"Bundle","type":"collection","entry":['
    for number, row in enumerate(records):
        url = f"urn:uuid:{row.id}" if _is_uuid(row.id) else f"{row.type}/{row.id}"
        yield (b"," if number else b"") + b'{"fullUrl":' + json.dumps(url).encode() + b',"resource":' + row.data + b"}"
    yield b"]}"


def _fits(row: Selected, wanted: Filter) -> bool:
    if wanted.types and row.type not in wanted.types:
        return False
    if wanted.codes and not any(_has_code(row.json, code) for code in wanted.codes):
        return False
    if not (wanted.since or wanted.until):
        return True
    start, end = day_range(row.json)
    if not end:
        return False
    return (not wanted.since or end >= wanted.since) and (not wanted.until or start <= wanted.until)


def _has_code(json_: Any, wanted: str) -> bool:
    system, _, code = wanted.rpartition("|")
    waiting = [json_]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if item.get("code") == code and (not system or item.get("system") == system):
                return True
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return False


def _age(row: Selected, at: int) -> tuple[str, int, int]:
    return row.last_updated, int(row.version) if row.version.isdecimal() else 0, at


def _first_day(date: str) -> str:
    """A FHIR date may be a year or a month: their first day."""
    return (date[:10] + "-01-01")[:10] if len(date) < 10 else date[:10]


def _last_day(date: str) -> str:
    return {4: date + "-12-31", 7: date + "-31"}.get(len(date), date[:10])


def _is_uuid(id_: str) -> bool:
    return len(id_) == 36 and id_.count("-") == 4
