"""Choosing among records, and rows of results, as people ask for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from caremesh.fhir.labs import lab_rows
from caremesh.fhir.selecting import Filter, Selected, as_bundle, day_range, newest, select


def record(id_: str = "1", version: str = "", updated: str = "", type_: str = "Observation", **json_: Any) -> Selected:
    whole = {"resourceType": type_, "id": id_, **json_}
    data = json.dumps(whole, indent=1).encode()
    return Selected(type=type_, id=id_, version=version, last_updated=updated, data=data, json=whole)


def test_the_newest_version_by_time_then_number_then_place() -> None:
    by_time = [record(updated="2024-02-01T00:00:00Z"), record(updated="2024-01-01T00:00:00Z")]
    by_number = [record(version="10"), record(version="9")]
    by_place = [record(a=1), record(a=2)]
    assert newest(by_time) == by_time[:1]
    assert newest(by_number) == by_number[:1]
    assert newest(by_place) == by_place[1:]
    both = [record("1"), record("2"), record("1", type_="Condition")]
    assert newest(both) == both
    assert select(by_number, Filter(history=True)) == by_number


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Filter(), True),
        (Filter(types=["Observation", "Condition"]), True),
        (Filter(types=["Condition"]), False),
        (Filter(codes=["4548-4"]), True),
        (Filter(codes=["other", "http://loinc.org|4548-4"]), True),
        (Filter(codes=["http://snomed.info/sct|4548-4"]), False),
        (Filter(since="2024-05-17"), True),
        (Filter(since="2024-05-18"), False),
        (Filter(until="2024-05-17"), True),
        (Filter(until="2024-05-16"), False),
    ],
)
def test_filters(wanted: Filter, fits: bool) -> None:
    coding = {"system": "http://loinc.org", "code": "4548-4"}
    row = record(effectiveDateTime="2024-05-17T10:00:00+02:00", component=[{"code": {"coding": [coding]}}])
    assert bool(select([row], wanted)) is fits


def test_what_has_no_date_is_in_no_period() -> None:
    assert select([record()], Filter(since="2000-01-01")) == []


@pytest.mark.parametrize(
    ("json_", "days"),
    [
        ({"effectiveDateTime": "2024"}, ("2024-01-01", "2024-12-31")),
        ({"onsetDateTime": "2024-02"}, ("2024-02-01", "2024-02-31")),
        ({"period": {"start": "2024-01-02T00:00:00Z"}}, ("2024-01-02", "9999-12-31")),
        ({"performedPeriod": {"end": "2024-01-02"}}, ("", "2024-01-02")),
        ({}, ("", "")),
    ],
)
def test_days_of_a_record(json_: dict[str, Any], days: tuple[str, str]) -> None:
    assert day_range(json_) == days


def test_a_bundle_holds_the_very_bytes_and_says_who_each_is() -> None:
    rows = [record("0b0c4b5e-1111-4222-8333-444455556666"), record("own", type_="Condition")]
    bundle = b"".join(as_bundle(rows))
    assert all(row.data in bundle for row in rows)
    urls = [entry["fullUrl"] for entry in json.loads(bundle)["entry"]]
    assert urls == ["urn:uuid:0b0c4b5e-1111-4222-8333-444455556666", "Condition/own"]
    assert json.loads(b"".join(as_bundle([])))["entry"] == []


def test_rows_of_a_panel_name_it() -> None:
    part = {"code": {"coding": [{"code": "8480-6", "display": "Systolic"}]}, "valueQuantity": {"value": 120}}
    panel = {
        "resourceType": "Observation",
        "effectivePeriod": {"start": "2024-01-02T03:04:05Z"},
        "code": {"coding": [{"code": "85354-9"}]},
        "component": [part],
    }
    [row] = lab_rows([panel])
    assert (row.date, row.code, row.panel, row.number, row.value) == ("2024-01-02", "8480-6", ["85354-9"], 120.0, "120")
