"""A source imports: whole or not at all, the same thing once, each record to its stream, and a report of the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest

from caremesh.consensus.interface import Committed
from caremesh.crypto.hashes import sha256
from caremesh.custodian import errors
from caremesh.errors import BadInput, ErrorCode, Refused, StorageFailed, Unavailable
from caremesh.fhir.entries import DIRECTORY_TYPES
from caremesh.fhir.references import Condition, identifier_digest
from caremesh.node.mesh import LocalMesh
from caremesh.sealing.segment import open_segment
from caremesh.source import registering
from caremesh.source.importer import ImportReport, NotImported, Source
from caremesh.testing.clock import SettableClock
from caremesh.testing.person import Person

NOWHERE = "urn:uuid:00000000-0000-4000-8000-000000000000"
STOPPED = ErrorCode("test.03", "The power went out.")
_numbers = count(1)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("import") / "mesh", SettableClock()) as made:
        yield made


class Newcomers:
    """People, each with a wallet of their own."""

    def __init__(self, mesh: LocalMesh, folder: Path) -> None:
        self._mesh = mesh
        self._folder = folder

    def enrol(self, member: str, patient: str) -> None:
        wallet = self._folder / f"{patient}.wallet"
        Person.create(self._mesh, wallet, "correct horse battery staple")[0].enrol(member, patient)


@pytest.fixture
def person(mesh: LocalMesh, tmp_path: Path) -> Newcomers:
    return Newcomers(mesh, tmp_path)


@pytest.fixture
def source(mesh: LocalMesh) -> Source:
    return mesh.member("hospital").source(mesh)


@pytest.fixture
def patient(person: Newcomers) -> str:
    """A new patient of the hospital, enrolled."""
    name = f"p{next(_numbers)}"
    person.enrol("hospital", name)
    return name


def patient_entry(patient: str) -> dict[str, Any]:
    return entry({"resourceType": "Patient", "id": patient, "gender": "other"})


def condition(patient: str, number: int, **others: Any) -> dict[str, Any]:
    return {
        "resourceType": "Condition",
        "id": f"{patient}-c{number}",
        "clinicalStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]
        },
        "subject": {"reference": f"Patient/{patient}"},
        "code": {"text": "Fever"},
        **others,
    }


def entry(resource: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"resource": resource, **others}


def bundle(*entries: dict[str, Any], kind: str = "transaction") -> bytes:
    return json.dumps({"resourceType": "Bundle", "type": kind, "entry": list(entries)}).encode()


def organisation(value: str, id_: str = "") -> dict[str, Any]:
    return {
        "resourceType": "Organization",
        "id": id_ or f"o-{value}",
        "identifier": [{"system": "http://example.org/o", "value": value}],
        "name": "Harbour Clinic",
    }


def practitioner(npi: str, id_: str = "") -> dict[str, Any]:
    return {
        "resourceType": "Practitioner",
        "id": id_ or npi,
        "identifier": [{"system": "http://example.org/npi", "value": npi}],
    }


def refusals(caught: pytest.ExceptionInfo[NotImported]) -> list[tuple[str, str]]:
    return [(refusal.place, refusal.code) for refusal in caught.value.report.refused]


def held(source: Source, mesh: LocalMesh, patient: str) -> list[tuple[str, bytes]]:
    """(category, original bytes) of all records of a patient, opened from the blocks."""
    reader = mesh.engine.reader()
    found = []
    for segment in source.index.segments(patient, reader):
        blocks = mesh.stores()[0]
        found += [
            (segment.category, record.data)
            for record in open_segment(segment.key, blocks.get(segment.descriptor), blocks.get)
        ]
    return found


def test_whole_or_not_at_all_and_everything_wrong_is_named(source: Source, mesh: LocalMesh, patient: str) -> None:
    height = mesh.engine.status().height
    blocks = sorted(path for path in (mesh.folder / "hospital/blocks").rglob("*"))
    wrong = bundle(
        patient_entry(patient),
        entry(condition(patient, 1)),
        entry(condition(patient, 2), request={"method": "DELETE", "url": "Condition/x"}),
        entry({"resourceType": "Condition", "id": "?"}),
        entry(condition(patient, 3, encounter={"reference": NOWHERE})),
        entry(condition(patient, 4, recorder={"reference": "Practitioner?identifier=a|nobody"})),
        entry(condition(patient, 5, subject={"reference": "Patient/somebody-else"})),
        entry(condition(patient, 1, code={"text": "other"})),
    )
    with pytest.raises(NotImported, match=r"fhir\.31") as caught:
        source.import_bundle(wrong)
    assert sorted(refusals(caught)) == [
        ("entry[2]", "fhir.23"),
        ("entry[3].resource", "fhir.06"),
        ("entry[4]", "fhir.25"),
        ("entry[5]", "fhir.26"),
        ("entry[6]", "fhir.29"),
        ("entry[7]", "fhir.07"),
    ]
    assert mesh.engine.status().height == height
    assert sorted(path for path in (mesh.folder / "hospital/blocks").rglob("*")) == blocks
    assert held(source, mesh, patient) == []


def test_a_batch_takes_what_is_right(source: Source, patient: str) -> None:
    wrong = condition(patient, 2, encounter={"reference": NOWHERE})
    data = bundle(patient_entry(patient), entry(condition(patient, 1)), entry(wrong), kind="batch")
    report = source.import_bundle(data)
    assert report.records == {"conditions": 1, "demographics": 1}
    assert [(refusal.place, refusal.type, refusal.code) for refusal in report.refused] == [
        ("entry[2]", "Condition", "fhir.25")
    ]


def test_the_same_bundle_twice_changes_nothing(source: Source, mesh: LocalMesh, patient: str) -> None:
    data = bundle(patient_entry(patient), entry(condition(patient, 1)), entry(organisation(patient)))
    first = source.import_bundle(data)
    assert (sum(first.records.values()), first.directory, first.unchanged) == (2, 1, 0)
    height, before = mesh.engine.status().height, held(source, mesh, patient)
    again = source.import_bundle(data)
    assert (again.records, again.segments, again.directory, again.unchanged) == ({}, 0, 0, 3)
    assert (mesh.engine.status().height, held(source, mesh, patient)) == (height, before)


def test_original_bytes_are_what_is_sealed(source: Source, mesh: LocalMesh, patient: str) -> None:
    odd = json.dumps(condition(patient, 1), indent=3).replace("Fever", "F\\u0065ver").encode() + b" "
    whole = b'{"resourceType":"Bundle","type":"collection","entry":[{"resource":%b},{"resource":%b}]}'
    source.import_bundle(whole % (json.dumps({"resourceType": "Patient", "id": patient}).encode(), odd.strip()))
    assert ("conditions", odd.strip()) in held(source, mesh, patient)


def test_versions_are_kept_and_may_not_be_rewritten(source: Source, mesh: LocalMesh, patient: str) -> None:
    source.import_bundle(bundle(patient_entry(patient)))
    versions = [
        condition(patient, 1, meta={"versionId": str(number)}, code={"text": f"Fever {number}"}) for number in (1, 2)
    ]
    source.import_bundle(bundle(patient_entry(patient), *map(entry, versions), kind="history"))
    source.import_bundle(json.dumps(condition(patient, 1, meta={"versionId": "3"})).encode())
    records = [record for segment in source.index.segments(patient, mesh.engine.reader()) for record in segment.records]
    assert sorted(record.version for record in records if record.type == "Condition") == ["1", "2", "3"]
    rewritten = condition(patient, 1, meta={"versionId": "2"}, code={"text": "Cough"})
    with pytest.raises(NotImported, match=r"source\.06"):
        source.import_bundle(json.dumps(rewritten).encode())


def test_single_resources_know_their_patient(source: Source, patient: str) -> None:
    assert source.import_bundle(json.dumps(condition(patient, 1)).encode()).records == {"conditions": 1}
    with pytest.raises(NotImported, match=r"fhir\.32"):
        source.import_bundle(json.dumps(condition("stranger", 1)).encode())
    with pytest.raises(NotImported, match=r"fhir\.32"):
        source.import_bundle(b'{"resourceType":"Medication","id":"m"}')
    with pytest.raises(Refused, match=r"source\.01"):
        source.import_bundle(b'{"resourceType":"Patient","id":"stranger"}')


def test_references_within_the_bundle_and_by_condition(source: Source, person: Newcomers, patient: str) -> None:
    npi = f"npi-{patient}"
    source.import_bundle(bundle(entry(practitioner(npi)), kind="batch"))
    someone, fever = (str(uuid5(NAMESPACE_URL, f"{patient} {what}")) for what in ("person", "fever"))
    data = bundle(
        entry({"resourceType": "Patient"}, fullUrl=f"urn:uuid:{someone}"),
        entry(
            {
                "resourceType": "Condition",
                "subject": {"reference": f"urn:uuid:{someone}"},
                "recorder": {"reference": f"Practitioner?identifier=http://example.org/npi|{npi}"},
                "asserter": {"reference": "Practitioner/elsewhere"},
            },
            fullUrl=f"urn:uuid:{fever}",
        ),
    )
    with pytest.raises(Refused, match=r"source\.01"):
        source.import_bundle(data)
    person.enrol("hospital", someone)
    report = source.import_bundle(data)
    assert (report.records, report.outside) == ({"conditions": 1, "demographics": 1}, 1)
    source.import_bundle(bundle(entry(practitioner(npi, "another")), kind="batch"))
    other = data.replace(fever.encode(), NOWHERE.removeprefix("urn:uuid:").encode())
    with pytest.raises(NotImported, match=r"fhir\.27"):
        source.import_bundle(other)


def test_a_conditional_create_creates_once(source: Source, patient: str) -> None:
    here = organisation(patient)
    asked = {"method": "POST", "url": "Organization", "ifNoneExist": f"identifier=http://example.org/o|{patient}"}
    assert source.import_bundle(bundle(entry(here, request=asked))).directory == 1
    report = source.import_bundle(bundle(entry(organisation(patient, "otherwise"), request=asked)))
    assert (report.directory, report.unchanged) == (0, 1)
    assert source.directory.versions("Organization", "otherwise") == []
    source.import_bundle(bundle(entry(organisation(patient, "third"))))
    with pytest.raises(NotImported, match=r"fhir\.27"):
        source.import_bundle(bundle(entry(organisation(patient, "fourth"), request=asked)))
    odd = asked | {"ifNoneExist": "name=x"}
    with pytest.raises(NotImported, match=r"fhir\.28"):
        source.import_bundle(bundle(entry(organisation(patient, "fifth"), request=odd)))


def test_lines_stand_for_themselves(source: Source, mesh: LocalMesh, person: Newcomers, patient: str) -> None:
    other = f"{patient}x"
    person.enrol("hospital", other)
    rows = [
        json.dumps({"resourceType": "Patient", "id": patient}),
        json.dumps({"resourceType": "Patient", "id": other}),
        json.dumps(condition(patient, 1)),
        "{not json",
        json.dumps(condition("stranger", 1)),
        json.dumps(condition(other, 1)),
        json.dumps(organisation(other)),
    ]
    data = "\n".join(rows).encode()
    report = source.import_lines(data[at : at + 100] for at in range(0, len(data), 100))
    assert report.records == {"conditions": 2, "demographics": 2}
    assert [(refusal.place, refusal.code) for refusal in report.refused] == [
        ("line 4 byte 1", "fhir.02"),
        ("line 5", "fhir.32"),
    ]
    assert [category for category, _ in held(source, mesh, patient)] == ["conditions", "demographics"]
    assert held(source, mesh, other) != held(source, mesh, patient)
    assert source.import_lines(iter([data])).unchanged == 5


def test_a_record_that_gives_a_sensitive_one_as_its_reason_goes_with_it(source: Source, patient: str) -> None:
    sensitive = condition(patient, 1, code={"text": "HIV infection"})
    because = {
        "resourceType": "MedicationRequest",
        "id": f"{patient}-m",
        "status": "active",
        "intent": "order",
        "subject": {"reference": f"Patient/{patient}"},
        "medicationCodeableConcept": {"text": "plain"},
        "reasonReference": [{"reference": f"Condition/{patient}-c1"}],
    }
    claim = {
        "resourceType": "Claim",
        "id": f"{patient}-d",
        "status": "active",
        "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/claim-type", "code": "pharmacy"}]},
        "use": "claim",
        "patient": {"reference": f"Patient/{patient}"},
        "created": "2024-01-01",
        "provider": {"reference": "Organization/elsewhere"},
        "priority": {"text": "normal"},
        "prescription": {"reference": f"MedicationRequest/{patient}-m"},
        "insurance": [{"sequence": 1, "focal": True, "coverage": {"display": "insurer"}}],
    }
    provenance = {
        "resourceType": "Provenance",
        "id": f"{patient}-p",
        "target": [{"reference": f"Condition/{patient}-c1"}],
        "recorded": "2024-01-01T00:00:00Z",
        "agent": [{"who": {"reference": "Practitioner/elsewhere"}}],
    }
    data = bundle(patient_entry(patient), *map(entry, (sensitive, because, claim, provenance)))
    assert source.import_bundle(data).records == {"demographics": 1, "documents": 1, "hiv": 3}


class _Failing:
    """Passes everything on, until a call that is to fail."""

    def __init__(self, inner: Any, name: str, after: int) -> None:
        self._inner, self._name, self._left = inner, name, after

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            self._left -= 1
            if self._left < 0:
                raise StorageFailed(STOPPED)
        return getattr(self._inner, name)


def test_an_interrupted_import_is_finished_without_the_file(source: Source, mesh: LocalMesh, patient: str) -> None:
    data = bundle(patient_entry(patient), entry(condition(patient, 1)), entry(condition(patient, 2)))
    registrar = source._registrar
    ledger = registrar._ledger
    registrar._ledger = _Failing(ledger, "submit_batches", 0)
    with pytest.raises(StorageFailed):
        source.import_bundle(data)
    assert held(source, mesh, patient) == []
    registrar._ledger = ledger
    restarted = mesh.member("hospital").source(mesh)
    report = restarted.import_bundle(json.dumps(condition(patient, 3)).encode())
    assert (report.settled, report.records) == (2, {"conditions": 1})
    assert len(held(restarted, mesh, patient)) == 4
    assert restarted.import_bundle(data).unchanged == 3


def test_part_of_a_batch_registered_is_completed(source: Source, mesh: LocalMesh, patient: str) -> None:
    """The ledger took one of two transactions before the power went out."""

    class Half:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def submit_batches(self, batches: Mapping[bytes, Sequence[bytes]]) -> dict[bytes, list[Committed]]:
            self._inner.submit_batches({subject: transactions[:1] for subject, transactions in batches.items()})
            raise StorageFailed(STOPPED)

        def reader(self) -> Any:
            return self._inner.reader()

    data = bundle(patient_entry(patient), entry(condition(patient, 1)))
    ledger = source._registrar._ledger
    source._registrar._ledger = Half(ledger)
    with pytest.raises(StorageFailed):
        source.import_bundle(data)
    assert len(held(source, mesh, patient)) == 1
    restarted = mesh.member("hospital").source(mesh)
    report = restarted.import_bundle(data)
    assert (report.settled, report.records, report.unchanged) == (1, {}, 2)
    assert len(held(restarted, mesh, patient)) == 2


def test_what_the_ledger_refuses_is_said_and_tried_again(source: Source, mesh: LocalMesh, patient: str) -> None:
    class Refusing:
        def submit_batches(self, batches: Mapping[bytes, Sequence[bytes]]) -> dict[bytes, list[Any]]:
            return {name: [SimpleNamespace(code="streams.08") for _ in rows] for name, rows in batches.items()}

        def reader(self) -> Any:
            return ledger.reader()

    ledger = source._registrar._ledger
    source._registrar._ledger = Refusing()
    with pytest.raises(Refused, match=r"source\.03.*streams\.08"):
        source.import_bundle(bundle(patient_entry(patient)))
    assert held(source, mesh, patient) == []
    source._registrar._ledger = ledger
    assert source.import_bundle(bundle(patient_entry(patient))).settled == 1


def test_seals_are_left_all_together_in_no_order(source: Source, patient: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrives together says nothing about which streams belong together; one that is spoilt keeps none back."""
    calls: list[int] = []
    shuffled: list[int] = []

    class Spoilt:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def deposit_seals(self, deposits: Sequence[bytes]) -> list[bytes]:
            calls.append(len(deposits))
            if len(deposits) > 1:
                raise Refused(errors.NOT_DEPOSITABLE)
            return list(self._inner.deposit_seals(deposits))

    monkeypatch.setattr(registering._SHUFFLE, "shuffle", lambda rows: shuffled.append(len(rows)))
    ways = dict(source._registrar._custodians)
    source._registrar._custodians = {did: Spoilt(way) for did, way in ways.items()}
    rows = [json.dumps({"resourceType": "Patient", "id": patient}), json.dumps(condition(patient, 1))]
    report = source.import_lines(iter(["\n".join(rows).encode()]))
    assert (report.segments, shuffled, calls) == (2, [2], [2, 1, 1] * 3)
    source._registrar._custodians = ways
    assert source.import_bundle(json.dumps(condition(patient, 2)).encode()).segments == 1
    assert calls == [2, 1, 1] * 3


