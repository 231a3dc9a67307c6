"""Keeps the processes of a node alive: starts them, starts again what dies, ends them in order.

- A part that dies is started again: at once when it ran for ``steady_s``, else after a wait that doubles. Why it died,
  and what comes of that, is in the log and in ``run/processes.json``.
- A part that hangs is killed, and so started again: see ``pulse.py``.
- SIGTERM or SIGINT: parts end in stages, the ones that answer first; what is left after ``stop_within_s`` is killed. A
  second one kills at once.
- Each part's standard input is a socket whose other end only this process holds: when it is gone, however that came,
  they end.

One thread, no callbacks: it waits for a signal or for the next thing that is due.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom
from typing import Final, NamedTuple

from caremesh.blobs.durable import write_durably
from caremesh.errors import StorageFailed
from caremesh.node.logs import Log
from caremesh.node.pulse import LOOKS_A_SILENCE, Ear
from caremesh.types import Count

STATE: Final = "processes.json"
_SIGNALS: Final = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT})
_RANDOM: Final = SystemRandom()
_KILLED_S: Final = 5.0


class Part(NamedTuple):
    """A process to keep alive. ``stage``: those of the lowest end first. ``fds``: sockets that it is given."""

    name: str
    command: Sequence[str]
    stage: int
    fds: tuple[int, ...] = ()


class Patience(NamedTuple):
    """In seconds; see ``settings.py``."""

    retry_first_s: float
    retry_most_s: float
    steady_s: float
    stop_within_s: float
    silent_s: float
    begin_s: float


class _Kept:
    """One part, and how it goes."""

    def __init__(self, part: Part) -> None:
        self.part: Final = part
        self.process: subprocess.Popen[bytes] | None = None
        self.ear: Ear | None = None
        self.hangs = False
        self.started = 0.0
        self.due = 0.0
        self.wait_s = 0.0
        self.starts: Count = 0
        self.last = ""


class Supervisor:
    """Of one node. ``run`` is called once, in the main thread."""

    def __init__(self, parts: Sequence[Part], patience: Patience, folder: Path, log: Log) -> None:
        """``folder``: where ``processes.json`` tells who runs."""
        self._kept: Final = [_Kept(part) for part in parts]
        self._patience: Final = patience
        self._folder: Final = folder
        self._log: Final = log
        self._ending = 0.0
        self._looked = time.monotonic()

    def run(self) -> int:
        """Until a signal ends it: 0 when every part ended by itself, 1 when some had to be killed."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            while not self._ending:
                self._start_what_is_due()
                self._take(self._next_signal(min(self._until_due(), self._look_s)))
                self._listen()
            return self._end()
        finally:
            self._kill()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _take(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._log.info("ending", signal=signal.Signals(number).name)
            self._ending = time.monotonic()
        self._reap()

    @property
    def _look_s(self) -> float:
        return self._patience.silent_s / LOOKS_A_SILENCE

    def _listen(self) -> None:
        """Kill what hangs; that it has ended is noticed as of any other."""
        since_s = time.monotonic() - self._looked
        if self._ending or since_s < self._look_s:
            return
        self._looked += since_s
        for kept in self._kept:
            if kept.process is None or kept.ear is None or kept.hangs:
                continue
            if kept.ear.listen(since_s, self._patience.silent_s, self._patience.begin_s):
                self._log.error("hangs", process=kept.part.name, pid=kept.process.pid)
                kept.hangs = True
                kept.process.kill()

    def _start_what_is_due(self) -> None:
        now, changed = time.monotonic(), False
        for kept in self._kept:
            if kept.process is None and kept.due <= now:
                self._start(kept)
                changed = True
        if changed:
            self._tell()

    def _start(self, kept: _Kept) -> None:
        kept.started = time.monotonic()
        kept.starts += 1
        kept.ear, kept.hangs = Ear(), False
        try:
            kept.process = subprocess.Popen(  # noqa: S603 - our own commands
                kept.part.command,
                stdin=kept.ear.theirs.fileno(),
                pass_fds=kept.part.fds,
                start_new_session=True,  # a terminal's ^C goes to this process alone, which ends them in order
                preexec_fn=_hear_signals,  # noqa: PLW1509 - this process has one thread
            )
        except OSError as error:  # no memory, no process number: later there may be
            self._close(kept)
            self._wait(kept, f"not started: {error.strerror}", 0.0)
            return
        kept.ear.theirs.close()
        self._log.info("started", process=kept.part.name, pid=kept.process.pid, starts=kept.starts)

    def _reap(self) -> None:
        """Look who has ended."""
        changed = False
        for kept in self._kept:
            if kept.process is None or kept.process.poll() is None:
                continue
            code, ran_s = kept.process.returncode, time.monotonic() - kept.started
            self._close(kept)
            pid, kept.process, changed = kept.process.pid, None, True
            kept.last = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            if kept.hangs:
                kept.last = "hung"
            if self._ending:
                self._log.info("ended", process=kept.part.name, pid=pid, exit_code=code)
                continue
            self._wait(kept, kept.last, ran_s)
        if changed:
            self._tell()

    def _wait(self, kept: _Kept, why: str, ran_s: float) -> None:
        """It is to be started again, after a while."""
        longer = min(max(2 * kept.wait_s, self._patience.retry_first_s), self._patience.retry_most_s)
        kept.wait_s = 0.0 if ran_s >= self._patience.steady_s else longer
        drawn = _RANDOM.uniform(kept.wait_s / 2, kept.wait_s)
        kept.due = time.monotonic() + drawn
        self._log.error("died", process=kept.part.name, place=why, ran_s=round(ran_s, 3), wait_s=round(drawn, 3))

    def _end(self) -> int:
        """Stage by stage; a second signal, or the end of patience, kills."""
        limit = self._ending + self._patience.stop_within_s
        for stage in sorted({kept.part.stage for kept in self._kept}):
            mine = [kept for kept in self._kept if kept.part.stage == stage]
            for kept in mine:
                if kept.process is not None:
                    kept.process.terminate()
            while any(kept.process is not None for kept in mine):
                number = self._next_signal(limit - time.monotonic())
                self._reap()
                if number in (signal.SIGTERM, signal.SIGINT) or time.monotonic() >= limit:
                    return int(self._kill())
        self._tell()
        self._log.info("ended", took_s=round(time.monotonic() - self._ending, 3))
        return 0

    def _kill(self) -> bool:
        """End what is left, at once; whether anything was."""
        left = [kept for kept in self._kept if kept.process is not None]
        for kept in left:
            assert kept.process is not None  # noqa: S101 - chosen just now
            self._log.error("killed", process=kept.part.name, pid=kept.process.pid)
            kept.process.kill()
            kept.process.wait(_KILLED_S)
            self._close(kept)
            kept.process, kept.last = None, "killed"
        if left:
            self._tell()
        return bool(left)

    def _until_due(self) -> float:
        waiting = [kept.due for kept in self._kept if kept.process is None]
        return min(waiting) - time.monotonic() if waiting else 60.0

    def _tell(self) -> None:
        parts = {
            kept.part.name: {
                "pid": None if kept.process is None else kept.process.pid,
                "starts": kept.starts,
                "last": kept.last,
            }
            for kept in self._kept
        }
        told = {"supervisor": os.getpid(), "ending": bool(self._ending), "parts": parts}
        try:
            write_durably(self._folder / STATE, json.dumps(told, indent=2, sort_keys=True).encode())
        except StorageFailed as error:  # a full disk must not end what still runs
            self._log.error("state not written", code=error.code)

    @staticmethod
    def _close(kept: _Kept) -> None:
        if kept.ear is not None:
            kept.ear.close()
            kept.ear = None

    @staticmethod
    def _next_signal(timeout_s: float) -> int:
        """The next signal; 0 when there is none in this time."""
        found = signal.sigtimedwait(_SIGNALS, max(0.0, timeout_s))
        return 0 if found is None else found.si_signo


def _hear_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
