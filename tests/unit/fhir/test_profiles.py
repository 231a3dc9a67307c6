"""Declared profiles: HL7's own, and those of packages made here; what cannot be checked is never passed in silence."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest

from caremesh.errors import BadInput
from caremesh.fhir import errors
from caremesh.fhir.validation import Outcome, Profiles, packages, read_packages, validate

BASE = "http://hl7.org/fhir/StructureDefinition"
URL = "http://example.org/StructureDefinition"
LOINC = "http://loinc.org"


def package(*resources: dict[str, Any], folder: str = "package") -> bytes:
    """A package of these definitions, as they are published."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as tar:
        for number, resource in enumerate(resources):
            data = json.dumps(resource).encode()
            member = tarfile.TarInfo(f"{folder}/{number}.json")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return held.getvalue()


def profile(kind: str, *elements: dict[str, Any], name: str = "test") -> dict[str, Any]:
    """A profile with this snapshot."""
    whole = [{"id": kind, "path": kind, "min": 0, "max": "*"}]
    for element in elements:
        path = ".".join(step.partition(":")[0] for step in element["id"].split("."))
        whole.append({"path": path, "min": 0, "max": "*"} | element)
    return {
        "resourceType": "StructureDefinition",
        "url": f"{URL}/{name}",
        "type": kind,
        "snapshot": {"element": whole},
    }


def checked(resource: dict[str, Any], *definitions: dict[str, Any], name: str = "test") -> Outcome:
    """The outcome of a resource that declares the profile."""
    declared = resource | {"meta": {"profile": [f"{URL}/{name}"]}}
    return validate(declared, profiles=Profiles(read_packages([package(*definitions)])))


def rules(outcome: Outcome) -> list[tuple[str, str]]:
    return [(issue.rule, issue.expression) for issue in outcome.issues]


PATIENT: dict[str, Any] = {"resourceType": "Patient", "gender": "female", "name": [{"family": "a"}]}
OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"coding": [{"system": LOINC, "code": "1-8"}]},
    "subject": {"reference": "Patient/1"},
}


def test_cardinality() -> None:
    assert rules(checked(PATIENT, profile("Patient", {"id": "Patient.birthDate", "min": 1, "max": "1"}))) == [
        ("profile-min", "Patient.birthDate")
    ]
    assert rules(checked(PATIENT, profile("Patient", {"id": "Patient.name", "max": "0"}))) == [
        ("profile-max", "Patient.name")
    ]
    assert rules(checked(PATIENT, profile("Patient", {"id": "Patient.name", "min": 1}))) == []


def test_children_of_what_is_there() -> None:
    given = {"id": "Patient.name.given", "min": 1}
    assert rules(checked(PATIENT, profile("Patient", {"id": "Patient.name"}, given))) == [
        ("profile-min", "Patient.name[0].given")
    ]


def test_fixed_and_pattern() -> None:
    assert rules(checked(PATIENT, profile("Patient", {"id": "Patient.gender", "fixedCode": "male"}))) == [
        ("profile-fixed", "Patient.gender")
    ]
    pattern = {"coding": [{"system": LOINC, "code": "2-6"}]}
    element = {"id": "Observation.code", "patternCodeableConcept": pattern}
    assert rules(checked(OBSERVATION, profile("Observation", element))) == [("profile-pattern", "Observation.code")]
    held = OBSERVATION | {"code": {"coding": [{"code": "x"}, pattern["coding"][0] | {"display": "y"}], "text": "z"}}
    assert rules(checked(held, profile("Observation", element))) == []


def test_type_of_a_choice() -> None:
    element = {"id": "Observation.value[x]", "type": [{"code": "Quantity"}, {"code": "string"}]}
    assert rules(checked(OBSERVATION | {"valueInteger": 1}, profile("Observation", element))) == [
        ("profile-type", "Observation.valueInteger")
    ]
    assert rules(checked(OBSERVATION | {"valueString": "a"}, profile("Observation", element))) == []


def test_required_bindings() -> None:
    binding = {"strength": "required", "valueSet": "http://example.org/ValueSet/codes|1.0"}
    held = profile("Observation", {"id": "Observation.code", "binding": binding})
    unknown = checked(OBSERVATION, held)
    assert unknown.valid
    assert unknown.not_checked == ["value set http://example.org/ValueSet/codes|1.0: it cannot be enumerated here"]
    codes = {
        "resourceType": "ValueSet",
        "url": "http://example.org/ValueSet/codes",
        "compose": {"include": [{"system": LOINC, "concept": [{"code": "2-6"}]}]},
    }
    assert rules(checked(OBSERVATION, held, codes)) == [("profile-binding", "Observation.code")]
    codes["compose"] = {"include": [{"system": LOINC, "concept": [{"code": "1-8"}]}]}
    assert rules(checked(OBSERVATION, held, codes)) == []
    codes["compose"] = {"include": [{"system": LOINC}]}
    assert checked(OBSERVATION, held, codes).not_checked
    system = {"resourceType": "CodeSystem", "url": LOINC, "content": "complete", "concept": [{"code": "3-4"}]}
    assert rules(checked(OBSERVATION, held, codes, system)) == [("profile-binding", "Observation.code")]


def test_targets() -> None:
    target = [{"code": "Reference", "targetProfile": [f"{URL}/group"]}]
    group = profile("Group", name="group")
    element = {"id": "Observation.subject", "type": target}
    assert rules(checked(OBSERVATION, profile("Observation", element), group)) == [
        ("profile-target", "Observation.subject")
    ]


