"""CometBFT as a process that is started again when it ends, and that ends when this process does, however it does.

Between the two stands ``keeper.py``. CometBFT is never started anew before all that the last one asked has been
answered, so that what it hears about the last committed block is true.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from caremesh.consensus.cometbft import keeper
from caremesh.errors import ErrorCode

SOON_S: Final = 0.2
LATE_S: Final = 5.0
_PIECE_BYTES: Final = 2**16
GAVE_UP = ErrorCode(
    "consensus.43",
    "CometBFT has met something after which it takes part no more.",
    "Look at the end of its log. Where the others have decided something else than what was answered here, take the "
    "ledger over again from them.",
)
HALF_BEGUN = ErrorCode(
    "consensus.44",
    "CometBFT ended within the first block of its chain, and cannot begin with half of it.",
    "Ask the other members whether they make blocks. Then, with the node stopped, remove `ledger` and all that is in "
    "`cometbft/data` but `priv_validator_state.json`, and start it: it takes the ledger over from them.",
)
SAYS: Final[Mapping[bytes, ErrorCode]] = {
    b"CONSENSUS FAILURE": GAVE_UP,  # although it goes on running
    b"> StateBlockHeight + 1": HALF_BEGUN,  # at every start
}
"""What CometBFT writes when it takes part no more."""
_LONGEST: Final = max(map(len, SAYS))
MAX_LOG_BYTES: Final = 8 * 2**20
"""Of CometBFT's log; the one before it is kept as ``.1``, and no more."""
_SETTLED_S: Final = 30.0
"""After so long a start counts as one that went well."""


class Supervised:
    """A CometBFT over a home that is configured."""

    def __init__(
        self,
        program: Path,
        home: Path,
        rpc: Path,
        *,
        drained: Callable[[], object],
        started: Callable[[], None],
        monotonic: Callable[[], float],
        gave_up: Callable[[ErrorCode], None] = lambda _: None,
        due: Callable[[], bool] = lambda: True,
    ) -> None:
        """``rpc``: the unix socket that it may listen on. ``drained``: waits until nothing that the last process asked
        is being worked at. ``started``: is told of every start; ``gave_up``: of why it takes part no more.

        ``due``: whether it may start. Before the time of its genesis it would sleep until then, and go on sleeping when
        a clock that was behind has been set right.
        """
        self._command: Final = [str(program), "start", "--home", str(home)]
        self._room: Final = home / "tmp"
        self._log: Final = home / "cometbft.log"
        self._rpc: Final = rpc
        self._drained: Final = drained
        self._started: Final = started
        self._monotonic: Final = monotonic
        self._gave_up: Final = gave_up
        self._due: Final = due
        self._changed: Final = threading.Condition()
        self._keeper: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._told = False
        """Whether the process that runs now was told to end: what it says of that is nothing."""
        self._thread: Final = threading.Thread(target=self._run, name="cometbft", daemon=True)
        self.pid: int | None = None
        """Of the process that runs now."""
        self.starts = 0

    def start(self) -> None:
        """Start it, and again whenever it ends."""
        self._thread.start()

    def close(self) -> None:
        """End it in order, and wait for that."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._end()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def again(self) -> None:
        """End the process that runs now, so that another is started."""
        with self._changed:
            self._end()

    def _run(self) -> None:
        pause = SOON_S
        while True:
            began = self._monotonic()
            with self._changed:
                if self._closed:
                    return
                process = self._start() if self._due() else None
            if process is not None:
                self._started()
                try:
                    self._follow(process)
                finally:
                    self._ended(process)
                self._drained()
            pause = SOON_S if self._monotonic() - began > _SETTLED_S else min(2 * pause, LATE_S)
            with self._changed:
                self._changed.wait_for(lambda: self._closed, pause)

    def _start(self) -> subprocess.Popen[bytes] | None:
        try:
            return self._begun()
        except OSError:  # no room, no more processes: as if it had ended at once
            return None

    def _begun(self) -> subprocess.Popen[bytes]:
        # What CometBFT keeps beside: chunks of a snapshot that it fetches.
        shutil.rmtree(self._room, ignore_errors=True)
        self._room.mkdir(mode=0o700)
        self._rpc.unlink(missing_ok=True)  # CometBFT does not listen where another has left its socket
        command = [sys.executable, "-I", "-S", keeper.__file__, *self._command]
        process = subprocess.Popen(  # noqa: S603 - the program that the node was configured with
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(self._room)},
        )
        self._keeper, self._told = process, False
        self.starts += 1
        line = process.stdout.readline() if process.stdout is not None else b""
        self.pid = int(line) if line.strip().isdigit() else None
        if self.pid is None:  # why there is no program
            with suppress(OSError):
                self._write(line)
        return process

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        """Until it ends, put what it says into the log: a pipe that nobody reads stops who writes to it."""
        before = b""
        while process.stdout is not None and (said := os.read(process.stdout.fileno(), _PIECE_BYTES)):
            with suppress(OSError):
                self._write(said)
            for words, error in SAYS.items():
                if words in before + said and words not in before and not self._told:
                    self._gave_up(error)
            before = (before + said)[1 - _LONGEST :]
        process.wait()

    def _write(self, said: bytes) -> None:
        """Into the log, of which there is a bounded amount."""
        with self._log.open("ab") as log:
            full = log.tell() + len(said) > MAX_LOG_BYTES
            if not full:
                log.write(said)
        if full:
            self._log.replace(self._log.with_name(f"{self._log.name}.1"))
            self._log.write_bytes(said)

    def _end(self) -> None:
        if self._keeper is not None and self._keeper.stdin is not None:
            self._told = True
            with suppress(OSError):
                self._keeper.stdin.close()

    def _ended(self, process: subprocess.Popen[bytes]) -> None:
        with self._changed:
            self.pid = self._keeper = None
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
