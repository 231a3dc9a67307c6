"""Pages of other origins, such as a web wallet, that a browser may let ask this node: an allow-list, empty by default.

The Fetch standard's CORS protocol: a preflight is answered here and goes no further; an answer to an origin on the list
says so, and which of its headers a page may read. Cookies are never meant: requests are signed. What anyone may read
anyway (the gateway of blocks) says so itself. An origin that is not on the list gets what it got before, and its
browser keeps that from the page.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from caremesh.client.wire import IDEMPOTENCY_KEY, TO

METHODS: Final = "GET, HEAD, POST, PUT, DELETE"
ASKED: Final = (
    "content-type", "content-digest", "signature", "signature-input", TO, "accept", "authorization", "last-event-id",
    "range", "if-range", "if-none-match", "cache-control", IDEMPOTENCY_KEY,
)  # fmt: skip
"""What a request may bring along."""
TOLD: Final = "retry-after, etag, content-range, accept-ranges, accept-signature, www-authenticate, content-location"
"""What a page may read of an answer, beside what it always may."""
FOR_S: Final = 600
"""So long a browser may remember the answer to a preflight."""
_ALLOW: Final = "access-control-allow-origin"


def with_origins(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """The app, for pages of these origins too (``https://wallet.example``); the app itself when there are none."""
    if not origins:
        return app
    allowed = frozenset(origins)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        if origin not in allowed:
            await app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = MutableHeaders(raw=list(message["headers"]))
                if _ALLOW not in given:
                    given[_ALLOW] = origin
                    given.add_vary_header("origin")
                given["access-control-expose-headers"] = TOLD
                message = {**message, "headers": given.raw}
            await send(message)

        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _preflight(told)
        else:
            await app(scope, receive, told)

    return answer


async def _preflight(send: Send) -> None:
    given = MutableHeaders(
        {
            "access-control-allow-methods": METHODS,
            "access-control-allow-headers": ", ".join(ASKED),
            "access-control-max-age": str(FOR_S),
            "content-length": "0",
        }
    )
    await send({"type": "http.response.start", "status": 204, "headers": given.raw})
    await send({"type": "http.response.body", "body": b""})
