"""Anything at all, read as FHIR: refused with a code, or read; nothing else ever comes out."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from caremesh.errors import BadInput, Refused
from caremesh.fhir import samples
from caremesh.fhir.categories import ALL
from caremesh.fhir.classify import category_of
from caremesh.fhir.entries import lines, read_entry, split
from caremesh.fhir.labs import lab_rows
from caremesh.fhir.references import Condition, references
from caremesh.fhir.selecting import Filter, Selected, as_bundle, select
from caremesh.source.survey import survey, valid_r4
from caremesh.types import Digest

SAMPLE = json.loads(samples.patient())
SMALL = sorted({entry["resource"]["resourceType"]: entry for entry in SAMPLE["entry"]}.items())
BUNDLE = json.dumps(SAMPLE | {"entry": [entry for _, entry in SMALL if len(json.dumps(entry)) < 6_000]}).encode()
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "resourceType",
                    "id",
                    "meta",
                    "code",
                    "coding",
                    "system",
                    "subject",
                    "reference",
                    "category",
                    "text",
                    "div",
                    "contained",
                    "data",
                    "contentType",
                    "security",
                    "value",
                    "valueQuantity",
                    "component",
                    "identifier",
                    "entry",
                    "resource",
                    "effectivePeriod",
                    "start",
                    "referenceRange",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


class Nothing:
    """Knows nothing."""

    def find(self, condition: Condition) -> list[str]:  # noqa: ARG002
        return []

    def look_at(self, patient: str) -> None:
        pass

    def is_enrolled(self, patient: str) -> bool:  # noqa: ARG002
        return False

    def version(self, *_: str) -> Digest | None:
        return None


def looked_at(data: bytes) -> None:
    """The whole first pass; what it accepts is classified."""
    try:
        file = split(data)
        found = survey(file.entries, Nothing(), valid_r4, kind=file.kind)
    except (BadInput, Refused):
        return
    assert all(item.category in ALL or not item.category for item in found.found)
    assert all(refusal.code and refusal.place for refusal in found.refused)


@given(st.binary(max_size=200))
def test_bytes(data: bytes) -> None:
    looked_at(data)
    for each in lines(iter([data]), 100):
        with suppress(BadInput):
            read_entry(each)


@given(st.integers(0, 2**32), st.integers(1, 12))
@settings(max_examples=60)
def test_a_real_bundle_with_bytes_changed_cut_or_doubled(seed: int, changes: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a seed to replay by
    data = bytearray(BUNDLE)
    for _ in range(changes):
        at, end = sorted(chance.choices(range(len(data)), k=2))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at : at + 1] = bytes([chance.choice(b'{}[]",:\\0 ')])
            case 2:
                del data[at : min(end, at + 50)]
            case _:
                data[at:at] = data[at : min(end, at + 200)]
    looked_at(bytes(data))


@given(JSON, st.sampled_from(["Observation", "Condition", "Bundle", "DocumentReference", "Patient", "List"]))
def test_any_json_is_placed_shown_and_followed_without_a_fault(value: Any, kind: str) -> None:
    json_ = {"resourceType": kind, **(value if isinstance(value, dict) else {"value": value})}
    data = json.dumps(json_).encode()
    assert category_of(json_, data) in ALL
    assert all(row.value for row in lab_rows([json_]))
    assert all(isinstance(reference, str) for _, reference in references(json_))
    record = Selected(type=kind, id="1", version="", last_updated="", data=data, json=json_)
    for wanted in (Filter(), Filter(codes=["a|b"]), Filter(since="2000-01-01", until="2001-01-01")):
        assert select([record], wanted) in ([], [record])
    assert json.loads(b"".join(as_bundle([record, record])))["entry"][1]["resource"] == json.loads(data)
    looked_at(data)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=20))
def test_references_in_circles_and_to_nowhere(edges: list[tuple[int, int]]) -> None:
    """Every node refers to others, itself or none, in circles too: each is resolved or named, and it ends."""
    uuids = [f"urn:uuid:00000000-0000-4000-8000-00000000000{number}" for number in range(9)]
    entries: list[dict[str, Any]] = [
        {"fullUrl": uuids[0], "resource": {"resourceType": "Patient"}},
    ]
    for node in range(1, 7):
        members = [{"reference": uuids[to]} for start, to in edges if start == node]
        entries.append(
            {
                "fullUrl": uuids[node],
                "resource": {
                    "resourceType": "Observation",
                    "status": "final",
                    "code": {"text": "HIV" if node == 1 else "sodium"},
                    "subject": {"reference": uuids[0]},
                    "category": [{"coding": [{"code": "laboratory"}]}],
                    **({"derivedFrom": members} if members else {}),
                },
            }
        )
    data = json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}).encode()
    file = split(data)
    found = survey(file.entries, Nothing(), valid_r4, kind=file.kind)
    dangling = {start for start, to in edges if 0 < start < 7 and to > 6}
    refused = {int(refusal.place[6:-1]) for refusal in found.refused}
    assert refused == dangling
    reaches = {1}
    for _ in range(7):
        reaches |= {start for start, to in edges if to in reaches and 0 < start < 7}
    hidden = {item.entry.place for item in found.found if item.category == "hiv"}
    kept = {item.entry.place for item in found.found}
    if not refused:
        assert hidden == {f"entry[{node}]" for node in reaches} & kept
