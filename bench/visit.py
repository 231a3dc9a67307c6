"""A clinician's click and a patient's grant on the whole mesh in one process, and one custodian's release.

custody.visit_p95          12 streams, 2,000 records, nothing cached at the gateway: receipts, releases, opening
custody.grant_12           a share of 12 categories with 3 custodians: fragments, deposits, consents
custody.release_checks     a custodian's answer with all its checks, without its log's sync, to a bare re-encryption
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from unittest import mock

import umbral_pre

from caremesh import codec
from caremesh.contracts.records import queries as records
from caremesh.custodian.log import ReleaseLog, ToLog
from caremesh.gateway.visit import Purpose
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.sealing import custody
from caremesh.sealing.custody import ReleaseRequest
from caremesh.sealing.release_log import START, LogEntry
from caremesh.testing.clock import SettableClock
from caremesh.testing.person import Person
from caremesh.wallet import state as states

AREAS = ("custody",)
RECORDS: Final = 2_000
VISITS: Final = 20
GRANTS: Final = 12
RELEASES: Final = 200
BASIS: Final = ["HIPAA:164.506.c.2"]
_CLINICAL: Final = "http://terminology.hl7.org/CodeSystem/condition-clinical"
_ALLERGY: Final = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"
_OBSERVATION: Final = "http://terminology.hl7.org/CodeSystem/observation-category"


def _kinds(subject: dict[str, str]) -> list[dict[str, Any]]:
    """One resource of each of eleven kinds; the patient is the twelfth."""
    text = {"text": "as invented for this measurement"}
    coded = {"coding": [{"system": _OBSERVATION, "code": "laboratory"}]}
    vital = {"coding": [{"system": _OBSERVATION, "code": "vital-signs"}]}
    allergy = {"coding": [{"system": _ALLERGY, "code": "active"}]}
    active = {"coding": [{"system": _CLINICAL, "code": "active"}]}
    return [
        {"resourceType": "Observation", "status": "final", "category": [coded], "code": text, "subject": subject},
        {"resourceType": "Observation", "status": "final", "category": [vital], "code": text, "subject": subject},
        {"resourceType": "Condition", "clinicalStatus": active, "code": text, "subject": subject},
        {"resourceType": "AllergyIntolerance", "clinicalStatus": allergy, "code": text, "patient": subject},
        {
            "resourceType": "MedicationRequest",
            "status": "active",
            "intent": "order",
            "medicationCodeableConcept": text,
            "subject": subject,
        },
        {
            "resourceType": "Immunization",
            "status": "completed",
            "vaccineCode": text,
            "patient": subject,
            "occurrenceString": "once",
        },
        {"resourceType": "Procedure", "status": "completed", "code": text, "subject": subject},
        {"resourceType": "Encounter", "status": "finished", "class": {"code": "AMB"}, "subject": subject},
        {"resourceType": "CarePlan", "status": "active", "intent": "plan", "subject": subject},
        {"resourceType": "ImagingStudy", "status": "available", "subject": subject},
        {"resourceType": "Device", "status": "active", "patient": subject},
    ]


def bundle() -> bytes:
    """A patient with as many records, of twelve kinds, as a transaction bundle."""
    subject = {"reference": "urn:uuid:00000000-0000-4000-8000-000000000000"}
    kinds = _kinds(subject)
    patient = {"resourceType": "Patient", "id": "00000000-0000-4000-8000-000000000000", "gender": "other"}
    others = (kinds[number % len(kinds)] | {"id": f"r-{number}", "language": "en"} for number in range(RECORDS - 1))
    resources = [patient, *others]
    entries = [
        {"fullUrl": subject["reference"], "resource": resource} if resource is patient else {"resource": resource}
        for resource in resources
    ]
    return json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode()


def _visits(mesh: LocalMesh, person: Person) -> list[float]:
    """Seconds of each visit, from the click to the last record; each at a gateway that has seen nothing."""
    practice = mesh.member("practice")
    key = states.keys_of(person.wallet.state, practice.home.did).channel().signing.public
    doctor, taken = practice.home.practitioner(CHAIN), []
    for _ in range(VISITS):
        gateway = practice.gateway(mesh)
        started = time.perf_counter()
        with gateway.visit(key, Purpose("TREAT", BASIS), gateway.sign_in(doctor)) as visit:
            visit.open()
            taken.append(time.perf_counter() - started)
            opened = sum(len(visit.records(grounds.category)) for grounds in visit.grounds)
            if (opened, len(visit.grounds)) != (RECORDS, 12):
                raise ValueError(f"{opened} records of {len(visit.grounds)} streams: {visit.ended}")
    return taken


def _grants(person: Person, categories: list[str]) -> list[float]:
    taken = []
    for _ in range(GRANTS):
        started = time.perf_counter()
        shared = person.share("practice", categories, days=30)
        taken.append(time.perf_counter() - started)
        person.revoke(shared.record.id)
    return taken


def _releases(mesh: LocalMesh, person: Person) -> tuple[list[float], list[float]]:
    """Seconds of a release without its log's sync, and of a bare re-encryption from and to bytes, in turns."""
    practice = mesh.member("practice")
    gateway, doctor = practice.gateway(mesh), practice.home.practitioner(CHAIN)
    key = states.keys_of(person.wallet.state, practice.home.did).channel().signing.public
    visit = gateway.visit(key, Purpose("TREAT", BASIS), doctor, ["laboratory"])
    receipt = visit.grounds[0].receipt
    [segment] = records.segments(mesh.engine.reader(), receipt.stream)
    custodian = next(iter(mesh.custodians.values()))
    vault = next(m.home.vault for m in mesh.members.values() if m.custodian is custodian)
    [name] = vault.names(f"fragment/{receipt.consent.hex()}/")
    fragment = codec.decode(vault.get(name) or b"")["deposit"]["fragment"]
    handle = umbral_pre.KeyFrag.from_bytes(fragment).skip_verification()

    def append_each(_: object, asked: list[ToLog], at: int) -> list[list[LogEntry]]:
        return [[LogEntry(each.stream, 0, START, each.receipt, each.descriptors[0], at)] for each in asked]

    ours, bare = [], []
    with mock.patch.object(ReleaseLog, "append_each", append_each):
        for number in range(RELEASES):
            request = ReleaseRequest(
                receipt=receipt.id,
                stream=receipt.stream,
                descriptors=[segment.descriptor],  # type: ignore[list-item]
                custodian=custodian.did,
                nonce=number.to_bytes(16),
                at=mesh.clock(),
            )
            data = codec.encode(custody.sign_payload(custody.RELEASE_REQUEST, request, doctor.key))
            started = time.perf_counter()
            [answer] = custodian.release(data)
            ours.append(time.perf_counter() - started)
            capsule = codec.decode(custody.read_signed(answer).payload)["seal"]["capsule"]
            started = time.perf_counter()
            bytes(umbral_pre.reencrypt(umbral_pre.Capsule.from_bytes(capsule), handle))
            bare.append(time.perf_counter() - started)
            if number % 50 == 49:
                mesh.tick()
    visit.close()
    return ours, bare


