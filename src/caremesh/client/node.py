"""The way to one node: signed requests over pinned TLS, answers or the errors that they name, and patience.

What may be tried again: a request that never left; any other only where the same request twice does what one does.
Between tries it waits a random time up to a limit that doubles, so that callers do not come back all at once.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from io import BytesIO
from random import SystemRandom
from types import TracebackType
from typing import Final

import httpx
from msgspec import Struct

from caremesh.client import errors, wire
from caremesh.client.signing import Identity, SignedBy
from caremesh.client.tracing import TRACEPARENT, Tracer
from caremesh.crypto.pins import Leaf, anchor, client_context
from caremesh.errors import CareMeshError, Unavailable
from caremesh.types import Did, Multikey, Seconds

_RANDOM: Final = SystemRandom()
_NEVER_LEFT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_TRY_AGAIN: Final = frozenset({429, 502, 503, 504})
UNIX: Final = "unix:"


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
        limits = httpx.Limits(
            max_connections=self._patience.connections, max_keepalive_connections=self._patience.connections
        )
        self._http = httpx.AsyncClient(
            base_url="http://node" if local else target.url,
            transport=httpx.AsyncHTTPTransport(
                uds=target.url.removeprefix(UNIX) if local else None,
                verify=_context(target, leaf) if not local else False,
                limits=limits,
            ),
            auth=None if identity is None else SignedBy(identity, clock),
            headers={wire.TO: target.did, "user-agent": "caremesh"},
            timeout=httpx.Timeout(self._patience.answer_s, connect=self._patience.connect_s),
            trust_env=False,
            follow_redirects=False,
        )

    async def __aenter__(self) -> Node:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

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
        this one request. Raises what the node's problem names; Unavailable client.02 to client.04; BadInput client.01.
        """
        given = dict(headers or {}) | ({} if body is None else {"content-type": media})
        request: dict[str, object] = {"content": body, "params": query, "headers": given}
        if identity is not None:
            request["auth"] = SignedBy(identity, self.clock)
        if answer_s is not None:
            request["timeout"] = httpx.Timeout(answer_s, connect=self._patience.connect_s)
        may_repeat = method in ("GET", "HEAD") if safe is None else safe
        if self._tracer is None:
            return await self._tried(method, path, request, may_repeat=may_repeat, problems=problems)
        with self._tracer.asks(method, path, self.target.did, inside=self._local) as span:
            if span.traceparent:
                given[TRACEPARENT] = span.traceparent
            answer = await self._tried(method, path, request, may_repeat=may_repeat, problems=problems)
            span.came_to(answer.status)
            return answer

    async def _tried(
        self, method: str, path: str, request: dict[str, object], *, may_repeat: bool, problems: bool
    ) -> Answer:
        pause = self._patience.pause_s
        for left in range(self._patience.tries - 1, -1, -1):
            wait = 0.0
            try:
                answer = await self._once(method, path, request)
            except httpx.TransportError as error:
                if not left or not (may_repeat or isinstance(error, _NEVER_LEFT)):
                    raise self._unreachable(error) from error
                if _is_pin(error):
                    raise self._unreachable(error) from error
            else:
                if answer.status < 400 or not problems:
                    return answer
                problem = self._problem(answer)
                if not left or not may_repeat or answer.status not in _TRY_AGAIN:
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
        timeout = httpx.Timeout(self._patience.silence_s, connect=self._patience.connect_s)
        auth = httpx.USE_CLIENT_DEFAULT if identity is None else SignedBy(identity, self.clock)
        sent = self._http.stream("GET", path, params=query, headers=dict(headers or {}), timeout=timeout, auth=auth)
        try:
            async with sent as got:
                if got.status_code >= 400:
                    raise self._problem(await self._read(got))
                async for chunk in got.aiter_raw():
                    yield chunk
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    async def _once(self, method: str, path: str, request: dict[str, object]) -> Answer:
        async with self._http.stream(method, path, **request) as got:  # type: ignore[arg-type]
            return await self._read(got)

    async def _read(self, got: httpx.Response) -> Answer:
        body = BytesIO()
        async for chunk in got.aiter_raw():
            body.write(chunk)
            if body.tell() > self._patience.max_bytes:
                raise Unavailable(errors.TOO_MUCH, self.target.did)
        return Answer(got.status_code, dict(got.headers), body.getvalue())

    def _problem(self, answer: Answer) -> CareMeshError:
        try:
            return wire.error_of(answer.body)
        except CareMeshError:
            if answer.status in _TRY_AGAIN or answer.status >= 500:
                return Unavailable(errors.UNREACHABLE, f"{self.target.did} {answer.status}")
            raise

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
