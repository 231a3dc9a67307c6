"""``caremesh read`` at a node's desk: as in a mesh, with what custodians signed and what shows their lies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from caremesh.cli.main import app
from caremesh.node.mesh import LocalMesh
from caremesh.sealing import evidence
from caremesh.testing.clock import SettableClock
from tests.support.case import Case
from tests.support.desks import desk_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("desk") / "mesh", SettableClock()) as made:
        yield made


@pytest.fixture
def case(mesh: LocalMesh, tmp_path: Path) -> Case:
    made = Case(mesh, tmp_path)
    made.add(1, 2)
    return made


def read(home: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["read", "conditions", *words, "--home", str(home)])


def named_in(mesh: LocalMesh, told: str) -> list[str]:
    """The members whose names are in it, whatever lines it was broken into."""
    flat = " ".join(told.split())
    return [name for name, member in mesh.members.items() if member.home.profile.label in flat]


def test_what_is_shared_and_who_released_it(mesh: LocalMesh, case: Case, tmp_path: Path) -> None:
    share = case.share().record.id.hex()
    with desk_of(mesh, "practice", tmp_path / "d") as home:
        found = json.loads(read(home, "--share", share, "--json").stdout)
        assert [entry["resource"]["id"] for entry in found["entry"]] == [f"{case.name}-c1", f"{case.name}-c2"]
        told = read(home, "--share", share, "--releases", str(tmp_path / "releases")).stdout
        assert "2 records, released by" in told
        assert len(named_in(mesh, told)) == 2
        assert (tmp_path / "releases").stat().st_size > 0


def test_who_the_records_name_comes_along_from_the_directory_of_their_source(
    mesh: LocalMesh, case: Case, tmp_path: Path
) -> None:
    doctors = [{"resourceType": "Practitioner", "id": f"{case.name}-{one}"} for one in ("named", "other")]
    named = {"reference": f"Practitioner/{doctors[0]['id']}"}
    case.bring([*doctors, case.condition(3, recorder=named), case.condition(4, asserter=named)])
    share = case.share().record.id.hex()
    with desk_of(mesh, "practice", tmp_path / "d") as home:
        found = json.loads(read(home, "--share", share, "--directory", "--json").stdout)
        alone = json.loads(read(home, "--share", share, "--json").stdout)
    assert [each["resource"] for each in found["entry"]] == [each["resource"] for each in alone["entry"]] + doctors[:1]


@pytest.mark.promise("P6")
def test_a_custodian_that_lies_is_named_and_shown_to_others(mesh: LocalMesh, case: Case, tmp_path: Path) -> None:
    share = case.share().record.id.hex()
    with desk_of(mesh, "practice", tmp_path / "d") as home:
        liar, *_ = named_in(mesh, read(home, "--share", share).stdout)
    with desk_of(mesh, "practice", tmp_path / "lied-to", liars=[liar]) as home:
        told = read(home, "--share", share).stdout
        assert "2 records" in told
        assert f"{mesh.member(liar).home.profile.label} did not do its part" in " ".join(told.split())
        [file] = (home / "evidence").iterdir()
        found = evidence.verify(evidence.read(file.read_bytes()), mesh.light_client(), mesh.clock())
        assert found.custodian == mesh.did(liar)
