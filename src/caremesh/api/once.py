"""The same request again, under the same idempotency key, gets the same answer (draft-ietf-httpapi-idempotency-key).

For what must not happen twice, and whose answer may be lost on the way. Kept in the memory of the one process that does
the work, for a while: afterwards the request itself is too old to be answered (custodians refuse by its time).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from caremesh.api import errors
from caremesh.api.routes import Answer, Call, Handler
from caremesh.client.wire import IDEMPOTENCY_KEY
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, Refused, Unavailable

MAX_KEY_CHARACTERS: Final = 64
KEPT_S: Final = 120.0
MAX_KEPT: Final = 1_000
MAX_KEPT_BYTES: Final = 32 * 2**20


class _Kept(NamedTuple):
    asked: bytes
    until: float
    answer: Answer | None
    """None while it is being worked out."""


class Once:
    """Answers by caller and key. Of one event loop."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic: Final = monotonic
        self._kept: Final[OrderedDict[tuple[str, str, str], _Kept]] = OrderedDict()
        self._bytes = 0

    async def answer(self, route: str, handler: Handler, call: Call) -> Answer:
        """What the handler answers, or answered before. Without a key, the handler is asked.

        Only success is kept: who was refused may try again. Raises Refused api.20; Unavailable api.21; BadInput api.17.
        """
        key = call.headers.get(IDEMPOTENCY_KEY)
        if key is None:
            return await handler(call)
        if not 1 <= len(key) <= MAX_KEY_CHARACTERS:
            raise BadInput(errors.BAD_QUERY, IDEMPOTENCY_KEY)
        self._forget()
        name, asked = (call.caller.name, route, key), sha256(call.body)
        known = self._kept.get(name)
        if known is not None and known.asked != asked:
            raise Refused(errors.KEY_REUSED)
        if known is not None and known.answer is None:
            raise Unavailable(errors.IN_PROGRESS)
        if known is not None and known.answer is not None:
            return known.answer
        until = self._monotonic() + KEPT_S
        self._kept[name] = _Kept(asked, until, None)
        try:
            answer = await handler(call)
        except BaseException:
            del self._kept[name]
            raise
        self._kept[name] = _Kept(asked, until, answer)
        self._bytes += len(answer.body)
        return answer

    def _forget(self) -> None:
        """What is over, and the oldest of what is too much; never what is being worked out."""
        now = self._monotonic()
        for name, kept in list(self._kept.items()):
            full = len(self._kept) > MAX_KEPT or self._bytes > MAX_KEPT_BYTES
            if kept.until > now and not full:
                return
            if kept.answer is not None:
                self._bytes -= len(kept.answer.body)
                del self._kept[name]
