"""Between the processes of one node: a worker has found out who asks, and hands the request over a unix socket.

The socket is in a folder that only the node's own account can enter, so that whoever speaks there is the node itself.
The worker's routes keep their limits and guards; what they do is to pass on (``forwarded``). Behind the socket,
``HandedOver`` takes the worker's word, and still says which kind of caller may ask what.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final, cast, get_args
from urllib.parse import quote

from msgspec.structs import replace

from caremesh.api import errors
from caremesh.api.routes import Answer, Call, Caller, Handler, Kind, Route
from caremesh.api.signatures import Head
from caremesh.client import wire
from caremesh.client.node import Node
from caremesh.client.wire import HEIGHT, IDEMPOTENCY_KEY, REFUSED
from caremesh.errors import CareMeshError, Refused

CALLER: Final = "caremesh-caller"
"""Header: kind, a blank, the DID or ``did:key``, a blank, the key in base64url."""
_PASSED_ON: Final = (
    "last-event-id", "range", "if-range", "if-none-match", "accept", "authorization", "cache-control", IDEMPOTENCY_KEY
)  # fmt: skip
_GIVEN_BACK: Final = (
    "etag", "cache-control", "content-range", "accept-ranges", "location", "last-modified", "vary", "x-ipfs-path",
    "x-ipfs-roots", "content-disposition", "content-location", "access-control-allow-origin", HEIGHT, REFUSED,
)  # fmt: skip


class HandedOver:
    """The guard behind a unix socket."""

    def check(self, route: Route, head: Head) -> Caller:
        """See ``Guard``. Raises Refused api.01, api.05."""
        caller = _read(head.headers.get(CALLER, ""))
        if caller.kind not in route.callers:
            raise Refused(errors.NOT_ALLOWED, route.name)
        return caller

    def check_body(self, head: Head, body: bytes) -> None:
        """See ``Guard``: the worker has checked it."""


def forwarded(routes: Sequence[Route], node: Node) -> list[Route]:
    """The same routes at a worker, whose handlers ask the node behind ``node`` (a unix socket).

    Answers that are given once are remembered where the work is done.
    """
    return [replace(route, handler=_passes_on(route, node), once=False) for route in routes]


def spell(caller: Caller) -> str:
    """A caller as a header."""
    return f"{caller.kind} {caller.name} {wire.text_of(caller.key)}".rstrip()  # a header does not end in a blank


def _read(text: str) -> Caller:
    kind, _, rest = text.partition(" ")
    name, _, key = rest.partition(" ")
    if kind not in get_args(Kind) or bool(name) == (kind == "anyone"):
        raise Refused(errors.NOT_SIGNED, CALLER)
    try:
        return Caller(cast("Kind", kind), name, wire.bytes_of(key))
    except CareMeshError as error:
        raise Refused(errors.NOT_SIGNED, CALLER) from error


def _passes_on(route: Route, node: Node) -> Handler:
    async def handle(call: Call) -> Answer:
        headers = {name: call.headers[name] for name in _PASSED_ON if name in call.headers}
        headers[CALLER] = spell(call.caller)
        path = route.path
        for name, value in call.path.items():
            path = path.replace(f"{{{name}}}", quote(value, safe="")).replace(f"{{{name}:path}}", quote(value))
        if route.streams:
            return Answer(media=route.answer_media, stream=await _stream(node, path, call, headers))
        answer = await node.call(
            route.method,
            path,
            call.body if route.media else None,
            media=route.media,
            query=call.query,
            headers=headers,
            safe=False,
            problems=False,
        )
        given = {name: answer.headers[name] for name in _GIVEN_BACK if name in answer.headers}
        return Answer(answer.body, answer.headers.get("content-type", route.answer_media), answer.status, given)

    return handle


async def _stream(node: Node, path: str, call: Call, headers: dict[str, str]) -> AsyncIterator[bytes]:
    """The bytes of a stream as they come; a problem at its beginning is raised before anything is answered."""
    chunks = node.chunks(path, query=call.query, headers=headers)
    first = await anext(chunks, b"")

    async def rest() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    return rest()
