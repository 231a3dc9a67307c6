"""A source corrects, retracts, and erases under a legal duty; what was corrected is readable only where it is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from caremesh.errors import CareMeshError, Refused
from caremesh.node.mesh import LocalMesh
from caremesh.sealing import certificate
from caremesh.testing.clock import SettableClock
from caremesh.wallet.change import Narrower
from caremesh.wallet.reseal import Record
from tests.support.case import Case

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("correct") / "mesh", SettableClock()) as made:
        yield made


@pytest.fixture
def case(mesh: LocalMesh, tmp_path: Path) -> Case:
    made = Case(mesh, tmp_path)
    made.add(1, 2)
    return made


def correct(case: Case, number: int, **others: Any) -> int:
    data = json.dumps(case.condition(number, **({"code": {"text": "No fever"}} | others))).encode()
    return case.mesh.member("hospital").source(case.mesh).correct(data)


def texts(case: Case, shared: Any) -> list[str]:
    receipt = case.ask(shared.record.items[0].consent)
    opened = case.mesh.member("practice").gateway(case.mesh).open(receipt, case.doctor)
    return sorted(json.loads(record.data)["code"]["text"] for record in opened.records)


def test_what_was_corrected_takes_the_place_of_what_it_corrects(case: Case) -> None:
    shared = case.share()
    assert correct(case, 1) == 1
    assert [(segment.status, segment.successor) for segment in case.segments()] == [
        ("superseded", 1),
        ("current", None),
    ]
    assert texts(case, shared) == ["Fever 2", "No fever"]
    assert correct(case, 2, code={"text": "Well"}) == 2, "a correction can be corrected"
    assert texts(case, shared) == ["No fever", "Well"]
    (seen,) = case.person.preview(case.person.terms("practice", ["conditions"], days=3))
    assert seen.segments == [2]


def test_the_old_version_is_read_only_where_a_consent_names_it(case: Case) -> None:
    shared = case.share()
    case.person.narrow(shared.record.id, Narrower(listed={case.stream: [0]}))
    correct(case, 1)
    assert texts(case, shared) == ["Fever 1", "Fever 2"]


def test_what_cannot_be_corrected(case: Case) -> None:
    with pytest.raises(Refused, match=r"source\.08"):
        correct(case, 7)
    private = {"meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}]}}
    with pytest.raises(Refused, match=r"source\.0[149]"):
        correct(case, 1, **private)
    with pytest.raises(CareMeshError, match=r"fhir\."):
        correct(case, 1, clinicalStatus="nonsense")
    case.person.drop("conditions", 0, [Record("Condition", f"{case.name}-c1")])
    with pytest.raises(Refused, match=r"source\.08"):
        correct(case, 2)
    assert [segment.status for segment in case.segments()] == ["current"]


@pytest.mark.promise("P5")
def test_a_correction_that_was_interrupted_is_finished_as_one(case: Case) -> None:
    source = case.mesh.member("hospital").source(case.mesh)
    submit = source._registrar._ledger.submit_batches

    def stopped(*_: object) -> Any:
        raise KeyboardInterrupt

    source._registrar._ledger.submit_batches = stopped  # type: ignore[method-assign]
    try:
        with pytest.raises(KeyboardInterrupt):
            correct(case, 1)
    finally:
        source._registrar._ledger.submit_batches = submit  # type: ignore[method-assign]
    assert case.add(3).settled == 1
    assert [segment.status for segment in case.segments()] == ["superseded", "current", "current"]


def test_a_source_retracts_what_was_entered_in_error(case: Case) -> None:
    corrections = case.mesh.member("hospital").source(case.mesh).corrections
    corrections.retract(case.name, "conditions", 0)
    assert [segment.status for segment in case.segments()] == ["retracted"]
    with pytest.raises(Refused, match=r"source\.03.*records\.11"):
        corrections.retract(case.name, "conditions", 0)
    with pytest.raises(Refused, match=r"source\.08"):
        corrections.retract(case.name, "imaging", 0)
    assert texts(case, case.share()) == ["Fever 1", "Fever 2"], "it stays readable to those who may"


@pytest.mark.promise("P8")
def test_a_source_erases_under_a_legal_duty_and_the_certificate_names_it(case: Case) -> None:
    corrections = case.mesh.member("hospital").source(case.mesh).corrections
    corrections.erase(case.name, "conditions", 0, "GDPR:17.1.e")
    made, found = case.person.certificate("conditions", 0)
    shown = certificate.verify(made, case.mesh.light_client(), case.clock())
    assert (shown.by_duty, shown.unreadable, found.faults) == ("GDPR:17.1.e", True, [])
