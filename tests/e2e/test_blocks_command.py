"""``caremesh blocks check``: what it says, and how it ends, when something is damaged and when nobody can help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from caremesh.cli.main import app
from caremesh.node.mesh import LocalMesh
from tests.support.case import Case

pytestmark = pytest.mark.slow


HOLDERS = ("hospital", "laboratory", "payer")


def checked(home: Path, *words: str) -> tuple[int, Any]:
    done = CliRunner().invoke(app, ["blocks", "check", "--home", str(home.parent), *words])
    return done.exit_code, json.loads(done.stdout) if "--json" in words else done.stdout


def files(home: Path, member: str) -> list[Path]:
    return sorted(path for path in (home / member / "blocks").rglob("b*") if path.is_file() and "." not in path.name)


@pytest.mark.promise("P6")
def test_what_is_damaged_is_repaired_and_what_nobody_has_is_named(tmp_path: Path, evidence: Any) -> None:
    home = tmp_path / "mesh"
    with LocalMesh(home) as mesh:
        case = Case(mesh, tmp_path)
        mesh.member("hospital").source(mesh).import_bundle(json.dumps(case.condition(1)).encode())
    first, second = files(home, "payer")[:2]
    first.write_bytes(b"damaged")
    second.unlink()
    code, rows = checked(home, "--json")
    assert (code, [(row["member"], row["repaired"], row["lost"]) for row in rows]) == (
        0,
        [("hospital", 0, 0), ("laboratory", 0, 0), ("payer", 2, 0)],
    )
    for block in files(home, "payer"):  # each kind: the check reads a segment's first block twice
        kept = block.read_bytes()
        places = [home / member / "blocks" / block.name[-2:] / block.name for member in HOLDERS]
        for place in places:
            place.write_bytes(b"damaged everywhere")
        code, text = checked(home)
        assert code == 1
        assert text.count(f": nobody has {block.name} whole\n") == len(HOLDERS)
        for place in places:
            place.write_bytes(kept)
    evidence.fault("block changed or lost on disk", 5)
