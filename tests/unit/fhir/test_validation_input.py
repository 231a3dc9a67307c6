"""What is not even JSON, or is JSON to do harm: a coded outcome, in bounded time and memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from caremesh.fhir.validation import dispatch, validate
from caremesh.fhir.validation.checks import MAX_PROBLEMS
from caremesh.fhir.validation.text import MAX_BYTES

PATIENT = b'{"resourceType":"Patient"'
DEEP = 10_000


@pytest.mark.parametrize(
    ("code", "data"),
    [
        ("fhir.01", PATIENT + b',"name":[{"family":"\xff"}]}'),
        ("fhir.02", b""),
        ("fhir.02", PATIENT),
        ("fhir.02", PATIENT + b"} {}"),
        ("fhir.02", b" " * 8_000_000),
        ("fhir.02", b"\xef\xbb\xbf" + PATIENT + b"}"),
        ("fhir.02", PATIENT + b',"multipleBirthInteger":NaN}'),
        ("fhir.08", b'{"a":' * DEEP + b"1" + b"}" * DEEP),
        ("fhir.08", b"[" * DEEP + b"]" * DEEP),
        ("fhir.41", b"[]"),
        ("fhir.41", b'"Patient"'),
        ("fhir.21", PATIENT + b',"active":true,"active":false}'),
        ("fhir.21", PATIENT + b', "active" : true, "active":false}'),
        ("fhir.21", PATIENT + b',"contact":[{"gender":"male","gend\\u0065r":"male"}]}'),
        ("fhir.43", PATIENT + b',"multipleBirthInteger":' + b"9" * 5_000 + b"}"),
        ("fhir.43", PATIENT + b',"multipleBirthInteger":1e999}'),
        ("fhir.44", PATIENT + b',"name":[{"family":"\\ud800"}]}'),
    ],
)
def test_bad_text_is_fatal_with_its_code(code: str, data: bytes) -> None:
    outcome = validate(data)
    assert [(issue.rule, issue.severity, issue.layer) for issue in outcome.issues] == [(code, "fatal", "json")]
    assert not outcome.valid


def test_what_is_too_large_is_not_read() -> None:
    assert [issue.rule for issue in validate(PATIENT + b"}" + b" " * 100, max_bytes=100).issues] == ["fhir.40"]
    assert MAX_BYTES <= 2**28


def test_white_space_alone_does_no_harm() -> None:
    assert validate(PATIENT + b" " * 4_000_000 + b"}").valid


def test_a_key_twice_cannot_hide_behind_white_space() -> None:
    """As many colons as keys: one key has a space before its colon, another is there twice."""
    hidden = PATIENT + b',"gender":"male","active" :true,"gender":"male"}'
    assert [issue.rule for issue in validate(hidden).issues] == ["fhir.21"]
    assert validate(PATIENT + b',"gender" : "male", "active" :true}').valid
    assert validate(PATIENT + b',"name":[{"family":"a\\":b \\\\"},{"family":"c: \\u0022: "}]}').valid


def nested(depth: int) -> dict[str, Any]:
    resource: dict[str, Any] = {"resourceType": "Patient"}
    current = resource
    for _ in range(depth):
        current["extension"] = [{"url": "http://example.org/x"}]
        current = current["extension"][0]
    current["valueString"] = "a"
    return resource


def test_depth_is_bounded_for_parsed_json_too() -> None:
    assert validate(nested(100)).valid
    assert [issue.rule for issue in validate(nested(DEEP)).issues] == ["fhir.08"]


def test_resources_in_resources_are_bounded() -> None:
    resource: dict[str, Any] = {"resourceType": "Patient"}
    for _ in range(30):
        resource = {"resourceType": "Parameters", "parameter": [{"name": "a", "resource": resource}]}
    assert "too-deep" in [issue.rule for issue in validate(resource).issues]


def test_a_file_of_faults_gets_bounded_words() -> None:
    names = [{"use": "x", "period": {"start": "2019-02-30"}} for _ in range(5_000)]
    outcome = validate({"resourceType": "Patient", "name": names})
    assert len(outcome.issues) <= MAX_PROBLEMS
    misshapen = validate({"resourceType": "Patient", "name": [{"x": 1} for _ in range(5_000)]})
    assert not misshapen.valid
    assert len(misshapen.issues) <= 2 * MAX_PROBLEMS


@pytest.mark.parametrize("value", [{1}, {1: 2}, object()])
def test_what_is_no_json_is_refused(value: Any) -> None:
    outcome = validate({"resourceType": "Patient", "active": value})
    assert not outcome.valid


def test_words_hold_nothing_of_the_resource() -> None:
    secret = "Geheimnis"
    resource = {
        "resourceType": "Observation",
        "status": secret,
        secret + " key": 1,
        "code": {"coding": [{"system": "http://loinc.org", "code": 7}], "text": [secret]},
        "subject": {"reference": secret},
        "effectiveDateTime": secret,
        "meta": {"profile": [secret, f"http://example.org/{secret}"], "lastUpdated": secret},
        "extension": [{"url": secret, "valueString": 1}],
        "text": {"status": "generated", "div": f"<div>{secret}</div>"},
    }
    for data in (
        resource,
        {key: value for key, value in resource.items() if key in {"resourceType", "status", "subject"}},
    ):
        outcome = validate(json.dumps(data).encode())
        assert not outcome.valid
        assert secret not in json.dumps(outcome.as_fhir())


def test_an_outcome_is_a_sound_operation_outcome() -> None:
    sound = {"resourceType": "Patient", "meta": {"profile": ["http://example.org/p"]}}
    for data in (b"{", PATIENT + b',"gender":"x"}', PATIENT + b"}", json.dumps(sound).encode()):
        outcome = validate(data)
        answer = validate(outcome.as_fhir())
        assert answer.valid, answer.issues
        assert outcome.as_fhir()["issue"]


def test_what_was_not_checked_is_said() -> None:
    outcome = validate({"resourceType": "Patient", "meta": {"profile": ["http://example.org/p"]}})
    assert outcome.valid
    assert outcome.not_checked == ["profile http://example.org/p: it is not installed"]
    assert outcome.as_fhir()["issue"][-1]["code"] == "incomplete"


def test_rules_after_a_wrong_shape_are_said_to_be_unchecked() -> None:
    outcome = validate({"resourceType": "Observation", "status": "final", "code": {"coding": 7}})
    assert {issue.rule for issue in outcome.issues} == {"shape-type", "rest-not-checked"}


@pytest.mark.parametrize(
    "inside",
    [
        {"resourceType": "Patient", "id": ["p"]},
        {"resourceType": ["Patient"], "id": "p"},
        {"resourceType": "Patient", "id": "p", "meta": 7},
        {"resourceType": "Patient", "id": "p", "contained": 7},
        {"resourceType": "Patient", "id": {"p": 1}, "meta": [1], "name": [[]]},
        {"resourceType": "Patient", "id": "p", "name": {"id": ["x"]}},
    ],
)
def test_a_misshapen_resource_inside_another_is_an_error(inside: dict[str, Any]) -> None:
    """The rules of the outer resource meet it before its own schema has."""
    div = '<div xmlns="http://www.w3.org/1999/xhtml"><a href="#p">a</a></div>'
    outer = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "contained": [inside],
        "subject": {"reference": "#p"},
        "text": {"status": "generated", "div": div},
    }
    entry = {"fullUrl": "http://example.org/Observation/a", "resource": outer}
    for resource in (outer, {"resourceType": "Bundle", "type": "document", "entry": [{"resource": inside}, entry]}):
        outcome = validate(resource)
        assert not outcome.valid
        assert any(issue.expression for issue in outcome.issues)


def test_what_the_rules_stumble_over_never_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: Any) -> None:
        raise TypeError

    monkeypatch.setattr(dispatch, "function", lambda _: stumble)
    outcome = validate(PATIENT + b"}")
    assert [issue.rule for issue in outcome.issues] == ["shape-inside"]
    assert not outcome.valid
