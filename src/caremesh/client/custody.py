"""``/custody/v1`` of one custodian. Everything that travels is under its maker's signature: who asked checks that."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from caremesh import codec
from caremesh.client import wire
from caremesh.client.node import Node
from caremesh.client.wire import AskErased, LogRoot, ReleasePart
from caremesh.errors import BadInput, CareMeshError
from caremesh.types import ConsentId, Count, StreamId

PREFIX: Final = "/custody/v1"
TOGETHER: Final = "release-batches"
_NO_SUCH_PATH: Final = "api.14"
MAX_RELEASES: Final = 64
"""Requests for releases in one body."""
MAX_RELEASES_BYTES: Final = 256 * 1024
"""Of the requests in one body; the answer is some twenty times as large."""


def pieces(data: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Requests in the order given, as many at a time as one body may have."""
    some: list[bytes] = []
    for each in data:
        if some and (len(some) == MAX_RELEASES or sum(map(len, some)) + len(each) > MAX_RELEASES_BYTES):
            yield some
            some = []
        some.append(each)
    if some:
        yield some


class CustodyClient:
    """One custodian. All methods raise what the custodian and ``Node.call`` raise."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def deposit_fragment(self, sealed: bytes) -> bytes:
        """See ``Custodian.deposit_fragment``. The same deposit again does no harm."""
        return await self._one("fragments", sealed, safe=True)

    async def deposit_seals(self, data: Sequence[bytes]) -> list[bytes]:
        """See ``Custodian.deposit_seals``."""
        return wire.each_of(await self._one("seals", wire.several(list(data)), safe=True))

    async def deposit_reseal(self, sealed: bytes) -> bytes:
        """See ``Custodian.deposit_reseal``."""
        return await self._one("reseals", sealed, safe=True)

    async def release(self, data: bytes) -> list[bytes]:
        """See ``Custodian.release``. Tried again under one key: a request is answered, and logged, once."""
        once = {wire.IDEMPOTENCY_KEY: wire.text_of(os.urandom(16))}
        return wire.each_of(await self._one("releases", data, safe=True, headers=once))

    async def release_each(self, data: Sequence[bytes]) -> list[list[bytes] | CareMeshError]:
        """See ``Custodian.release_each``: in one request, or in several when it would be too large.

        One by one where the node is of a version that does not take several.
        """
        if len(data) == 1:
            return [await self._released(data[0])]
        try:
            return await self._release_together(data)
        except BadInput as error:
            if error.code != _NO_SUCH_PATH:
                raise
        return [await self._released(each) for each in data]

    async def _released(self, data: bytes) -> list[bytes] | CareMeshError:
        try:
            return await self.release(data)
        except CareMeshError as error:
            return error

    async def _release_together(self, data: Sequence[bytes]) -> list[list[bytes] | CareMeshError]:
        found: list[list[bytes] | CareMeshError] = []
        for some in pieces(data):
            once = {wire.IDEMPOTENCY_KEY: wire.text_of(os.urandom(16))}
            answer = await self._one(TOGETHER, wire.several(some), safe=True, headers=once)
            parts = codec.decode_as(answer, list[ReleasePart])
            if len(parts) != len(some):
                raise BadInput(wire.NOT_UNDERSTOOD, "releases")
            found += [wire.error_of(part.problem) if part.problem else part.releases for part in parts]
        return found

    async def seals(self, data: bytes) -> bytes:
        """See ``Custodian.seals``."""
        return await self._one("own-seals", data, safe=False)

    async def stream_log(self, data: bytes) -> bytes:
        """See ``Custodian.stream_log``."""
        return await self._one("own-logs", data, safe=False)

    async def confirm_erased(self, stream: StreamId, segment: Count) -> list[bytes]:
        """What this member confirms of an erased segment: all that it might have kept."""
        asked = wire.to_json(AskErased(stream=wire.text_of(stream), segment=segment))
        answer = await self._node.call("POST", f"{PREFIX}/erasures", asked, media=wire.JSON, safe=True)
        return wire.each_of(answer.body)

    async def confirm_destroyed(self, consent: ConsentId) -> bytes:
        """See ``Custodian.confirm_destroyed``."""
        answer = await self._node.call("GET", f"{PREFIX}/destructions/{wire.text_of(consent)}")
        return answer.body

    async def log_root(self) -> LogRoot:
        """What this custodian would anchor now."""
        answer = await self._node.call("GET", f"{PREFIX}/log")
        return wire.from_json(answer.body, LogRoot)

    async def _one(self, what: str, body: bytes, *, safe: bool, headers: Mapping[str, str] | None = None) -> bytes:
        return (await self._node.call("POST", f"{PREFIX}/{what}", body, safe=safe, headers=headers)).body
