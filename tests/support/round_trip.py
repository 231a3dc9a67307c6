"""In and out again: every record of a patient, byte for byte, and what it refers to."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from caremesh.fhir import references as refs
from caremesh.fhir.bundle import read_bundle
from caremesh.fhir.categories import ALL
from caremesh.gateway.ask import Asked
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.sealing.segment import OpenedRecord
from caremesh.testing.person import Person
from caremesh.types import ConsentId

BASIS = ["HIPAA:164.506.c.2"]


def round_trip(mesh: LocalMesh, data: bytes, folder: Path) -> int:
    """Import at the hospital, share everything, open at the practice, compare; how many records that were."""
    bundle = read_bundle(data)
    assert bundle.patient is not None
    person, _ = Person.create(mesh, folder / f"{bundle.patient.id}.wallet", "correct horse battery staple")
    person.enrol("hospital", bundle.patient.id)
    source = mesh.member("hospital").source(mesh)
    report = source.import_bundle(data)
    assert (sum(report.records.values()), report.refused, report.outside) == (len(bundle.records), [], 0)
    shared = person.share("practice", list(report.records), days=1)
    opened = [record for item in shared.record.items for record in _open(mesh, item.consent)]
    assert set(report.records) <= set(ALL)
    assert Counter(record.data for record in opened) == Counter(resource.data for resource in bundle.records)
    assert {(record.resource_type, record.id) for record in opened} == {(row.type, row.id) for row in bundle.records}
    _follow(opened, mesh)
    again = source.import_bundle(data)
    assert (again.records, again.unchanged) == ({}, len(bundle.records))
    return len(opened)


def _open(mesh: LocalMesh, consent: ConsentId) -> list[OpenedRecord]:
    doctor = mesh.member("practice").home.practitioner(CHAIN)
    gateway = mesh.member("practice").gateway(mesh)
    receipt = gateway.ask(Asked(consent, "read", "TREAT", BASIS), doctor)
    opened = gateway.open(receipt, doctor)
    assert (opened.faults, opened.damaged) == ([], [])
    return opened.records


def _follow(opened: list[OpenedRecord], mesh: LocalMesh) -> None:
    """Every reference leads to one record or one signed entry of the directory; none is left over."""
    ids = {record.id for record in opened}
    directory = mesh.member("hospital").directory
    for record in opened:
        for _, reference in refs.references(msgspec.json.decode(record.data)):
            wanted = refs.condition(reference)
            if wanted is not None:
                [found] = directory.find(wanted)
                assert directory.get(wanted.type, found) is not None
            elif not reference.startswith("#"):
                named = refs.target(reference)
                assert named is not None
                assert named[1] in ids
