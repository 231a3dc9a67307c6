"""``/custody/v1`` of one custodian. Everything that travels is under its maker's signature: who asked checks that."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

from caremesh.client import wire
from caremesh.client.node import Node
from caremesh.client.wire import AskErased, LogRoot
from caremesh.types import ConsentId, Count, StreamId

PREFIX: Final = "/custody/v1"


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