LABORATORY = {"coding": [{"code": "laboratory"}]}
SLICING = {"rules": "closed", "discriminator": [{"type": "pattern", "path": "$this"}]}
ONE = {"sliceName": "lab", "min": 1, "max": "1", "patternCodeableConcept": LABORATORY}
SLICED: tuple[dict[str, Any], ...] = (
    {"id": "Observation.category", "slicing": SLICING},
    {"id": "Observation.category:lab", **ONE},
    {"id": "Observation.category:lab.text", "min": 1},
)


def test_slices() -> None:
    laboratory = {"coding": [{"code": "laboratory"}], "text": "x"}
    held = profile("Observation", *SLICED)
    assert rules(checked(OBSERVATION | {"category": [laboratory]}, held)) == []
    assert rules(checked(OBSERVATION | {"category": [{"coding": laboratory["coding"]}]}, held)) == [
        ("profile-min", "Observation.category[0].text")
    ]
    assert rules(checked(OBSERVATION | {"category": [laboratory, {"text": "other"}]}, held)) == [
        ("profile-slice", "Observation.category[1]")
    ]
    assert rules(checked(OBSERVATION, held)) == [("profile-min", "Observation.category:lab")]
    assert rules(checked(OBSERVATION | {"category": [laboratory] * 2}, held)) == [
        ("profile-max", "Observation.category:lab")
    ]


def test_a_slice_that_nothing_here_tells_apart_is_not_checked() -> None:
    slicing = {"rules": "closed", "discriminator": [{"type": "profile", "path": "resolve()"}]}
    held = profile(
        "Observation",
        {"id": "Observation.performer", "slicing": slicing},
        {"id": "Observation.performer:a", "sliceName": "a", "min": 1},
    )
    outcome = checked(OBSERVATION | {"performer": [{"reference": "Patient/1"}]}, held)
    assert outcome.valid
    assert outcome.not_checked == ["slice a of Observation.performer: what tells it apart is not known here"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("gender = 'male'", "profile-constraint"),
        ("gender = 'female'", None),
        ("deceased.ofType(boolean) = true", "profile-constraint"),
        ("this is not FHIRPath (", "unevaluated"),
        ("gender.exists() and then more", "unevaluated"),
        ("gender.exists() more", "unevaluated"),
        ("name.resolve().exists()", "unevaluated"),
        ("name.nosuchfunction()", "unevaluated"),
    ],
)
def test_constraints(expression: str, expected: str | None) -> None:
    one = {"key": "t-1", "severity": "error", "human": "says so", "expression": expression}
    held = profile("Patient")
    held["snapshot"]["element"][0]["constraint"] = [one]
    outcome = checked(PATIENT, held)
    if expected == "unevaluated":
        assert outcome.not_checked == ["constraint t-1 at Patient: unevaluated"]
        assert outcome.valid
    else:
        assert rules(outcome) == ([(expected, "Patient")] if expected else [])
        assert outcome.not_checked == []


def test_a_constraint_that_only_advises_is_a_warning() -> None:
    held = profile("Patient")
    one = {"key": "t-1", "severity": "warning", "human": "says so", "expression": "gender = 'male'"}
    held["snapshot"]["element"][0]["constraint"] = [one]
    outcome = checked(PATIENT, held)
    assert outcome.valid
    assert [(issue.severity, issue.diagnostics) for issue in outcome.issues] == [("warning", "t-1: says so")]


def test_profiles_of_r4_itself_need_no_package() -> None:
    pressure = OBSERVATION | {"meta": {"profile": [f"{BASE}/bp"]}}
    outcome = validate(pressure)
    assert not outcome.valid
    assert {issue.layer for issue in outcome.issues} == {"profile"}
    assert {"Observation.effective", "Observation.category"} <= {issue.expression for issue in outcome.issues}


def test_profiles_are_checked_in_entries_too() -> None:
    inner = OBSERVATION | {"id": "a", "meta": {"profile": [f"{BASE}/vitalsigns"]}}
    entry = {"fullUrl": "http://example.org/Observation/a", "resource": inner}
    outcome = validate({"resourceType": "Bundle", "type": "collection", "entry": [entry]})
    assert any(issue.expression.startswith("Bundle.entry[0].resource.") for issue in outcome.issues)


def test_a_profile_is_not_asked_about_a_misshapen_resource() -> None:
    outcome = validate({"resourceType": "Patient", "meta": {"profile": [f"{URL}/x"]}, "name": 7})
    assert outcome.not_checked == []


@pytest.mark.parametrize("data", [b"", b"no archive", package({"a": 1})[:40]])
def test_what_is_no_package_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        read_packages([data])
    assert caught.value.error == errors.NOT_A_PACKAGE


def test_only_definitions_of_the_package_itself_are_read() -> None:
    assert read_packages([package(profile("Patient"), folder="package/example")]).structures == {}
    assert set(read_packages([package(profile("Patient"), PATIENT)]).structures) == {f"{URL}/test"}


def test_a_package_that_unpacks_to_more_than_is_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "MAX_UNPACKED", 100)
    with pytest.raises(BadInput):
        read_packages([package(profile("Patient"))])
    monkeypatch.setattr(packages, "MAX_UNPACKED", 2**29)
    monkeypatch.setattr(packages, "MAX_FILE", 10)
    with pytest.raises(BadInput):
        read_packages([package(profile("Patient"))])
