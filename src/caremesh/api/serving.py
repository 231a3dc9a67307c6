"""Serves the app: TLS whose pins change while it runs, and limits that hold before a request is one.

uvicorn speaks HTTP; accepting is done here, because the TLS context, the time of a handshake and the number of
connections are decided anew for each connection. Its protocol gets three things besides: a time by which the headers
must be there, a size that they may have, and the caller's certificate.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from caremesh.api import errors
from caremesh.api.limits import Limits
from caremesh.api.problems import status_of
from caremesh.api.routes import CERTIFICATE, ENDING
from caremesh.client import wire
from caremesh.errors import Refused

Context = Callable[[], ssl.SSLContext]
"""The TLS context of this moment: the caller of ``Doors`` renews leaf and pins behind it. OSError: there is none yet;
who comes waits.
"""
_PAUSE_S: Final = 0.2
_OUT_OF_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Doors(Server):
    """A uvicorn server over listening sockets, each with TLS (a context) or without (a unix socket)."""

    def __init__(self, app: ASGIApp, doors: list[tuple[socket.socket, Context | None]], limits: Limits) -> None:
        """``doors``: bound, listening sockets. They are closed at the end."""
        super().__init__(
            Config(
                app,
                http=_with(limits),
                loop="none",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=int(limits.idle_s),
                timeout_graceful_shutdown=int(limits.drain_s),
            )
        )
        self._doors = doors
        self._limits = limits
        self._open: set[asyncio.Task[None]] = set()
        self._accepting: list[asyncio.Task[None]] = []
        self._by_address: Counter[str] = Counter()
        self._ending = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's
        """Begin to accept."""
        await self.lifespan.startup()
        self.servers = []
        for listener, context in self._doors:
            listener.settimeout(0)
            self._accepting.append(asyncio.create_task(self._accept(listener, context)))
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's
        """Accept no more, finish what is being answered, and close."""
        self._ending.set()
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for listener, _ in self._doors:
            listener.close()
        for task in list(self._open):
            task.cancel()
        await super().shutdown()

    async def _accept(self, listener: socket.socket, context: Context | None) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._taken() >= self._limits.max_connections or not _can_begin(context):
                await asyncio.sleep(_PAUSE_S)  # the kernel keeps who comes now; idle ones are closed in time
                continue
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno in _OUT_OF_FILES:
                    await asyncio.sleep(_PAUSE_S)
                continue
            host = address[0] if isinstance(address, tuple) else ""
            if host and self._by_address[host] >= self._limits.max_connections_an_address:
                connection.close()
                continue
            self._by_address[host] += 1
            task = asyncio.create_task(self._serve_one(connection, host, context))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    def _taken(self) -> int:
        return len(self._open) + len(self.server_state.connections)

    async def _serve_one(self, connection: socket.socket, host: str, context: Context | None) -> None:
        """From the accepted socket to the protocol: for the length of the handshake."""
        loop = asyncio.get_running_loop()

        def left() -> None:
            self._by_address[host] -= 1
            if self._by_address[host] <= 0:
                del self._by_address[host]

        def protocol() -> asyncio.Protocol:
            made: Any = self.config.http_protocol_class
            return made(  # type: ignore[no-any-return]
                config=self.config, server_state=self.server_state, app_state={ENDING: self._ending}, left=left
            )

        try:
            if context is None:
                await loop.connect_accepted_socket(protocol, connection)
            else:
                with suppress(AttributeError):
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                within_s = self._limits.handshake_s
                await loop.connect_accepted_socket(
                    protocol, connection, ssl=context(), ssl_handshake_timeout=within_s, ssl_shutdown_timeout=within_s
                )
        except (OSError, TimeoutError, asyncio.CancelledError):
            left()
            connection.close()


def _can_begin(context: Context | None) -> bool:
    try:
        return context is None or bool(context())
    except OSError:
        return False


def _with(limits: Limits) -> type[HttpToolsProtocol]:
    """uvicorn's protocol under these limits."""

    class Limited(_Limited):
        held = limits

    return Limited


class _Limited(HttpToolsProtocol):
    held: Limits

    def __init__(self, *args: Any, left: Callable[[], None], **named: Any) -> None:
        super().__init__(*args, **named)
        self._left: Callable[[], None] | None = left
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes: int | None = 0
        self._certificate: bytes | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._certificate = tls.getpeercert(binary_form=True)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        if self._left is not None:
            self._left()
            self._left = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            # What comes in one piece may hold the beginning of the body: a piece is at most 256 KiB.
            if self._head_bytes - len(data) > self.held.max_head_bytes:
                self._turn_away(Refused(errors.TOO_LARGE, f"{self.held.max_head_bytes} bytes of headers"))
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CERTIFICATE: self._certificate}  # type: ignore[dict-item]
        self._head_bytes = self._head_bytes or 1  # a request has begun, after others perhaps
        if self._deadline is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        self._head_is_there()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.held.max_head_bytes:
            self._turn_away(Refused(errors.TOO_LARGE, f"{self.held.max_head_bytes} bytes of headers"))
            return
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - what we say is ours
        self._turn_away(Refused(errors.NOT_HTTP))

    def _wait_for_head(self) -> None:
        self._deadline = self.loop.call_later(self.held.head_s, self._too_slow)

    def _head_is_there(self) -> None:
        self._head_bytes = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._head_bytes:
            self._turn_away(Refused(errors.TOO_SLOW))
        else:
            self.transport.close()

    def _turn_away(self, error: Refused) -> None:
        """A problem without the app, and the end of the connection."""
        if self.transport.is_closing():
            return
        status = status_of(error)
        body = wire.to_json(wire.problem_of(error, status))
        head = (
            f"HTTP/1.1 {status} {error.code}\r\ncontent-type: {wire.PROBLEM}\r\ncontent-length: {len(body)}\r\n"
            "cache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def listen(host: str, port: int, backlog: int = 2_048) -> socket.socket:
    """A listening TCP socket; port 0 lets the system choose. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener
