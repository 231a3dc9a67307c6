"""Where a node's own processes meet: a socket that only its account enters, in a home whose path is not too long."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from caremesh.errors import BadInput, Unavailable
from caremesh.node.desk import Desk
from caremesh.node.logs import begin
from caremesh.node.part import listen_unix
from caremesh.node.start import take


def test_the_socket_is_its_owners_alone_and_replaces_one_that_was_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    listen_unix(path).close()
    assert path.exists()
    with listen_unix(path) as listener:
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
            listener.accept()[0].close()


def test_a_home_with_too_long_a_path_is_told_so(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    with pytest.raises(BadInput) as error:
        listen_unix(deep / "node.sock")
    assert error.value.code == "node.20"


def test_a_desk_where_no_node_runs_says_so(tmp_path: Path) -> None:
    listen_unix(tmp_path / "left.sock").close()
    for name in ("left.sock", "none.sock"):
        desk = Desk(tmp_path / name)
        with pytest.raises(Unavailable) as error:
            desk.where()
        assert error.value.code == "node.21"
        desk.close()


def test_an_address_that_is_just_being_let_go_of_is_waited_for() -> None:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    looks: list[float] = []

    def now() -> float:
        looks.append(0.1 * len(looks))
        if len(looks) == 3:
            taken.close()
        return looks[-1]

    with take("127.0.0.1", port, 60, begin("test", "error"), now) as listener:
        assert listener.getsockname()[1] == port
        assert listener.get_inheritable()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(Unavailable) as error:
            take("127.0.0.1", other.getsockname()[1], 0, begin("test", "error"))
    assert error.value.code == "node.19"
