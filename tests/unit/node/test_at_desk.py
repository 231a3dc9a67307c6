"""What a member's people do at its desk, on a mesh in one process; ``test_wallet_over_nodes.py`` does it at nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from caremesh.errors import BadInput, Refused
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from tests.support.case import BASIS, Case

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("atdesk") / "mesh", SettableClock()) as made:
        yield made


def shared(mesh: LocalMesh, folder: Path) -> tuple[Case, bytes]:
    case = Case(mesh, folder)
    case.add(1)
    return case, case.share().record.id


def asked(case: Case) -> list[tuple[list[str], str]]:
    return [(request.purposes, request.text) for request in case.person.requests()]


def test_whom_a_share_names_is_asked_and_else_the_newest(mesh: LocalMesh, tmp_path: Path) -> None:
    desk = mesh.desk("practice")
    first, share = shared(mesh, tmp_path)
    second, _ = shared(mesh, tmp_path)
    assert len(desk.inquire(["conditions"], ["HPAYMT"], 9, "You, the first", share)) == 1
    assert len(desk.inquire(["conditions", "imaging"], ["COC"], 9, "You, the newest")) == 1
    third = Case(mesh, tmp_path)
    both = third.share(categories=("conditions", "laboratory")).record.id
    desk.inquire(["laboratory"], ["COC"], 9, "Only this", both)
    assert [(request.category, request.text) for request in third.person.requests()] == [("laboratory", "Only this")]
    assert asked(first) == [(["HPAYMT"], "You, the first")]
    assert asked(second) == [(["COC"], "You, the newest")]
    with pytest.raises(Refused, match=r"gateway\.01"):
        desk.inquire(["imaging"], ["COC"], 9, "Nobody shared these")
    with pytest.raises(Refused, match=r"gateway\.01"):
        desk.inquire(["conditions"], ["COC"], 9, "Nobody", bytes(16))


def test_a_share_says_whose_records_are_meant(mesh: LocalMesh, tmp_path: Path) -> None:
    desk = mesh.desk("practice")
    first, share = shared(mesh, tmp_path)
    shared(mesh, tmp_path)
    with pytest.raises(Refused, match=r"gateway\.08"):
        desk.ask("conditions", "TREAT", BASIS)
    assert desk.shared("conditions", share).stream == first.stream
    assert desk.ask("conditions", "TREAT", BASIS, share).stream == first.stream


def test_a_segment_is_retracted_or_under_a_duty_erased(mesh: LocalMesh, tmp_path: Path) -> None:
    case, _ = shared(mesh, tmp_path)
    case.add(2)
    desk = mesh.desk("hospital")
    assert desk.correct(json.dumps(case.condition(2, note=[{"text": "at night"}])).encode()) == 2
    desk.retract(case.name, "conditions", 0)
    desk.retract(case.name, "conditions", 2, "GDPR:17.1.e")
    assert [segment.status for segment in case.segments()] == ["retracted", "superseded", "erased"]


def test_a_member_that_is_not_there_has_no_desk(mesh: LocalMesh) -> None:
    with pytest.raises(BadInput, match=r"node\.04"):
        mesh.desk("bakery")
