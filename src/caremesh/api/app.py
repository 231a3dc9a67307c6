"""One ASGI app: routes over ports, a guard before each, a problem for whatever goes wrong. Nothing global.

A request goes: rate of its address → route → signature (before its body is read) → rate of its caller → body, up to the
route's size and in time → digest → handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from typing import Final

from msgspec import Struct
from msgspec.structs import replace
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Match
from starlette.routing import Route as Path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from caremesh.api import errors
from caremesh.api.limits import Bucket, Limits, Rates
from caremesh.api.once import Once
from caremesh.api.problems import response_of
from caremesh.api.routes import CERTIFICATE, ENDING, Answer, Call, Caller, Route
from caremesh.api.signatures import Guard, Head
from caremesh.api.threads import in_threads
from caremesh.client.tracing import TRACEPARENT, Tracer
from caremesh.client.wire import REFUSED
from caremesh.errors import BadInput, CareMeshError, Refused, Unavailable


class Seen(Struct):
    """What logs and metrics may know of a request: nothing of what it says."""

    route: str = "none"
    method: str = ""
    caller: str = "anyone"
    """Its kind, not its name."""
    status: int = 500
    code: str = ""
    """Of the error, when there was one."""
    refused: tuple[str, ...] = ()
    """The codes of parts of an answer that were refused by themselves."""
    seconds: float = 0.0
    read: bool = False
    fault: Exception | None = None
    """What nobody foresaw."""


LARGE_BYTES: Final = 128 * 1024
"""From this size on, a body's digest takes longer than to wait for a thread."""
HASHING: Final = 8
"""Bodies that are hashed at a time."""
GONE: Final = 499
"""What logs and metrics say of a caller that left before it had an answer."""

Observer = Callable[[Seen], None]
"""Told of every request once it is answered."""


def make_app(
    routes: Sequence[Route],
    guard: Guard,
    *,
    limits: Limits | None = None,
    observe: Observer = lambda _: None,
    callers: Bucket | None = None,
    addresses: Bucket | None = None,
    tracer: Tracer | None = None,
) -> ASGIApp:
    """The app. ``guard``: who asks; ``observe``: for logs and metrics; ``tracer``: for traces.

    ``callers``, ``addresses``: what counts requests of either, where it is shared with other processes.
    """
    return _App(routes, guard, limits or Limits(), observe, callers, addresses, tracer)


