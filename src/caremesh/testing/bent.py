"""``python -m caremesh.testing.bent node --home DIR …``: ``caremesh node`` but for three things that a story needs.

Its clock is ahead by the seconds in the file that ``TESTING_CLOCK`` names, so that days can pass; its custodian lies
while there is a file ``run/lie`` in its home, and answers as many seconds late as ``run/late`` says; and it goes out
from the address that ``TESTING_SOURCE`` names, where hosts are addresses (``hosts.py``). Every process, door and
connection is that of a real node.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp

from caremesh.errors import CareMeshError
from caremesh.node import doors, part
from caremesh.node.node import Node
from caremesh.node.start import run
from caremesh.settings import flags_of
from caremesh.testing.faults import LyingCustodian
from caremesh.testing.hosts import SOURCE
from caremesh.types import Seconds

MODULE: Final = "caremesh.testing.bent"
CLOCK: Final = "TESTING_CLOCK"
LIE: Final = "lie"
LATE: Final = "late"


class FileClock:
    """Real time, and what the file says: the same for all processes that read it."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self) -> Seconds:
        """Now, UTC."""
        try:
            return int(time.time()) + int(self._file.read_text("utf-8") or "0")
        except FileNotFoundError:
            return int(time.time())

    def advance(self, seconds: Seconds) -> None:
        """Let time pass, for all of them."""
        ahead = self() - int(time.time()) + seconds
        beside = self._file.with_suffix(".new")
        beside.write_text(str(ahead), "utf-8")
        beside.replace(self._file)


class BentNode(Node):
    """A node whose custodian may lie."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.member.custodian = _MaybeLying(self)  # type: ignore[assignment]


class _MaybeLying:
    def __init__(self, node: Node) -> None:
        self._honest = node.member.custodian
        self._liar = LyingCustodian(self._honest, node.home.node_key)
        self._mark = node.folder / doors.RUN / LIE
        self._late = node.folder / doors.RUN / LATE

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)

    def release(self, data: bytes) -> list[bytes]:
        self._wait()
        return self._liar.release(data) if self._mark.exists() else self._honest.release(data)

    def release_each(self, data: Sequence[bytes]) -> list[list[bytes] | CareMeshError]:
        self._wait()
        return self._liar.release_each(data) if self._mark.exists() else self._honest.release_each(data)

    def deposit_seals(self, data: Sequence[bytes]) -> list[bytes]:
        self._wait()
        return self._honest.deposit_seals(data)

    def _wait(self) -> None:
        """For as long as the file says, or until it is gone."""
        with suppress(FileNotFoundError):
            until = time.monotonic() + float(self._late.read_text("utf-8"))
            while time.monotonic() < until and self._late.exists():
                time.sleep(0.1)


def main(words: Sequence[str]) -> int:
    """As ``caremesh node``, or one of its parts."""
    if SOURCE in os.environ:
        here = (os.environ[SOURCE], 0)
        aiohttp.TCPConnector = partial(aiohttp.TCPConnector, local_addr=here)  # type: ignore[assignment, misc]
    if words[0] != "node":
        part.main(words, make=BentNode, clock=FileClock(Path(os.environ[CLOCK])))
    _, _, home, *flags = words  # node --home DIR …
    return run(Path(home), flags_of(flags), MODULE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
