"""A host far away, on this machine: a TCP proxy that keeps every byte for a while, both ways."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Final


class Distance:
    """Proxies in one thread, all with the same delay. Close it."""

    def __init__(self) -> None:
        self.one_way_s = 0.0
        """What each byte takes from end to end; may change while connections are open."""
        self.loop: Final = asyncio.new_event_loop()
        self.open: Final[set[asyncio.Transport]] = set()
        self._servers: Final[list[asyncio.Server]] = []
        self._thread: Final = threading.Thread(target=self.loop.run_forever, name="distance", daemon=True)
        self._thread.start()

    def to(self, port: int) -> int:
        """The port of loopback by which who listens on ``port`` is far away."""
        return asyncio.run_coroutine_threadsafe(self._listen(port), self.loop).result()

    def close(self) -> None:
        """End all connections."""
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _listen(self, port: int) -> int:
        server = await self.loop.create_server(lambda: _Near(self, port), "127.0.0.1", 0)
        self._servers.append(server)
        made: int = server.sockets[0].getsockname()[1]
        return made

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        for transport in list(self.open):
            transport.abort()
        while self.open:
            await asyncio.sleep(0.01)


class _End(asyncio.Protocol):
    """One end of a connection; what comes in here goes out at the other end, in order, when it has been on its way."""

    def __init__(self, distance: Distance) -> None:
        self.distance: Final = distance
        self.other: _End | None = None
        self.transport: asyncio.Transport | None = None
        self._on_the_way: Final[deque[bytes]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.distance.open.add(transport)

    def data_received(self, data: bytes) -> None:
        self._send(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - as a protocol
        assert self.transport is not None
        self.distance.open.discard(self.transport)
        self._send(b"")

    def _send(self, data: bytes) -> None:
        """``data``: nothing when this end is closed."""
        self._on_the_way.append(data)
        self.distance.loop.call_later(self.distance.one_way_s, self._arrive)

    def _arrive(self) -> None:
        data = self._on_the_way.popleft()
        if self.other is None or self.other.transport is None or self.other.transport.is_closing():
            return
        if data:
            self.other.transport.write(data)
        else:
            self.other.transport.close()


class _Near(_End):
    """The end that was called: it calls the port behind it. The handshake of TCP takes its time, too."""

    def __init__(self, distance: Distance, port: int) -> None:
        super().__init__(distance)
        self._port = port
        self._before: list[bytes] | None = []
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._task = self.distance.loop.create_task(self._call())

    def data_received(self, data: bytes) -> None:
        if self._before is None:
            self._send(data)
        else:
            self._before.append(data)

    async def _call(self) -> None:
        assert self.transport is not None
        await asyncio.sleep(2 * self.distance.one_way_s)
        far = _End(self.distance)
        try:
            await self.distance.loop.create_connection(lambda: far, "127.0.0.1", self._port)
        except OSError:
            self.transport.close()
            return
        self.other, far.other = far, self
        before, self._before = self._before or [], None
        for data in before:
            self._send(data)
        if self.transport.is_closing():
            self._send(b"")
