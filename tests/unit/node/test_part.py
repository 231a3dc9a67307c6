"""Where a node's own processes meet: a socket that only its account enters, in a home whose path is not too long."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
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


ORPHAN = """
import signal, sys, threading, time
from caremesh.node.part import until_alone
signal.signal(signal.SIGTERM, lambda *_: None)
threading.Thread(target=until_alone, args=[float(sys.argv[1])], daemon=True).start()
time.sleep(1)  # it begins
if sys.argv[2] == "hears":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
time.sleep(120)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("within_s", "how", "code"), [("60", "hears", 3), ("2", "hangs", -signal.SIGKILL)])
def test_who_loses_the_supervisor_ends_even_while_it_begins_and_even_when_it_hangs(
    within_s: str, how: str, code: int
) -> None:
    command = [sys.executable, "-c", ORPHAN, within_s, how]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as orphan:
        assert orphan.stdin is not None
        orphan.stdin.close()
        assert orphan.wait(60) == code
