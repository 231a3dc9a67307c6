"""A process of its own with the cometbft engine in it, for tests that kill it: ``python -m … <folder> <begun>``.

A line on its input is a transaction (hex), or ``pid``. A line of its output is ``pid <CometBFT's>``,
``ready <height>``, or a transaction's id (hex) and its code (``-`` for none). It ends with its input.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from caremesh.consensus.cometbft.engine import CometBft
from caremesh.consensus.interface import Committed
from caremesh.errors import CareMeshError
from tests.support.comet_engine import PATIENT_S, comet

ROOT: Final = Path(__file__).parents[2]
STOPPED: Final = 3


def main(folder: Path, begun: int) -> int:
    """Serve until the input ends, or the engine has stopped."""
    engine = comet(folder, begun=begun)
    turn = threading.Lock()

    def say(*words: object) -> None:
        with turn:
            sys.stdout.write(" ".join(map(str, words)) + "\n")
            sys.stdout.flush()

    try:
        engine.start()
        engine.wait(engine.status().height + 1, PATIENT_S)
        say("ready", engine.status().height)
        for line in sys.stdin:
            if line == "pid\n":
                say("pid", engine.process.pid or 0)
            else:
                _submit(engine, bytes.fromhex(line), say)
        return STOPPED if engine.stopped else 0
    finally:
        engine.close()


def _submit(engine: CometBft, raw: bytes, say: object) -> None:
    assert callable(say)
    tx_id = bytes(engine.machine.codec.decode(raw).id).hex()

    def told(future: Future[Committed]) -> None:
        error = future.exception()
        if error is None:
            say(tx_id, future.result().code or "-")
        else:
            say(tx_id, error.code if isinstance(error, CareMeshError) else "fault")

    try:
        engine.submit_soon(raw).add_done_callback(told)
    except CareMeshError as error:
        say(tx_id, error.code)


class Member:
    """Such a process, as seen from a test."""

    def __init__(self, folder: Path, begun: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.comet_member", str(folder), str(begun)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self.told: dict[str, str] = {}
        """Transactions that it has answered, by their ids (hex), with their codes."""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.heights: list[int] = []

    def ready(self) -> None:
        """Wait until it serves."""
        word, height = self._answer().split()
        assert word == "ready"
        self.heights.append(int(height))

    def send(self, raw: bytes) -> None:
        """Hand it a transaction; nothing happens when it is gone."""
        self._say(raw.hex())

    def cometbft(self) -> int:
        """The process id of its CometBFT; 0 while it is started again."""
        self._say("pid")
        return int(self._answer().split()[1])

    def kill(self) -> None:
        """End it as power loss would."""
        self._process.send_signal(signal.SIGKILL)
        self._gone()

    def end(self) -> int:
        """End it in order; its exit code."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._gone()
        return self._process.returncode

    def _gone(self) -> None:
        self._process.wait(PATIENT_S)
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # gone, or closed by us
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()

    def _answer(self) -> str:
        return self._lines.get(timeout=PATIENT_S)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word in ("ready", "pid"):
                self._lines.put(line)
            else:
                self.told[word] = rest
        self._lines.put("gone 0")


@contextlib.contextmanager
def member(folder: Path, begun: int) -> Iterator[Member]:
    """A member that serves; gone in the end, whatever happens."""
    made = Member(folder, begun)
    try:
        made.ready()
        yield made
    finally:
        made.kill()


def is_gone(pid: int) -> bool:
    """Whether no process of this id runs any more, after waiting for that.

    One that has ended and that nobody has asked for is gone, and so is one whose id another has got meanwhile.
    """
    until, first = time.monotonic() + PATIENT_S, ""
    while time.monotonic() < until:
        try:
            said = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return True
        state, began = said[0], said[19]
        first = first or began
        if state in "ZX" or began != first:
            return True
        time.sleep(0.05)
    return False


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
