"""The supervisor: real processes, really killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from caremesh.node.supervisor import STATE

SLEEPS = "import sys, time; time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
DIES = "import sys; sys.exit(3)"
BEATS = """
import pathlib, socket, sys, time
ear = socket.socket(fileno=0)
while True:
    ear.send(b".")
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(0.1)
"""
HEARS_THE_PIPE = "import sys, pathlib; sys.stdin.read(); pathlib.Path(sys.argv[1]).write_text('ended')"
MAIN = """
import sys
from pathlib import Path
from caremesh.node.logs import begin
from caremesh.node.supervisor import Part, Patience, Supervisor
folder, stop_within, parts = Path(sys.argv[1]), float(sys.argv[2]), eval(sys.argv[3])
made = [Part(name, [sys.executable, "-c", code, *words], stage) for name, code, stage, *words in parts]
patience = Patience(0.05, 0.4, 30, stop_within, silent_s=SILENT, begin_s=BEGIN)
sys.exit(Supervisor(made, patience, folder, begin("supervisor", "debug")).run())
"""
SILENT_S = 4
Started = Callable[..., "Watched"]


class Watched:
    """A supervisor in a process of its own."""

    def __init__(self, folder: Path, parts: list[tuple[Any, ...]], stop_within_s: float, begin_s: float) -> None:
        self.folder = folder
        words = [str(folder), str(stop_within_s), repr(parts)]
        with (folder / "log").open("wb") as log:
            main = MAIN.replace("SILENT", str(SILENT_S)).replace("BEGIN", str(begin_s))
            command = [sys.executable, "-c", main, *words]
            self.process = subprocess.Popen(command, stderr=log, stdout=subprocess.DEVNULL)

    def parts(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / STATE).read_text())["parts"]
        except FileNotFoundError:
            return {}
        return found

    def pid(self, name: str, after: int = 0) -> int:
        """The process of a part, once it is another than ``after``."""
        return int(
            self.until(
                lambda: (found := self.parts().get(name, {}).get("pid")) is not None and found != after and found
            )
        )

    def until(self, holds: Callable[[], Any], within_s: float = 60) -> Any:
        end = time.monotonic() + within_s
        while not (found := holds()):
            assert time.monotonic() < end, self.log()
            time.sleep(0.02)
        return found

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] == event]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Started]:
    begun: list[Watched] = []

    def starting(*parts: tuple[Any, ...], stop_within_s: float = 5, begin_s: float = 600) -> Watched:
        begun.append(Watched(tmp_path, list(parts), stop_within_s, begin_s))
        return begun[-1]

    yield starting
    for each in begun:
        each.process.kill()
        each.process.wait()


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


@pytest.mark.slow
def test_what_is_killed_is_started_again_and_the_log_says_why(start: Started) -> None:
    watched = start(("a", SLEEPS, 0), ("b", SLEEPS, 1))
    first, other = watched.pid("a"), watched.pid("b")
    os.kill(first, signal.SIGKILL)
    assert watched.pid("a", after=first) != first
    assert watched.pid("b") == other
    assert watched.parts()["a"]["starts"] == 2
    [died] = watched.events("died")
    assert (died["process"], died["place"]) == ("a", "signal SIGKILL")


@pytest.mark.slow
def test_what_dies_again_and_again_is_waited_for_longer_and_longer(start: Started) -> None:
    watched = start(("a", DIES, 0))
    watched.until(lambda: len(watched.events("died")) >= 6)
    waits = [died["wait_s"] for died in watched.events("died")]
    assert all(limit / 2 <= wait <= limit for wait, limit in zip(waits, (0.05, 0.1, 0.2, 0.4, 0.4, 0.4), strict=False))
    assert {died["place"] for died in watched.events("died")} == {"exit code 3"}


@pytest.mark.slow
def test_a_signal_ends_the_parts_in_order_and_leaves_nothing(start: Started) -> None:
    watched = start(("writes", SLEEPS, 1), ("answers", SLEEPS, 0))
    pids = [watched.pid("writes"), watched.pid("answers")]
    watched.process.terminate()
    assert watched.process.wait(60) == 0
    assert all(map(is_gone, pids))
    assert [line["process"] for line in watched.events("ended") if "process" in line] == ["answers", "writes"]
    assert watched.parts()["writes"]["pid"] is None


@pytest.mark.slow
def test_what_does_not_end_in_time_is_killed(start: Started) -> None:
    watched = start(("a", DEAF, 0), stop_within_s=1)
    pid = watched.pid("a")
    time.sleep(0.5)  # until it is deaf
    began = time.monotonic()
    watched.process.terminate()
    assert watched.process.wait(60) == 1
    assert time.monotonic() - began > 0.9
    assert is_gone(pid)


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(start: Started) -> None:
    watched = start(("a", DEAF, 0), stop_within_s=60)
    pid = watched.pid("a")
    time.sleep(0.5)
    watched.process.terminate()
    watched.until(lambda: watched.events("ending"))
    watched.process.terminate()
    assert watched.process.wait(50) == 1
    assert is_gone(pid)


@pytest.mark.slow
def test_when_the_supervisor_is_killed_its_parts_notice(start: Started, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    watched = start(("a", HEARS_THE_PIPE, 0, str(mark)))
    watched.pid("a")
    watched.process.kill()
    watched.until(mark.exists)


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_ends_nothing(start: Started, tmp_path: Path) -> None:
    watched = start(("a", SLEEPS, 0))
    first = watched.pid("a")
    (tmp_path / STATE).unlink()
    (tmp_path / STATE).mkdir()
    os.kill(first, signal.SIGKILL)
    watched.until(lambda: len(watched.events("started")) == 2)
    assert watched.until(lambda: watched.events("state not written"))
    assert watched.process.poll() is None


@pytest.mark.slow
def test_a_part_that_hangs_is_killed_and_started_again(start: Started, tmp_path: Path) -> None:
    marks = [tmp_path / "beats-a", tmp_path / "beats-b"]
    watched = start(("a", BEATS, 0, str(marks[0])), ("b", BEATS, 0, str(marks[1])))
    first, other = watched.pid("a"), watched.pid("b")
    watched.until(lambda: all(mark.exists() for mark in marks))
    os.kill(first, signal.SIGSTOP)
    assert watched.pid("a", after=first) != first
    assert is_gone(first)
    assert watched.pid("b") == other
    [hangs] = watched.events("hangs")
    assert (hangs["process"], hangs["pid"]) == ("a", first)
    assert [died["place"] for died in watched.events("died")] == ["hung"]


@pytest.mark.slow
def test_a_part_that_never_shows_life_has_longer_but_not_for_ever(start: Started) -> None:
    watched = start(("a", SLEEPS, 0), begin_s=2 * SILENT_S)
    first, began = watched.pid("a"), time.monotonic()
    assert watched.pid("a", after=first) != first
    assert time.monotonic() - began > SILENT_S


@pytest.mark.slow
def test_a_machine_that_slept_kills_nobody(start: Started, tmp_path: Path) -> None:
    mark = tmp_path / "beats"
    watched = start(("a", BEATS, 0, str(mark)))
    first = watched.pid("a")
    watched.until(mark.exists)
    time.sleep(SILENT_S / 2)  # until it has been heard
    for pid in (watched.process.pid, first):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(2 * SILENT_S)
    for pid in (watched.process.pid, first):
        os.kill(pid, signal.SIGCONT)
    time.sleep(SILENT_S / 2)
    assert not watched.events("hangs")
    assert watched.pid("a") == first
