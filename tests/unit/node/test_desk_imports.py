"""``caremesh import`` at a node's desk: as in a mesh, but that patients come by invitation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from caremesh.cli.main import app
from caremesh.errors import CareMeshError
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from tests.support.case import Case
from tests.support.desks import desk_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("desk") / "mesh", SettableClock()) as made:
        yield made


@pytest.fixture(scope="module")
def home(mesh: LocalMesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with desk_of(mesh, "hospital", tmp_path_factory.mktemp("d") / "h", "https://clinic.example") as folder:
        yield folder


@pytest.fixture
def case(mesh: LocalMesh, tmp_path: Path) -> Case:
    return Case(mesh, tmp_path)


def import_(home: Path, *files: Path) -> tuple[int, Any]:
    done = CliRunner().invoke(app, ["import", *map(str, files), "--home", str(home), "--json"])
    if isinstance(done.exception, CareMeshError):
        return done.exception.exit_code, {"error": done.exception.code}
    return done.exit_code, json.loads(done.stdout)


def bundle(case: Case, *resources: dict[str, Any], kind: str = "collection") -> str:
    patient = {"resourceType": "Patient", "id": case.name, "gender": "other"}
    entries = [{"resource": resource} for resource in (patient, *resources)]
    return json.dumps({"resourceType": "Bundle", "type": kind, "entry": entries})


def test_a_bundle_and_lines(home: Path, case: Case, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(bundle(case, case.condition(1)))
    lines = [json.dumps(case.condition(number)) for number in (2, 3)]
    (tmp_path / "more.ndjson").write_text("\n".join(lines))
    code, said = import_(home, tmp_path / "one.json", tmp_path / "more.ndjson")
    assert (code, said["records"], said["refused"]) == (0, {"conditions": 3, "demographics": 1}, [])
    code, said = import_(home, tmp_path / "one.json", tmp_path / "more.ndjson")
    assert (code, said["records"], said["unchanged"]) == (0, {}, 4)
    assert case.read(case.share()) == [1, 2, 3]


def test_what_is_refused_is_told_as_it_is_anywhere(home: Path, case: Case, tmp_path: Path) -> None:
    wrong = {**case.condition(1), "clinicalStatus": 7}
    (tmp_path / "whole.json").write_text(bundle(case, wrong, case.condition(2), kind="transaction"))
    code, said = import_(home, tmp_path / "whole.json")
    assert (code, said["error"], len(said["refused"])) == (3, said["refused"][0]["code"], 1)
    assert said["refused"][0]["place"].startswith("entry[1]")
    (tmp_path / "each.ndjson").write_text("\n".join(map(json.dumps, (wrong, case.condition(2)))))
    code, said = import_(home, tmp_path / "each.ndjson")
    assert (code, said["records"], len(said["refused"])) == (3, {"conditions": 1}, 1)


def test_nobody_is_enrolled_by_the_way(home: Path, case: Case, tmp_path: Path) -> None:
    text = bundle(case, case.condition(1)).replace(case.name, "nobody-here")
    (tmp_path / "stranger.json").write_text(text)
    code, said = import_(home, tmp_path / "stranger.json")
    assert (code, said["error"]) == (4, "source.01")


def test_profiles_of_the_node_are_checked(home: Path, case: Case, tmp_path: Path) -> None:
    (home / "profiles").mkdir()
    (home / "profiles" / "broken.tgz").write_bytes(b"no package")
    (tmp_path / "one.json").write_text(bundle(case))
    try:
        assert import_(home, tmp_path / "one.json")[1]["error"] == "fhir.45"
    finally:
        (home / "profiles" / "broken.tgz").unlink()