def _row(
    name: str, value: float, unit: str, goal: float, samples: int, baseline: float | None = None
) -> dict[str, Any]:
    return {
        "id": f"custody.{name}",
        "value": round(value, 3),
        "unit": unit,
        "goal": goal,
        "better": "lower",
        "baseline": baseline,
        "samples": samples,
    }


def run() -> list[dict[str, Any]]:
    """``custody.visit_p95``, ``custody.grant_12`` and ``custody.release_checks``."""
    build = Path("build")
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as folder:
        mesh = LocalMesh(Path(folder) / "mesh", SettableClock())
        with mesh:
            person, _ = Person.create(mesh, Path(folder) / "wallet", "passphrase")
            person.enrol("hospital", "00000000-0000-4000-8000-000000000000")
            report = mesh.member("hospital").source(mesh).import_bundle(bundle())
            categories = sorted(report.records)
            grants = _grants(person, categories)
            person.share("practice", categories, days=30)
            visits = _visits(mesh, person)
            ours, bare = _releases(mesh, person)
    slow = statistics.quantiles(visits, n=20)[-1]
    release, plain = statistics.median(ours), statistics.median(bare)
    return [
        _row("visit_p95", slow, "s, 95th percentile, 12 streams, 2,000 records, cold", 1.0, len(visits)),
        _row("grant_12", statistics.median(grants), "s, 12 categories, 3 custodians", 0.5, len(grants)),
        _row("release_checks", release / plain, "ratio to one bare re-encryption", 2.0, len(ours), round(plain, 6)),
    ]
