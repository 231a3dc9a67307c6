"""The way to one node: signed requests over pinned TLS, answers or the errors that they name, and patience.

What may be tried again: a request that never left; any other only where the same request twice does what one does.
Between tries it waits a random time up to a limit that doubles, so that callers do not come back all at once.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from random import SystemRandom
from types import TracebackType
from typing import Final, NamedTuple

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession, ClientTimeout
from msgspec import Struct

from caremesh.client import errors, wire
from caremesh.client.connections import Connections
from caremesh.client.signing import Identity, signed
from caremesh.client.tracing import TRACEPARENT, Tracer
from caremesh.crypto.pins import Leaf, anchor, client_context
from caremesh.errors import CareMeshError, Unavailable
from caremesh.types import Did, Multikey, Seconds

_RANDOM: Final = SystemRandom()
_NEVER_LEFT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_PIECES_BYTES: Final = 2**20
"""A larger body goes out in pieces, so that others on the event loop have their turn."""
_SLOWEST_BYTES_S: Final = 64 * 1024
"""A node that takes the bytes of a request more slowly is given up."""
UNIX: Final = "unix:"


class _Broken(Exception):
    """The connection ended under a request. Not an error of aiohttp's, which would send some requests once more."""


_FAILURES: Final = (aiohttp.ClientError, OSError, _Broken)  # time-outs are errors of the system, too


class Patience(Struct, frozen=True, kw_only=True):
    """How long to wait, in seconds, how often to try, and how much to read in bytes."""

    connect_s: float = 3.0
    answer_s: float = 15.0
    silence_s: float = 40.0
    """Of a stream, which says now and then that it is there."""
    tries: int = 3
    pause_s: float = 0.1
    longest_pause_s: float = 2.0
    max_bytes: int = 64 * 2**20
    connections: int = 16


class Target(Struct, frozen=True, kw_only=True):
    """A node: whose, the key that the ledger names, where (``https://host:port``, on this machine ``unix:/path``)."""

    did: Did
    node_key: Multikey
    url: str


class Answer(Struct, frozen=True):
    """What came back. ``headers``: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Request(NamedTuple):
    """One request, which may be sent several times. ``headers``: are added to while it is prepared."""

    method: str
    path: str
    body: bytes | None
    query: Mapping[str, str | int] | None
    headers: dict[str, str]
    identity: Identity | Callable[[], Identity] | None
    answer_s: float | None


class _Signing:
    """Signs a request as it goes out, each time anew: a nonce is used once."""

    def __init__(self, request: _Request, clock: Callable[[], Seconds]) -> None:
        self._request = request
        self._clock = clock

    async def __call__(self, going: ClientRequest, send: ClientHandlerType) -> ClientResponse:
        """See aiohttp's middlewares of clients. Raises ``_Broken`` as well."""
        who = self._request.identity
        if who is not None:
            identity = who if isinstance(who, Identity) else who()
            url = f"https://{going.headers['host']}{going.url.raw_path_qs}"
            body = self._request.body or b""
            going.headers.update(signed(self._request.method, url, going.headers, body, identity, self._clock()))
        try:
            return await send(going)
        except _NEVER_LEFT:
            raise
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            raise _Broken from error


