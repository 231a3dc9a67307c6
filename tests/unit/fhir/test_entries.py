"""Files of FHIR JSON, split and read: what is taken, and what is refused with code and place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from caremesh.errors import BadInput, ErrorCode
from caremesh.fhir import samples
from caremesh.fhir.bundle import patients, read_any, read_bundle
from caremesh.fhir.entries import Entry, lines, read_entry, split
from caremesh.fhir.references import condition, identifier_digest, identifiers, references, subject_of, target


def bundle(*entries: dict[str, Any], kind: str = "transaction") -> bytes:
    return json.dumps({"resourceType": "Bundle", "type": kind, "entry": list(entries)}).encode()


def entry(resource: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"resource": resource, **others}


def code_of(data: bytes) -> tuple[str, str]:
    with pytest.raises(BadInput) as caught:
        _read_all(data)
    return caught.value.code, caught.value.place


def _read_all(data: bytes) -> None:
    for each in split(data).entries:
        read_entry(each)


CONDITION = {"resourceType": "Condition", "id": "c"}


def test_bytes_stay_as_they_were() -> None:
    odd = b'{ "resourceType" : "Condition",\n "id":"c" , "n":1.50, "t":"\\u00e9" }'
    data = b'{"resourceType":"Bundle","type":"batch","entry":[{"resource":' + odd + b"}]}"
    assert read_entry(split(data).entries[0]).data == odd
    assert read_entry(split(odd).entries[0]).data == odd


def test_every_resource_of_the_sample_is_a_slice_of_its_file() -> None:
    data = samples.patient()
    found = read_bundle(data)
    assert len(found.records) == 570
    assert all(data.count(resource.data) >= 1 for resource in found.records)


@pytest.mark.parametrize(
    ("data", "code", "place"),
    [
        (b"\xff{}", "fhir.01", "byte 0"),
        (b"", "fhir.02", "byte 0"),
        (b"{", "fhir.02", "byte 1"),
        (b"[]", "fhir.03", ""),
        (b'{"resourceType":"Bundle","type":"document","entry":[]}', "fhir.03", "Bundle.type"),
        (b'{"resourceType":"Bundle","type":"batch","entry":{}}', "fhir.03", "entry"),
        (bundle({"fullUrl": "x"}), "fhir.06", "entry[0].resource"),
        (bundle(entry({"id": "c"})), "fhir.06", "entry[0].resource"),
        (bundle(entry({"resourceType": "Condition", "id": "two words"})), "fhir.06", "entry[0].resource"),
        (bundle(entry(CONDITION), entry(CONDITION | {"resourceType": 1})), "fhir.06", "entry[1].resource"),
        (bundle(entry(CONDITION | {"n": 1})).replace(b'"n": 1', b'"n": 1e999'), "fhir.02", "entry[0].resource"),
        (
            bundle(entry(CONDITION | {"n": 1})).replace(b": 1}", b": " + b"9" * 5_000 + b"}"),
            "fhir.02",
            "entry[0].resource",
        ),
        (bundle(entry(CONDITION | {"n": "x"})).replace(b'"x"', b'"\\ud800"'), "fhir.02", "byte 131"),
        (b'{"resourceType":"Condition","a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "fhir.08", ""),
        (b'{"resourceType":"Condition","a":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001, "fhir.08", ""),
        (bundle(entry(CONDITION, request={"method": "DELETE", "url": "Condition/c"})), "fhir.23", "entry[0]"),
        (bundle(entry(CONDITION, request={"method": "PUT", "url": "Condition?identifier=a|b"})), "fhir.23", "entry[0]"),
        (bundle(entry(CONDITION, request={"method": "PUT", "url": "Condition/other"})), "fhir.24", "entry[0]"),
        (bundle(entry(CONDITION, request={"method": "POST", "url": "Patient"})), "fhir.24", "entry[0]"),
    ],
)
def test_refused_with_code_and_place(data: bytes, code: str, place: str) -> None:
    assert code_of(data) == (code, place)


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b'{"resourceType":"Condition","code":{"text":"a"},"code":{"text":"b"}}', "Condition"),
        (b'{"resourceType":"Condition","a":{"b":{"c":1,"c":1}}}', "Condition"),
        (b'{"resourceType":"Condition","t":"\\u003a","a":1,"a":2}', "Condition"),
        (b'{"resourceType":"Condition","t":"\\u003A","\\u0061":1,"a":2}', "Condition"),
        (b'{"resourceType":"Bundle","type":"batch","entry":[],"entry":[]}', "Bundle"),
        (b'{"resourceType":"Bundle","type":"batch","type":"batch"}', "Bundle"),
        (b'{"resourceType":"Bundle","type":"batch","entry":[{"resource":{},"resource":{}}]}', "entry[0]"),
        (
            b'{"resourceType":"Bundle","type":"batch","entry":[{"request":{"url":"a","url":"b"},"resource":{}}]}',
            "entry[0]",
        ),
    ],
)
def test_a_name_given_twice_is_refused_however_it_is_spelt(data: bytes, place: str) -> None:
    assert code_of(data) == ("fhir.21", place)


def test_colons_that_are_no_names_are_no_duplicates() -> None:
    data = b'{"resourceType":"Condition","t":"a:b\\u003a\\"c\\":","u":{"":":"}}'
    assert read_entry(split(data).entries[0]).type == "Condition"


def test_who_a_resource_is() -> None:
    def id_of(resource: dict[str, Any], **others: Any) -> str:
        return read_entry(split(bundle(entry(resource, **others))).entries[0]).id

    uuid = "0b0c4b5e-1111-4222-8333-444455556666"
    assert id_of(CONDITION) == "c"
    assert id_of(CONDITION, fullUrl=f"urn:uuid:{uuid}") == uuid
    assert id_of(CONDITION, fullUrl="https://example.org/Condition/c") == "c"
    assert id_of(CONDITION, fullUrl="urn:uuid:not an id!") == "c"
    made = id_of({"resourceType": "Condition"})
    assert made == id_of({"resourceType": "Condition"}) != id_of({"resourceType": "Condition", "a": 1})
    assert id_of(CONDITION, request={"method": "PUT", "url": "https://example.org/fhir/Condition/c"}) == "c"
    assert id_of(CONDITION, request={"method": "PUT", "url": "Condition/c/_history/2"}) == "c"


def faults(chunks: list[bytes], longest: int = 1000) -> list[tuple[str, str, bytes]]:
    found = list(lines(iter(chunks), longest))
    return [(each.place, each.fault.code if each.fault else "", bytes(each.raw)) for each in found]


def test_lines_however_they_are_cut() -> None:
    whole = b'{"a":1}\n\n  {"b":2}\r\n{"c":3}'
    expected = [("line 1", "", b'{"a":1}'), ("line 3", "", b'{"b":2}'), ("line 4", "", b'{"c":3}')]
    for size in range(1, len(whole) + 1):
        assert faults([whole[at : at + size] for at in range(0, len(whole), size)]) == expected


def test_a_line_too_long_is_passed_over_and_never_held() -> None:
    many = [b"x" * 600] * 5
    assert faults([b"1\n", *many, b"\n2\n", b"y" * 1001 + b"\n3"]) == [
        ("line 1", "", b"1"),
        ("line 2", "fhir.33", b"null"),
        ("line 3", "", b"2"),
        ("line 4", "fhir.33", b"null"),
        ("line 5", "", b"3"),
    ]


def test_where_the_chunks_break_off_the_report_says_so() -> None:
    def broken() -> Iterator[bytes]:
        yield b"1\n2"
        raise BadInput(ErrorCode("test.02", "It broke."))

    found = list(lines(broken(), 1000))
    assert [(each.place, each.fault is not None) for each in found] == [("line 1", False), ("line 2", True)]
    with pytest.raises(BadInput, match=r"test\.02"):
        read_entry(found[1])


def test_two_patients_and_none() -> None:
    person = {"resourceType": "Patient"}
    both = bundle(entry(person | {"id": "a"}), entry(person | {"id": "b"}))
    with pytest.raises(BadInput, match=r"fhir\.05"):
        read_bundle(both)
    with pytest.raises(BadInput, match=r"fhir\.04"):
        read_bundle(bundle(entry(CONDITION)))
    with pytest.raises(BadInput, match=r"fhir\.07"):
        read_any(bundle(entry(CONDITION), entry(CONDITION)))
    assert list(patients(split(both).entries)) == ["a", "b"]
    assert list(patients([Entry(place="", raw=split(both).entries[0].raw)])) == ["a"]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("Patient/a", ("Patient", "a")),
        ("https://example.org/fhir/Patient/a/_history/2", ("Patient", "a")),
        ("urn:uuid:0b", ("", "0b")),
        ("#c", None),
        ("Patient?identifier=a|b", None),
        ("rubbish", None),
    ],
)
def test_forms_of_references(reference: str, expected: tuple[str, str] | None) -> None:
    assert target(reference) == expected


def test_conditions() -> None:
    found = condition("Practitioner?identifier=http://npi|1%2B2")
    assert found is not None
    assert found.identifier == identifier_digest("http://npi", "1+2")
    assert identifiers({"identifier": [{"system": "http://npi", "value": "1+2"}]}) == [found.identifier]
    assert condition("Patient/a") is None
    by_id = condition("_id=x", "Patient")
    assert by_id is not None
    assert (by_id.type, by_id.id) == ("Patient", "x")
    for bad in ("Patient?name=x", "Patient?identifier=x", "Patient?identifier=a|b&identifier=c|d"):
        with pytest.raises(BadInput, match=r"fhir\.28"):
            condition(bad)


def test_references_at_any_depth_with_the_name_of_their_element() -> None:
    json = {"subject": {"reference": "Patient/a"}, "result": [{"reference": "Observation/b"}], "x": {"reference": 1}}
    assert sorted(references(json)) == [("result", "Observation/b"), ("subject", "Patient/a")]
    assert subject_of(json) == "Patient/a"
    assert subject_of({"beneficiary": {"display": "x"}}) == ""


def test_a_line_that_is_not_utf8_is_one_refusal() -> None:
    found = list(lines(iter([b'{"resourceType":"Condition","t":"\xff"}\n{"resourceType":"Condition"}']), 1000))
    with pytest.raises(BadInput, match=r"fhir\.01.*line 1 byte 33"):
        read_entry(found[0])
    assert read_entry(found[1]).type == "Condition"