def test_with_too_few_custodians_nothing_is_registered(source: Source, mesh: LocalMesh, patient: str) -> None:
    height = mesh.engine.status().height
    source._registrar._custodians = {}
    with pytest.raises(Unavailable, match=r"source\.02"):
        source.import_bundle(bundle(patient_entry(patient)))
    assert (mesh.engine.status().height, held(source, mesh, patient)) == (height, [])
    assert mesh.member("hospital").source(mesh).import_bundle(bundle(patient_entry(patient))).settled == 0


class Full:
    """A store that takes nothing."""

    def put_many(self, *_: object) -> None:
        raise StorageFailed(STOPPED)


def test_when_no_store_takes_the_blocks_nothing_is_done(source: Source, mesh: LocalMesh, patient: str) -> None:
    source._copies._ways = {did: Full() for did in mesh.holders()}  # type: ignore[misc]
    with pytest.raises(StorageFailed):
        source.import_bundle(bundle(patient_entry(patient)))
    assert held(source, mesh, patient) == []
    assert mesh.member("hospital").source(mesh).finish() == ImportReport()


def test_invalid_resources_are_refused_with_their_issues(mesh: LocalMesh, source: Source, patient: str) -> None:
    wrong = condition(patient, 1, onsetDateTime="0000-01-01", abatementAge={"value": "old"})
    wrong["clinicalStatus"]["coding"][0]["code"] = "so-so"
    with pytest.raises(NotImported, match=r"fhir\.30") as caught:
        source.import_bundle(bundle(patient_entry(patient), entry(wrong)))
    [refusal] = caught.value.report.refused
    assert (refusal.place, refusal.type) == ("entry[1]", "Condition")
    assert {issue["severity"] for issue in refusal.issues} == {"error"}
    assert "Condition.onsetDateTime" in {where for issue in refusal.issues for where in issue.get("expression", [])}
    assert held(source, mesh, patient) == []


