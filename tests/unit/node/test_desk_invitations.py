"""The front desk of a node: invitations over the socket in its home, and the command that people use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from caremesh.cli.main import app
from caremesh.errors import Refused
from caremesh.node import desk
from caremesh.node.doors import RUN, SOCKET
from caremesh.node.mesh import LocalMesh
from caremesh.sealing.invitation import read_link
from caremesh.testing.clock import SettableClock
from caremesh.testing.person import Person
from tests.support.desks import desk_of

pytestmark = pytest.mark.slow
ADDRESS = "https://clinic.example:8443"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("desk") / "mesh", SettableClock()) as made:
        yield made


@pytest.fixture(scope="module")
def home(mesh: LocalMesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose socket answers for the hospital."""
    with desk_of(mesh, "hospital", tmp_path_factory.mktemp("d") / "h", ADDRESS) as folder:
        yield folder


def run(home: Path, *arguments: str) -> Any:
    done = CliRunner().invoke(app, ["invite", *arguments, "--home", str(home), "--json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return json.loads(done.stdout)


def test_a_front_desk_invites_and_sees_what_became_of_it(home: Path, mesh: LocalMesh, tmp_path: Path) -> None:
    made = run(home, "P-1")
    invitation = read_link(made["link"])
    assert (invitation.node, invitation.member) == (ADDRESS, mesh.did("hospital"))
    assert [row["standing"] for row in run(home, "P-1", "--list")] == ["open"]
    check = Person.create(mesh, tmp_path / "w", "correct horse")[0].join(invitation, categories=["conditions"])
    [row] = run(home, "P-1", "--list")
    assert (row["patient"], row["standing"], row["check"]) == ("P-1", "used", check)
    with pytest.raises(Refused, match=r"relay\.25"):
        run(home, "P-1")
    again = run(home, "P-1", "--again", "--days", "1")
    [_, row] = run(home, "P-1", "--end", again["invitation"])
    assert row["standing"] == "ended"
    with closing(desk.Desk(home / RUN / SOCKET)) as there, pytest.raises(Refused, match=r"relay\.20"):
        there.end_invitation(bytes(8))


def test_people_get_a_code_that_a_phone_reads(home: Path) -> None:
    done = CliRunner().invoke(app, ["invite", "P-2", "--home", str(home)])
    assert done.exit_code == 0
    assert "For P-2 alone, once, until" in done.stdout
    assert "█" in done.stdout
    assert "caremesh:invite?n=https://clinic.example:8443&m=" in done.stdout
