"""``/ledger/v1`` of a node."""

from __future__ import annotations

from typing import Final

from caremesh import codec
from caremesh.client import wire
from caremesh.client.node import Node
from caremesh.client.wire import NodeStatus
from caremesh.consensus.interface import Committed

PREFIX: Final = "/ledger/v1"


class LedgerClient:
    """The ledger at one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def status(self) -> NodeStatus:
        """Where the node's copy stands. Raises what ``Node.call`` raises."""
        answer = await self._node.call("GET", f"{PREFIX}/status")
        return wire.from_json(answer.body, NodeStatus)

    async def submit(self, raw: bytes) -> Committed:
        """Put a signed transaction into a block. May be tried again: the same one is counted once.

        Raises what ``Engine.submit`` and ``Node.call`` raise.
        """
        answer = await self._node.call("POST", f"{PREFIX}/transactions", raw, safe=True)
        return codec.decode_as(answer.body, Committed)
