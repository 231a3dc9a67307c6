"""The connections to one node, of one event loop, and their end: none is left behind, also none that is just closing.

A TLS connection that is closed waits for the other side's last word; an event loop that ends before would leave its
socket open.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final
from weakref import WeakSet

import aiohttp
from aiohttp import ClientSession


class _OverTls(aiohttp.TCPConnector):
    """Knows all that it has opened."""

    def __init__(self, context: ssl.SSLContext, most: int) -> None:
        super().__init__(limit=most, ssl=context)
        self._ends: Final[WeakSet[Any]] = WeakSet()
        self._transports: Final[WeakSet[asyncio.Transport]] = WeakSet()

    async def connect(self, *args: Any, **named: Any) -> Any:
        """See ``BaseConnector``."""
        connection = await super().connect(*args, **named)
        self._ends.add(connection.protocol)
        if connection.transport is not None:
            self._transports.add(connection.transport)
        return connection

    async def end(self) -> None:
        """Close all, at once, and wait until they are."""
        closed = [each.closed for each in self._ends]
        for transport in self._transports:
            transport.abort()
        await self.close(abort_ssl=True)
        await asyncio.gather(*(each for each in closed if each is not None), return_exceptions=True)


class Connections:
    """Of a ``Node``, to a unix socket or over TLS. Made inside the event loop; ``end`` it."""

    def __init__(self, way: str | ssl.SSLContext, most: int, headers: dict[str, str]) -> None:
        """``way``: the path of a unix socket, or a TLS context; ``most``: how many there may be."""
        over_tls = None if isinstance(way, str) else _OverTls(way, most)
        self._over_tls: Final = over_tls
        self.session: Final = ClientSession(
            connector=over_tls or aiohttp.UnixConnector(str(way), limit=most),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def end(self) -> None:
        """Let go of them all."""
        if self._over_tls is not None:
            await self._over_tls.end()
        await self.session.close()