def test_progress_is_told(source: Source, patient: str) -> None:
    told: list[tuple[str, int, int]] = []
    source.import_bundle(bundle(patient_entry(patient), entry(condition(patient, 1))), lambda *row: told.append(row))
    assert [row for row in told if row[0] == "checking"] == [("checking", 1, 2), ("checking", 2, 2)]
    assert ("registering", 2, 2) in told


def test_no_bundle_of_two_patients(source: Source, patient: str) -> None:
    with pytest.raises(BadInput, match=r"fhir\.05"):
        source.import_bundle(bundle(patient_entry(patient), patient_entry("other")))


def test_what_goes_to_the_directory_is_found_by_identifier_and_is_no_record(source: Source, patient: str) -> None:
    source.import_bundle(bundle(entry(organisation(patient))))
    wanted = Condition(type="Organization", identifier=identifier_digest("http://example.org/o", patient))
    assert source.directory.find(wanted) == [f"o-{patient}"]
    found = source.directory.get("Organization", f"o-{patient}")
    assert found is not None
    assert (sha256(found.data), found.member) == (sha256(json.dumps(organisation(patient)).encode()), source.did)
    assert {"Organization", "Practitioner", "PractitionerRole", "Location"} <= DIRECTORY_TYPES


def test_the_index_survives(source: Source, mesh: LocalMesh, patient: str) -> None:
    source.import_bundle(bundle(patient_entry(patient)))
    again = mesh.member("hospital").source(mesh)
    assert held(again, mesh, patient) == held(source, mesh, patient) != []