class Node:
    """The way to one node. Close it, or use it as an async context manager; of one event loop."""

    def __init__(
        self,
        target: Target,
        identity: Identity | Callable[[], Identity] | None,
        *,
        leaf: Leaf | None = None,
        clock: Callable[[], Seconds] = lambda: int(time.time()),
        patience: Patience | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """``identity``: who signs, or makes an identity for each request; none between the processes of one node.

        ``leaf``: the certificate of a node that calls another. ``tracer``: who is told of what is asked.
        """
        self._tracer: Final = tracer
        self.target = target
        self.clock = clock
        self._patience = patience or Patience()
        local = self._local = target.url.startswith(UNIX)
        self.identity = identity
        self._base = "http://node" if local else target.url
        self._context = None if local else _context(target, leaf)
        self._opened: Connections | None = None

    async def __aenter__(self) -> Node:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        if self._opened is not None:
            await self._opened.end()

    async def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        media: str = wire.CBOR,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        safe: bool | None = None,
        answer_s: float | None = None,
        problems: bool = True,
        identity: Identity | None = None,
    ) -> Answer:
        """The answer to a request. ``safe``: whether it may be tried again after it left (default: GET only).

        ``answer_s``: how long to wait for this answer. ``problems``: whether to raise them. ``identity``: who signs
        this one request. Raises what the node's problem names; Unavailable client.02 to client.04,
        client.09; BadInput client.01.
        """
        given = dict(headers or {}) | ({} if body is None else {"content-type": media})
        request = _Request(method, path, body, query, given, identity or self.identity, answer_s)
        may_repeat = method in ("GET", "HEAD") if safe is None else safe
        if self._tracer is None:
            return await self._tried(request, may_repeat=may_repeat, problems=problems)
        with self._tracer.asks(method, path, self.target.did, inside=self._local) as span:
            if span.traceparent:
                given[TRACEPARENT] = span.traceparent
            answer = await self._tried(request, may_repeat=may_repeat, problems=problems)
            span.came_to(answer.status)
            return answer

    async def _tried(self, request: _Request, *, may_repeat: bool, problems: bool) -> Answer:
        pause = self._patience.pause_s
        for left in range(self._patience.tries - 1, -1, -1):
            wait = 0.0
            try:
                answer = await self._once(request)
            except _FAILURES as error:
                if not left or not (may_repeat or isinstance(error, _NEVER_LEFT)):
                    raise self._ended(error) from error
                if _is_pin(error):
                    raise self._ended(error) from error
            else:
                if answer.status < 400 or not problems:
                    return answer
                problem = self._problem(answer)
                if not left or not may_repeat or answer.status not in wire.TRY_AGAIN:
                    raise problem
                wait = min(_seconds(answer.headers.get("retry-after", "")), self._patience.answer_s)
            await asyncio.sleep(max(wait, _RANDOM.uniform(0, pause)))
            pause = min(2 * pause, self._patience.longest_pause_s)
        raise Unavailable(errors.UNREACHABLE, self.target.did)  # not reached: the last try raises or returns

    async def chunks(
        self,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        identity: Identity | None = None,
    ) -> AsyncGenerator[bytes]:
        """The bytes of an answer that does not end by itself, as they come. Arguments and errors as of ``call``."""
        request = _Request("GET", path, None, query, dict(headers or {}), identity or self.identity, None)
        try:
            async with self._sent(request, self._patience.silence_s) as got:
                if got.status >= 400:
                    raise self._problem(await self._read(got))
                async for chunk in got.content.iter_any():
                    yield chunk
        except _FAILURES as error:
            raise self._unreachable(error) from error

    async def _once(self, request: _Request) -> Answer:
        answer_s = self._patience.answer_s if request.answer_s is None else request.answer_s
        async with self._sent(request, answer_s) as got:
            return await self._read(got)

    @asynccontextmanager
    async def _sent(self, request: _Request, answer_s: float) -> AsyncGenerator[ClientResponse]:
        """The beginning of an answer. ``answer_s``: how long to wait for a connection, for it, and for each piece."""
        body = request.body
        sending = self._session.request(
            request.method,
            self._base + request.path,
            params=request.query,
            data=BytesIO(body) if body is not None and len(body) > _PIECES_BYTES else body,
            headers=request.headers,
            timeout=ClientTimeout(connect=answer_s, sock_connect=self._patience.connect_s, sock_read=answer_s),
            allow_redirects=False,
            middlewares=(_Signing(request, self.clock),),
        )
        async with asyncio.timeout(2 * answer_s + len(body or b"") / _SLOWEST_BYTES_S):
            got = await sending
        async with got:
            yield got

    @property
    def _session(self) -> ClientSession:
        """It belongs to the event loop that asks first."""
        if self._opened is None:
            way = self.target.url.removeprefix(UNIX) if self._context is None else self._context
            headers = {wire.TO: self.target.did, "user-agent": "caremesh"}
            self._opened = Connections(way, self._patience.connections, headers)
        return self._opened.session

    async def _read(self, got: ClientResponse) -> Answer:
        body = BytesIO()
        async for chunk in got.content.iter_any():
            body.write(chunk)
            if body.tell() > self._patience.max_bytes:
                raise Unavailable(errors.TOO_MUCH, self.target.did)
        return Answer(got.status, {name.lower(): value for name, value in got.headers.items()}, body.getvalue())

    def _problem(self, answer: Answer) -> CareMeshError:
        return wire.refused(answer.body, answer.status, self.target.did)

    def _ended(self, error: Exception) -> Unavailable:
        if isinstance(error, aiohttp.ClientPayloadError):
            return Unavailable(errors.CUT_SHORT, self.target.did)
        return self._unreachable(error)

    def _unreachable(self, error: Exception) -> Unavailable:
        return Unavailable(errors.NOT_THE_NODE if _is_pin(error) else errors.UNREACHABLE, self.target.did)


def _context(target: Target, leaf: Leaf | None) -> ssl.SSLContext:
    return client_context(leaf, anchor(target.did, target.node_key))


def _is_pin(error: BaseException) -> bool:
    """Whether a connection failed because the certificate is not the one that was meant."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() else 0.0
