"""A host's gate: a TCP proxy in user space, through which everything goes between one host and the others.

``python -m caremesh.testing.gate SPEC`` (JSON, see ``Spec``). A host is a network namespace of its own with nothing in
it but its loopback; its gate is the only way in and out. There the gate listens where the others are said to be, and
passes on to their gates over unix sockets, which know no namespaces. It ends when its standard input does.

What it does to connections is in ``rules.json``, looked at many times a second: hosts that are cut from each other (no
byte passes, nobody is told), a delay each way, and what TCP makes of lost packets: now and then a piece comes late.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from caremesh.testing.namespaces import isolate

RULES: Final = "rules.json"
ELSEWHERE: Final = "elsewhere"
"""The name of whoever is on no host: the test."""
PEERS: Final = "#peers"
_LOOK_EVERY_S: Final = 0.05
_RETRANSMITTED_S: Final = 0.2
_PIECE: Final = 64 * 1024
_Coroutine: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
_Accept: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


class Rules(Struct, frozen=True):
    """``cut``: pairs of hosts; ``delay_s``: each way; ``loss``: how likely a piece is lost, and comes later."""

    version: int = 0
    cut: list[tuple[str, str]] = []
    delay_s: float = 0.0
    loss: float = 0.0


class Spec(Struct, frozen=True):
    """``isolated``: in a namespace of its own. ``listen``: door → where it is said to be.

    A door is the name of a host, for its node, or that and ``PEERS``, for its CometBFT. ``mine``: where those of this
    host listen. ``dial``: where doors are reached directly; the others are by their gates. ``sources``: address → host,
    where that cannot be known otherwise.
    """

    folder: str
    name: str
    isolated: bool
    listen: dict[str, tuple[str, int]]
    mine: dict[str, tuple[str, int]] = {}
    dial: dict[str, tuple[str, int]] = {}
    sources: dict[str, str] = {}


class Gate:
    """See above."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._folder = Path(spec.folder)
        self._rules = Rules()
        self._changed = asyncio.Event()
        self._random = random.Random(0)  # noqa: S311 - it decides what comes late
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until standard input ends."""
        servers = [
            await asyncio.start_server(self._from_here(name), host, port)
            for name, (host, port) in self._spec.listen.items()
        ]
        for door, (host, port) in self._spec.mine.items():
            path = self._folder / f"{door}.sock"
            servers.append(await asyncio.start_unix_server(self._from_there(host, port), path))
        alone = asyncio.get_running_loop().run_in_executor(None, os.read, 0, 1)
        while not alone.done():
            self._look()
            await asyncio.wait([alone], timeout=_LOOK_EVERY_S)
        for server in servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _look(self) -> None:
        found = msgspec.json.decode((self._folder / RULES).read_bytes(), type=Rules)
        if found != self._rules:
            self._rules, changed, self._changed = found, self._changed, asyncio.Event()
            changed.set()
        mark = self._folder / f"{self._spec.name}.at"
        if not mark.exists() or mark.read_text("utf-8") != str(found.version):
            mark.write_text(str(found.version), "utf-8")

    def _from_here(self, to: str) -> _Accept:
        host = to.removesuffix(PEERS)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            source = self._spec.sources.get(writer.get_extra_info("peername")[0], self._spec.name)
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._open(source, host)
                if to in self._spec.dial:
                    there = await asyncio.open_connection(*self._spec.dial[to])
                else:
                    there = await asyncio.open_unix_connection(self._folder / f"{to}.sock")
                await self._both(reader, writer, *there, (source, host))
            writer.transport.abort()

        return self._kept(accept)

    def _from_there(self, host: str, port: int) -> _Accept:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                there = await asyncio.open_connection(host, port)
                await self._both(reader, writer, *there, None)
            writer.transport.abort()

        return self._kept(accept)

    def _kept(self, accept: _Coroutine) -> _Accept:
        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(accept(reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return begin

    async def _both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        to: asyncio.StreamWriter,
        link: tuple[str, str] | None,
    ) -> None:
        """Both ways until one of them breaks or both have ended. ``link``: None where nothing happens on the way."""
        ways = [asyncio.create_task(self._pass(reader, to, link)), asyncio.create_task(self._pass(there, writer, link))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            to.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: tuple[str, str] | None
    ) -> None:
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        giving = asyncio.create_task(self._give(pieces, writer, link))
        try:
            while True:
                piece = await reader.read(_PIECE)
                await pieces.put((asyncio.get_running_loop().time() + (self._late() if link else 0.0), piece))
                if not piece:
                    break
            await giving
        finally:
            giving.cancel()

    async def _give(
        self, pieces: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, link: tuple[str, str] | None
    ) -> None:
        while True:
            due, piece = await pieces.get()
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            if link is not None:
                await self._open(*link)
            if not piece:
                writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()

    def _late(self) -> float:
        late = self._rules.delay_s
        while self._random.random() < self._rules.loss:
            late += _RETRANSMITTED_S
        return late

    async def _open(self, one: str, other: str) -> None:
        """Wait for as long as these two are cut from each other."""
        while (one, other) in self._rules.cut or (other, one) in self._rules.cut:
            await self._changed.wait()


def main(words: list[str]) -> int:
    """Run one gate."""
    spec = msgspec.json.decode(words[0], type=Spec)
    if spec.isolated:
        isolate()
    asyncio.run(Gate(spec).run())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