class _App:
    def __init__(
        self,
        routes: Sequence[Route],
        guard: Guard,
        limits: Limits,
        observe: Observer,
        callers: Bucket | None,
        addresses: Bucket | None,
        tracer: Tracer | None,
    ) -> None:
        self._tracer: Final = tracer
        self._guard: Final = guard
        self._limits: Final = limits
        self._observe: Final = observe
        self._table: Final = [(Path(route.path, _never, methods=[route.method]), route) for route in routes]
        self._callers: Final = callers or Rates(limits.per_second, limits.burst, limits.max_callers)
        self._addresses: Final = addresses or Rates(limits.per_second_address, limits.burst_address, limits.max_callers)
        self._at_work = 0
        self._streams = 0
        self._once: Final = Once()
        self._run: Final = in_threads(HASHING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        loop = asyncio.get_running_loop()
        begun = loop.time()
        seen = Seen(method=scope["method"])
        try:
            response = await self._answer(Request(scope, receive), seen)
        except CareMeshError as error:
            seen.code = error.code
            response = response_of(error, close=not seen.read)
        except ClientDisconnect:
            seen.status = GONE
            self._observe(seen)
            return
        except Exception as error:  # noqa: BLE001 - a fault of the program: told to the observer, not to the caller
            seen.fault = error
            seen.code = errors.FAILED.code
            response = response_of(Unavailable(errors.FAILED), close=not seen.read)
        seen.status = response.status_code
        in_time = self._in_time(send)
        try:
            if seen.code and not seen.read:
                await self._early(response, Request(scope, receive), in_time)
            else:
                await response(scope, receive, in_time)
        except TimeoutError:
            seen.status = GONE  # it takes no more; uvicorn closes what is left unfinished
        finally:
            seen.seconds = loop.time() - begun
            self._observe(seen)

    async def _answer(self, request: Request, seen: Seen) -> Response:
        route, path = self._find(request.scope)
        seen.route = route.name
        head = _head(request)
        self._announced(request, route)
        caller = self._caller(route, head, request)
        seen.caller = caller.kind
        if self._at_work >= self._limits.max_at_work or (route.streams and self._streams >= self._limits.max_streams):
            raise Unavailable(errors.BUSY)
        self._at_work += 1
        try:
            if self._tracer is None:
                return await self._handled(route, path, caller, head, request, seen)
            with self._tracer.answers(route.name, caller.kind, _traceparent(head, caller, request)) as span:
                response = await self._handled(route, path, caller, head, request, seen)
                span.came_to(response.status_code)
                return response
        finally:
            self._at_work -= 1

    async def _handled(
        self, route: Route, path: Mapping[str, str], caller: Caller, head: Head, request: Request, seen: Seen
    ) -> Response:
        body = await self._body(request, route)
        seen.read = True
        sha256 = await self._check_body(head, body)
        self._count_others(route, caller, body, request)
        call = Call(caller, path, _query(request), head.headers, body, sha256)
        answer = await (self._once.answer(route.name, route.handler, call) if route.once else route.handler(call))
        seen.refused = tuple(filter(None, answer.headers.get(REFUSED, "").split(",")))
        if answer.stream is not None and route.streams:
            answer = replace(answer, stream=self._watched(answer.stream, request))
        return _response(answer)

    def _caller(self, route: Route, head: Head, request: Request) -> Caller:
        """Who asks. What nobody on the ledger has signed counts for its address; raises Refused api.13."""
        address = request.client.host if request.client else ""
        if not address:  # a unix socket: the worker behind it has counted
            return self._guard.check(route, head)
        if head.certificate is None:
            self._addresses.check(address)  # before anything is verified: that costs more than asking
        try:
            caller = self._guard.check(route, head)
        except CareMeshError:
            self._addresses.count(address)
            raise
        if caller.kind in ("member", "practitioner"):
            self._callers.take(caller.name)
        else:
            self._addresses.count(address)
        return caller

    def _count_others(self, route: Route, caller: Caller, body: bytes, request: Request) -> None:
        """A body with several requests counts for as many; the first is counted. Raises Refused api.13."""
        if route.counts is not None and request.client is not None and request.client.host:
            more = route.counts(body) - 1
            if more:
                self._callers.take(caller.name, more)

    def _in_time(self, send: Send) -> Send:
        """Who does not take what is sent is not waited for."""

        async def sent(message: Message) -> None:
            async with asyncio.timeout(self._limits.send_s):
                await send(message)

        return sent

    async def _early(self, response: Response, request: Request, send: Send) -> None:
        """An answer before the body was read. What still comes is let pass for a while: a caller that is cut off while
        it writes may never see why.
        """
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await send({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
        with suppress(TimeoutError, ClientDisconnect):
            async with asyncio.timeout(self._limits.linger_s):
                async for _ in request.stream():
                    pass
        await send({"type": "http.response.body", "body": b""})

    async def _watched(self, stream: AsyncIterator[bytes], request: Request) -> AsyncIterator[bytes]:
        """A stream, until its time is over or the process ends."""
        ending: asyncio.Event = request.scope.get("state", {}).get(ENDING) or asyncio.Event()
        loop = asyncio.get_running_loop()
        until = loop.time() + self._limits.stream_s
        self._streams += 1
        ended = asyncio.ensure_future(ending.wait())
        chunk: asyncio.Future[bytes] | None = None
        try:
            while not ending.is_set() and loop.time() < until:
                chunk = asyncio.ensure_future(anext(stream))
                await asyncio.wait({chunk, ended}, timeout=until - loop.time(), return_when=asyncio.FIRST_COMPLETED)
                if not chunk.done():
                    return
                yield chunk.result()
        except StopAsyncIteration:
            return
        finally:
            self._streams -= 1
            ended.cancel()
            if chunk is not None and not chunk.done():
                chunk.cancel()
                await asyncio.wait({chunk})

    def _find(self, scope: Scope) -> tuple[Route, Mapping[str, str]]:
        partial = False
        for path, route in self._table:
            match, child = path.matches(scope)
            if match is Match.FULL and (route.method == scope["method"]):
                return route, child["path_params"]
            partial = partial or match is not Match.NONE
        raise BadInput(errors.WRONG_METHOD if partial else errors.NO_SUCH_PATH)

    def _announced(self, request: Request, route: Route) -> None:
        """What the headers say of the body. Raises Refused api.11, BadInput api.16."""
        length = request.headers.get("content-length", "")
        if length and (not length.isdigit() or int(length) > route.max_bytes):
            raise Refused(errors.TOO_LARGE, f"{route.max_bytes} bytes")
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if route.media and media != route.media:
            raise BadInput(errors.WRONG_MEDIA, route.media)

    async def _body(self, request: Request, route: Route) -> bytes:
        """The whole body. Raises Refused api.11, api.12."""
        body = BytesIO()
        try:
            async with asyncio.timeout(self._limits.body_s):
                async for chunk in request.stream():
                    body.write(chunk)
                    if body.tell() > route.max_bytes:
                        raise Refused(errors.TOO_LARGE, f"{route.max_bytes} bytes")
        except TimeoutError as error:
            raise Refused(errors.TOO_SLOW) from error
        return body.getvalue()

    async def _check_body(self, head: Head, body: bytes) -> bytes | None:
        """See ``Guard``. A large one is hashed beside the event loop: the hash function lets go of the interpreter."""
        if len(body) < LARGE_BYTES:
            return self._guard.check_body(head, body)
        return await self._run(lambda: self._guard.check_body(head, body))


def _head(request: Request) -> Head:
    lines: dict[str, list[str]] = {}
    for name, value in request.headers.items():
        lines.setdefault(name, []).append(value)
    headers = {name: ", ".join(values) for name, values in lines.items()}
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope["raw_path"].decode("latin-1")
    url = f"https://{headers.get('host', '')}{path}{'?' + query if query else ''}"
    shown = request.scope.get("extensions", {}).get(CERTIFICATE)
    return Head(request.method, url, headers, shown)


def _traceparent(head: Head, caller: Caller, request: Request) -> str:
    """The trace that a request is part of: a worker of this node says so, or a member, of its call alone.

    Of others it is not heard: what a wallet would tell could tie its requests together.
    """
    told = request.client is None or not request.client.host or caller.kind == "member"
    return head.headers.get(TRACEPARENT, "") if told else ""


def _query(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in found:
            raise BadInput(errors.BAD_QUERY, "a parameter is given twice")
        found[name] = value
    return found


def _response(answer: Answer) -> Response:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff", **answer.headers}
    if answer.stream is not None:
        return StreamingResponse(answer.stream, answer.status, headers, answer.media)
    return Response(answer.body, answer.status, headers, answer.media)


async def _never(_: Request) -> Response:
    """Starlette's routes only match paths here."""
    raise AssertionError
