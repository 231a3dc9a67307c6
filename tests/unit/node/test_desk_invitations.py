"""The front desk of a node: invitations over the socket in its home, and the command that people use."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from caremesh.api.app import make_app
from caremesh.api.handover import HandedOver
from caremesh.api.limits import Limits
from caremesh.api.serving import Doors
from caremesh.cli.main import app
from caremesh.errors import Refused
from caremesh.node import desk, desk_routes
from caremesh.node.doors import RUN, SOCKET
from caremesh.node.mesh import LocalMesh
from caremesh.sealing.invitation import read_link
from caremesh.testing.clock import SettableClock
from caremesh.testing.person import Person

pytestmark = pytest.mark.slow
ADDRESS = "https://clinic.example:8443"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("desk") / "mesh", SettableClock()) as made:
        yield made


@pytest.fixture(scope="module")
def home(mesh: LocalMesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose socket answers for the hospital."""
    folder = tmp_path_factory.mktemp("d")
    (folder / RUN).mkdir()
    member = mesh.member("hospital")
    node = SimpleNamespace(
        member=member,
        ways=SimpleNamespace(clock=mesh.clock, leave=None),
        submit=mesh.engine.submit,
        endpoint=ADDRESS,
        founding=mesh.founding,
        settings=SimpleNamespace(hedge_after_s=1.0),
    )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder / RUN / SOCKET))
    listener.listen()
    doors = Doors(make_app(desk_routes.routes(cast("Any", node)), HandedOver()), [(listener, None)], Limits())
    thread = threading.Thread(target=lambda: asyncio.run(doors.serve()), name="desk")
    thread.start()
    while not doors.started:
        time.sleep(0.005)
    yield folder
    doors.should_exit = True
    thread.join()


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
