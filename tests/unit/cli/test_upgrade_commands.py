"""``caremesh network offer`` and ``rehearse``: what they write and say, without a node that runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from caremesh.cli.main import app
from caremesh.consensus.embedded import Embedded
from caremesh.contracts import Contracts
from caremesh.node import joining
from caremesh.node.rehearsing import rehearse
from caremesh.node.running import LEDGER
from caremesh.testing.newer import migration
from tests.support.comet_engine import now


def ran(*words: str | Path, code: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["network", *map(str, words), "--json"])
    assert getattr(done.exception, "exit_code", done.exit_code) == code, done.output
    said: dict[str, Any] = json.loads(done.stdout) if not code else {}
    return said


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An operator's home, whose node has made one block and ended."""
    folder = tmp_path / "node"
    made, _ = joining.begin(
        folder, chain="lakes", name="Lakeside", roles=["provider"], country="US", address="https://127.0.0.1:1"
    )
    known = joining.found(folder, [], now())
    engine = Embedded(
        folder / LEDGER,
        Contracts(),
        chain=known.chain,
        genesis=known.genesis,
        genesis_time=known.time,
        key=made.node_key,
        clock=now,
    )
    engine.make_block()
    engine.close()
    return folder


def test_an_offer_is_the_admission_file_with_a_validator(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "offer"
    said = ran("offer", "--home", home, "--peers", "lakeside.example:26656", "--out", file)
    offered, before = joining.read_admission(file.read_bytes(), "offer"), joining.load_admission(home)
    assert said == {"file": str(file), "member": before.admit.member, "peer": "lakeside.example:26656"}
    assert offered.admit == before.admit
    assert before.ordering is None
    assert offered.ordering is not None
    assert offered.ordering.key == joining.load_home(home).validator_key.public
    assert offered.ordering.peer.endswith("@lakeside.example:26656")
    ran("offer", "--home", home, "--peers", 'x"', "--out", file, code=3)


def test_a_rehearsal_is_of_a_copy(home: Path) -> None:
    before = (home / LEDGER / "data.mdb").read_bytes()
    tried = rehearse(home, Contracts({2: migration}))
    assert (tried.version, tried.at, tried.height) == (2, None, 1)
    assert (tried.added, tried.changed, tried.removed) == (2, 0, 0), "the mark, and the version"
    assert tried.root_before != tried.root_after
    assert rehearse(home, Contracts({2: migration})).root_after == tried.root_after
    assert (home / LEDGER / "data.mdb").read_bytes() == before
    assert not list(home.glob(".rehearsal-*"))
    ran("rehearse", "--home", home, code=4)
    ran("rehearse", "--home", home.parent, code=4)
