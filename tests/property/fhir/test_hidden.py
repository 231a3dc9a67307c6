"""Wherever a restricted thing hides in a record, the record is never placed in an open category."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caremesh.fhir.categories import OPEN, SENSITIVE
from caremesh.fhir.classify import category_of
from caremesh.fhir.text import parse_both
from caremesh.fhir.valuesets import value_sets

SNOMED = "http://snomed.info/sct"
OPEN_RECORDS: list[dict[str, Any]] = [
    {"resourceType": "Observation", "category": [{"coding": [{"code": "laboratory"}]}], "code": {"text": "Sodium"}},
    {"resourceType": "Condition", "code": {"coding": [{"system": SNOMED, "code": "38341003"}]}},
    {"resourceType": "MedicationRequest", "medicationCodeableConcept": {"text": "Ibuprofen 200 MG"}},
    {"resourceType": "Procedure", "code": {"text": "Appendectomy"}},
    {"resourceType": "Claim", "item": [{"productOrService": {"text": "Visit"}}]},
    {"resourceType": "DocumentReference", "type": {"text": "Note"}},
    {"resourceType": "Encounter", "reasonCode": [{"text": "Fever"}]},
]
CODES = sorted(value_sets().codes)
WORDS = sorted({word.rstrip("*") for word, _ in value_sets().words})
TEXTS = [word for word in WORDS if word.isascii()]
SHOWN: dict[str, Any] = {"system": "http://example.org", "code": "1", "display": "plain"}


def coding(system: str, code: str) -> dict[str, Any]:
    return {"coding": [SHOWN, {"system": system, "code": code}]}


def in_code(record: dict[str, Any], concept: dict[str, Any]) -> dict[str, Any]:
    return record | {"reasonCode": [concept]}


def in_extension(record: dict[str, Any], concept: dict[str, Any]) -> dict[str, Any]:
    inner = {"url": "http://example.org/b", "valueCodeableConcept": concept}
    return record | {"extension": [{"url": "http://example.org/a", "extension": [inner]}]}


def in_contained(record: dict[str, Any], concept: dict[str, Any]) -> dict[str, Any]:
    return record | {"contained": [{"resourceType": "Condition", "id": "c", "code": concept}]}


def in_primitive_extension(record: dict[str, Any], concept: dict[str, Any]) -> dict[str, Any]:
    return record | {"_status": {"extension": [{"url": "http://example.org/a", "valueCodeableConcept": concept}]}}


def in_nested_bundle(record: dict[str, Any], concept: dict[str, Any]) -> dict[str, Any]:
    entry = {"resource": {"resourceType": "Condition", "code": concept}}
    return record | {"contained": [{"resourceType": "Bundle", "type": "collection", "entry": [entry]}]}


def in_meta(record: dict[str, Any], concept: dict[str, Any]) -> dict[str, Any]:
    return record | {"meta": {"tag": concept["coding"]}}


PLACES = [in_code, in_extension, in_contained, in_primitive_extension, in_nested_bundle, in_meta]


def placed(record: dict[str, Any], *, escaped: bool = False) -> str:
    text = json.dumps(record, ensure_ascii=escaped)
    if escaped:
        text = "".join(f"\\u{ord(letter):04x}" if letter in "aeiou123" else letter for letter in text)
    return category_of(*parse_both(text.encode()))


def test_the_records_are_open_as_they_are() -> None:
    assert all(placed(record) in OPEN for record in OPEN_RECORDS)


@given(st.sampled_from(OPEN_RECORDS), st.sampled_from(PLACES), st.sampled_from(CODES), st.booleans())
def test_a_code_that_betrays_something(record: dict[str, Any], hide: Any, code: tuple[str, str], escaped: bool) -> None:
    assert placed(hide(record, coding(*code)), escaped=escaped) in SENSITIVE


@given(st.sampled_from(OPEN_RECORDS), st.sampled_from(TEXTS), st.sampled_from(["{}", "({})", "seen: {}.", "\n{}\n"]))
def test_words_in_texts_names_notes_and_the_narrative(record: dict[str, Any], word: str, frame: str) -> None:
    said = frame.format(word.upper())
    div = f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{said}</p></div>'
    split = f'<div xmlns="http://www.w3.org/1999/xhtml">x <b>{word[:1]}</b>{word[1:]}</div>'
    hidden = [
        record | {"text": {"status": "generated", "div": div}},
        record | {"text": {"status": "generated", "div": split}},
        record | {"note": [{"text": said}]},
        record | {"reasonReference": [{"reference": "Condition/1", "display": said}]},
        record | {"contained": [{"resourceType": "Organization", "name": said}]},
    ]
    assert all(placed(each) in SENSITIVE for each in hidden)


@given(st.sampled_from(OPEN_RECORDS), st.sampled_from(CODES), st.sampled_from(TEXTS))
def test_a_code_in_the_narrative_alone_or_in_an_attached_text(
    record: dict[str, Any], code: tuple[str, str], word: str
) -> None:
    attached = base64.b64encode(f"Plan: {word}".encode()).decode()
    content = [{"attachment": {"contentType": "text/plain", "data": attached}}]
    assert placed(record | {"content": content}) in SENSITIVE
    if len(code[1]) >= 7:
        assert placed(record | {"text": {"div": f"<div>{code[1]}</div>"}}) in SENSITIVE


@given(
    st.sampled_from(OPEN_RECORDS),
    st.sampled_from(sorted(value_sets().labels)),
    st.sampled_from(["security", "securityLabel"]),
)
def test_a_label(record: dict[str, Any], label: str, name: str) -> None:
    labels = [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": label}]
    hidden = record | ({"meta": {"security": labels}} if name == "security" else {name: [{"coding": labels}]})
    assert placed(hidden) in SENSITIVE
    assert placed(record | {"contained": [{"resourceType": "Condition", "meta": {"security": labels}}]}) in SENSITIVE


@pytest.mark.parametrize(
    ("system", "code", "category"),
    [
        ("http://hl7.org/fhir/sid/icd-10-cm", "F32.9", "mental-health"),
        ("http://hl7.org/fhir/sid/icd-10", "B20", "hiv"),
        ("urn:oid:2.16.840.1.113883.6.90", "F11.20", "substance-use"),
        ("http://www.whocc.no/atc", "N06AB06", "mental-health"),
        ("http://www.whocc.no/atc", "J05AR03", "hiv"),
        ("http://www.nlm.nih.gov/research/umls/rxnorm", "6813", "substance-use"),
        ("http://hl7.org/fhir/sid/icd-10-cm", "I10", "medications"),
    ],
)
def test_groups_of_codes_and_short_ones_with_their_system(system: str, code: str, category: str) -> None:
    record = {"resourceType": "MedicationStatement", "reasonCode": [{"coding": [{"system": system, "code": code}]}]}
    assert placed(record) == category


def test_an_attachment_that_cannot_be_read_is_restricted_unless_labelled_as_normal() -> None:
    scan = {"contentType": "application/pdf", "data": base64.b64encode(b"%PDF-1.4 \xff").decode()}
    record = {"resourceType": "DocumentReference", "content": [{"attachment": scan}]}
    normal = {"meta": {"security": [{"code": "N"}]}}
    assert placed(record) == "unclassified"
    assert placed(record | normal) == "documents"
    photo = {"resourceType": "Patient", "photo": [{"contentType": "image/png", "data": "AAAA"}]}
    assert placed(photo) == "demographics"


@pytest.mark.parametrize("kind", ["FamilyMemberHistory", "MolecularSequence", "Observation", "Consent", "Bundle"])
def test_a_resource_that_is_restricted_by_what_it_is(kind: str) -> None:
    inner = {"resourceType": kind, "status": "final"}
    for record in OPEN_RECORDS:
        assert placed(record | {"contained": [inner]}) in SENSITIVE
        assert placed(record | {"contained": [{"resourceType": "Organization"}]}) in OPEN
    nested = {"resourceType": "Bundle", "entry": [{"resource": inner}]}
    assert placed(OPEN_RECORDS[0] | {"contained": [nested]}) in SENSITIVE


def test_a_resource_where_fhir_has_none_is_found_all_the_same() -> None:
    odd = {"resourceType": "Condition", "odd": {"resource": {"resourceType": "MolecularSequence"}}}
    assert placed(odd) == "genetics"
    assert placed({"resourceType": "Condition", "odd": {"resource": {"resourceType": "Organization"}}}) == "conditions"
