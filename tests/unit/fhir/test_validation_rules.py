"""One fault, one rule: what each rule of validation says, and where; and that what is right passes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from caremesh.fhir.validation import validate

XHTML = 'xmlns="http://www.w3.org/1999/xhtml"'
BASE = "http://hl7.org/fhir/StructureDefinition"
EXTENSION = {"url": "http://example.org/x", "valueString": "a"}
UUID = "urn:uuid:68d043b5-9ecf-4559-a57a-396e0d452311"


def patient(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", **more}


def observation(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, **more}


def bundle(kind: str, *entries: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def narrative(div: str) -> dict[str, Any]:
    return patient(text={"status": "generated", "div": div})


def question(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Questionnaire", "status": "active", "item": [{"linkId": "a", "type": "string", **more}]}


FAULTY: list[tuple[str, str, dict[str, Any]]] = [
    ("type", "", {"id": "a"}),
    ("type", "resourceType", {"resourceType": "Patiant"}),
    ("type", "resourceType", {"resourceType": 7}),
    ("shape-additionalProperties", "Patient", patient(surname="x")),
    ("shape-type", "Patient.name", patient(name=None)),
    ("shape-type", "Patient.active", patient(active="true")),
    ("shape-type", "Patient.maritalStatus", patient(maritalStatus="married")),
    ("shape-type", "Patient.birthDate", patient(birthDate=["2000"])),
    ("shape-pattern", "Patient.birthDate", patient(birthDate="0000-01-01")),
    ("shape-pattern", "Patient.id", patient(id="a_b")),
    ("shape-pattern", "Patient.id", patient(id="a" * 65)),
    ("shape-pattern", "Observation.effectiveDateTime", observation(effectiveDateTime="2019-01-01T10:00:00")),
    ("shape-pattern", "Observation.effectiveDateTime", observation(effectiveDateTime="2019-01-01T24:00:00Z")),
    ("shape-maximum", "Patient.multipleBirthInteger", patient(multipleBirthInteger=99_999_999_999)),
    ("whole", "Patient.multipleBirthInteger", patient(multipleBirthInteger=1.0)),
    ("date", "Patient.birthDate", patient(birthDate="2019-02-30")),
    ("date", "Patient.birthDate", patient(birthDate="1900-02-29")),
    ("date", "Observation.issued", observation(issued="2019-02-29T10:00:00Z")),
    ("min", "Observation.status", {"resourceType": "Observation", "code": {"text": "x"}}),
    ("min", "Observation.code", {"resourceType": "Observation", "status": "final"}),
    ("min", "Patient.link[0].type", patient(link=[{"other": {"reference": "Patient/1"}}])),
    ("code-missing", "Observation.status", {
        "resourceType": "Observation", "code": {"text": "x"}, "_status": {"extension": [EXTENSION]}}),
    ("code-missing", "Patient.gender", patient(_gender={"extension": [EXTENSION]})),
    ("choice", "Observation.value", observation(valueString="a", valueInteger=1)),
    ("choice", "Patient.extension[0].value", patient(extension=[EXTENSION | {"valueCode": "b"}])),
    ("empty-array", "Patient.name", patient(name=[])),
    ("empty-array", "Patient.name[0].given", patient(name=[{"given": []}])),
    ("empty-array", "Observation.performer", observation(performer=[])),
    ("null", "Patient.name[0].given[0]", patient(name=[{"given": [None, "a"]}])),
    ("ele-1", "Observation.subject", observation(subject={})),
    ("ele-1", "Observation.subject", observation(subject={"id": "a"})),
    ("code", "Patient.gender", patient(gender="x")),
    ("code", "Observation.status", observation(status="Final")),
    ("binding", "AllergyIntolerance.clinicalStatus", {
        "resourceType": "AllergyIntolerance", "patient": {"reference": "Patient/1"},
        "clinicalStatus": {"coding": [{"system": "http://loinc.org", "code": "active"}]}}),
    ("coding", "Patient.maritalStatus.coding[0].code", patient(maritalStatus={
        "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": "QQ"}]})),
    ("coding", "Observation.valueQuantity.code", observation(valueQuantity={
        "value": 1, "system": "http://terminology.hl7.org/CodeSystem/v3-orderableDrugForm", "code": "Tab"})),
    ("base64", "Patient.photo[0].data", patient(photo=[{"contentType": "image/png", "data": "abc"}])),
    ("base64", "Patient.photo[0].data", patient(photo=[{"contentType": "image/png", "data": "a.b="}])),
    ("uri", "Patient.implicitRules", patient(implicitRules="urn:uuid:68D043B5-9ECF-4559-A57A-396E0D452311")),
    ("uri", "Patient.identifier[0].system", patient(identifier=[{"system": "urn:oid:9.1", "value": "a"}])),
    ("identifier-uri", "Patient.identifier[0].value",
     patient(identifier=[{"system": "urn:ietf:rfc:3986", "value": "1"}])),
    ("canonical", "Patient.meta.profile[0]", patient(meta={"profile": ["abc"]})),
    ("reference-form", "Observation.subject.reference", observation(subject={"reference": "patient/1"})),
    ("reference-form", "Observation.subject.reference", observation(subject={"reference": "Patient/a_b"})),
    ("reference-type", "Observation.subject.reference", observation(subject={"reference": "Nonsense/1"})),
    ("reference-type", "Observation.subject.reference", observation(subject={"reference": "Foo?identifier=a"})),
    ("reference-target", "Observation.subject.reference", observation(subject={"reference": "Encounter/1"})),
    ("reference-target", "Observation.performer[1].reference",
     observation(performer=[{"reference": "Patient/1"}, {"reference": "Encounter/1"}])),
    ("reference-target", "Observation.subject.reference", observation(
        contained=[{"resourceType": "Basic", "id": "b", "code": {"text": "x"}}], subject={"reference": "#b"})),
    ("reference-differs", "Observation.subject.type", observation(subject={"reference": "Patient/1", "type": "Group"})),
    ("uri", "Observation.subject.reference", observation(subject={"reference": "urn:uuid:ABC"})),
    ("ref-1", "Observation.subject", observation(subject={"reference": "#x"})),
    ("contained-id", "Observation.contained", observation(contained=[{"resourceType": "Patient"}])),
    ("contained-twice", "Observation.contained", observation(
        contained=[{"resourceType": "Patient", "id": "p"}] * 2, subject={"reference": "#p"})),
    ("dom-2", "Observation.contained", observation(
        contained=[{"resourceType": "Patient", "id": "p", "contained": [{"resourceType": "Patient", "id": "q"}]}],
        subject={"reference": "#p"})),
    ("dom-3", "Observation.contained", observation(contained=[{"resourceType": "Patient", "id": "p"}])),
    ("dom-4", "Observation.contained", observation(
        contained=[{"resourceType": "Patient", "id": "p", "meta": {"versionId": "1"}}], subject={"reference": "#p"})),
    ("dom-5", "Observation.contained", observation(
        contained=[{"resourceType": "Patient", "id": "p", "meta": {"security": [{"code": "R"}]}}],
        subject={"reference": "#p"})),
    ("min", "Observation.contained[0].status", observation(
        contained=[{"resourceType": "Encounter", "id": "p", "class": {"code": "x"}}], encounter={"reference": "#p"})),
    ("min", "Patient.extension[0].url", patient(extension=[{"valueString": "a"}])),
    ("ext-1", "Patient.extension[0]", patient(extension=[{"url": "http://example.org/x"}])),
    ("ext-1", "Patient.extension[0]", patient(extension=[EXTENSION | {"extension": [EXTENSION]}])),
    ("extension-url", "Patient.extension[0].url", patient(extension=[{"url": "abc", "valueString": "a"}])),
    ("extension-url", "Patient.name[0].extension[0].url",
     patient(name=[{"extension": [{"url": "b", "valueCode": "a"}]}])),
    ("extension-value", "Patient.extension[0]",
     patient(extension=[{"url": f"{BASE}/patient-birthPlace", "valueString": "a"}])),
    ("extension-part", "Patient.extension[0].extension[0]", patient(extension=[
        {"url": f"{BASE}/patient-nationality", "extension": [{"url": "nonsense", "valueString": "a"}]}])),
    ("txt-1", "Patient.text.div", narrative("<div>a</div>")),
    ("txt-1", "Patient.text.div", narrative(f"<p {XHTML}>a</p>")),
    ("txt-1", "Patient.text.div", narrative(f"<div {XHTML}><script>x</script></div>")),
    ("txt-1", "Patient.text.div", narrative(f'<div {XHTML}><p onclick="x">a</p></div>')),
    ("txt-1", "Patient.text.div", narrative(f"<div {XHTML}><p>a</div>")),
    ("txt-1", "Patient.text.div", narrative(f"<div {XHTML}>&nbsp;a</div>")),
    ("txt-1", "Patient.text.div", narrative(f"<!DOCTYPE div><div {XHTML}>a</div>")),
    ("txt-2", "Patient.text.div", narrative(f"<div {XHTML}> </div>")),
    ("narrative-link", "Patient.text.div", narrative(f'<div {XHTML}><a href="#x">a</a></div>')),
    ("full-url", "Bundle.entry[0]", bundle("collection", {"resource": patient(id="a")})),
    ("full-url-differs", "Bundle.entry[0].fullUrl",
     bundle("collection", {"fullUrl": "http://example.org/Patient/b", "resource": patient(id="a")})),
    ("bdl-7", "Bundle", bundle("collection", *[{"fullUrl": UUID, "resource": patient(id="a")}] * 2)),
    ("bdl-3", "Bundle", bundle("transaction", {"fullUrl": UUID, "resource": patient(id="a")})),
    ("code", "Bundle.entry[0].resource.gender",
     bundle("collection", {"fullUrl": UUID, "resource": patient(gender="x")})),
    ("type", "Bundle.entry[0].resource.resourceType",
     bundle("collection", {"fullUrl": UUID, "resource": {"resourceType": "Patiant"}})),
    ("per-1", "Patient.identifier[0].period",
     patient(identifier=[{"value": "a", "period": {"start": "2013", "end": "2012-05"}}])),
    ("per-1", "Observation.effectivePeriod", observation(
        effectivePeriod={"start": "2019-01-01T10:00:00Z", "end": "2019-01-01T10:30:00+01:00"})),
    ("rng-2", "Observation.valueRange", observation(valueRange={"low": {"value": 5}, "high": {"value": 3}})),
    ("qty-3", "Observation.valueQuantity", observation(valueQuantity={"value": 1, "code": "mg"})),
    ("obs-6", "Observation", observation(valueString="a", dataAbsentReason={"text": "x"})),
    ("obs-7", "Observation", observation(valueString="a") | {
        "code": {"coding": [{"code": "c"}]}, "component": [{"code": {"coding": [{"code": "c"}]}}]}),
    ("obs-3", "Observation.referenceRange[0]", observation(referenceRange=[{"age": {"low": {"value": 1}}}])),
    ("pat-1", "Patient.contact[0]", patient(contact=[{"gender": "male"}])),
    ("cpt-2", "Patient.telecom[0]", patient(telecom=[{"value": "1"}])),
    ("org-3", "Organization.telecom[0]", {
        "resourceType": "Organization", "name": "x", "telecom": [{"use": "home", "system": "phone", "value": "1"}]}),
    ("att-1", "Patient.photo[0]", patient(photo=[{"data": "YWJj"}])),
    ("que-2", "Questionnaire", question(item=[{"linkId": "a", "type": "string"}])),
    ("que-7", "Questionnaire.item[0].enableWhen[0]",
     question(enableWhen=[{"question": "b", "operator": "exists", "answerString": "x"}])),
    ("ras-1", "RiskAssessment.prediction[0].probabilityRange", {
        "resourceType": "RiskAssessment", "status": "final", "subject": {"reference": "Patient/1"},
        "prediction": [{"probabilityRange": {"low": {"value": 1, "code": "mg"}}}]}),
]  # fmt: skip

SOUND: list[dict[str, Any]] = [
    patient(),
    patient(birthDate="2020-02-29", gender="female", name=[{"given": ["a", "b"], "family": "c"}]),
    patient(name=[{"given": [None, "a"], "_given": [{"extension": [EXTENSION]}, None]}]),
    patient(_birthDate={"extension": [EXTENSION]}),
    patient(extension=[{"url": "http://example.org/x", "extension": [{"url": "part", "valueString": "a"}]}]),
    patient(name=[{"family": "\u00a0x"}]),
    patient(identifier=[{"value": "a", "period": {"start": "2012-05-06", "end": "2012-05"}}]),
    narrative(f'<div {XHTML}><a name="x">b</a><a href="#x">a</a>&amp;&#160;</div>'),
    observation(subject={"reference": "Patient/1"}, effectiveDateTime="2019-01-01T23:59:60Z"),
    observation(subject={"reference": UUID}),
    observation(subject={"reference": "Patient?identifier=a|b"}),
    observation(subject={"reference": "https://example.org/fhir/Patient/1/_history/2"}),
    observation(subject={"reference": "https://example.org/anything"}),
    observation(contained=[{"resourceType": "Patient", "id": "p"}], subject={"reference": "#p"}),
    observation(valueRange={"low": {"value": 5, "unit": "mg"}, "high": {"value": 3, "unit": "g"}}),
    observation(valueQuantity={"value": 1, "system": "http://unitsofmeasure.org", "code": "no such unit"}),
    bundle("transaction", {"resource": patient(), "request": {"method": "POST", "url": "Patient"}}),
    question(enableWhen=[{"question": "b", "operator": "exists", "answerBoolean": True}]),
]


@pytest.mark.parametrize(("rule", "where", "resource"), FAULTY)
def test_a_fault_is_named_with_its_place(rule: str, where: str, resource: dict[str, Any]) -> None:
    outcome = validate(json.dumps(resource).encode())
    said = [(issue.rule, issue.expression) for issue in outcome.issues if issue.severity == "error"]
    start = resource.get("resourceType")
    place = where if where.startswith(str(start)) or not where else f".{where}"
    assert (rule, place) in said, said
    assert not outcome.valid
    assert all(issue.diagnostics for issue in outcome.issues)


@pytest.mark.parametrize("resource", SOUND)
def test_what_is_right_passes(resource: dict[str, Any]) -> None:
    outcome = validate(json.dumps(resource).encode())
    assert outcome.valid, outcome.issues


def test_bytes_and_parsed_json_get_the_same_issues() -> None:
    for _rule, _where, resource in FAULTY:
        assert validate(resource).issues == validate(json.dumps(resource).encode()).issues


def test_advice_is_a_warning_and_does_not_refuse() -> None:
    outcome = validate(question() | {"name": "not a name"})
    assert [(issue.rule, issue.severity) for issue in outcome.issues] == [("que-0", "warning")]
    assert outcome.valid
