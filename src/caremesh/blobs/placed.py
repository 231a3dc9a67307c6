"""The blocks of one stream, wherever it is placed: brought to as many members as the network wants, got from any.

Both go from one member to the next where one fails, is silent or lies; who did is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from caremesh.blobs.copies import Copies
from caremesh.blobs.interface import Way, check_block
from caremesh.blobs.mending import OtherHolders
from caremesh.codec import CID
from caremesh.errors import CareMeshError
from caremesh.types import Count, Did, StreamId

Failed = Callable[[Did, CareMeshError], None]


class PlacedBlocks:
    """Of one stream. Any thread may call."""

    def __init__(
        self, stream: StreamId, source: Did, ways: Mapping[Did, Way], replicas: Callable[[], Count], failed: Failed
    ) -> None:
        """``source``: of the stream; ``ways``: to each member that holds blocks; ``failed``: told who did, and why."""
        self._stream = stream
        told = {did: _Told(did, way, failed) for did, way in ways.items()}
        self._copies = Copies(source, told, replicas)
        self._holders = OtherHolders(told)

    def put(self, blocks: Mapping[CID, bytes]) -> None:
        """Hold all, durably, at ``replicas`` members. Raises Unavailable blobs.08, or why not one took them."""
        if blocks:
            self._copies.put(self._stream, blocks)

    def get(self, cid: CID) -> bytes:
        """A block that is what its name says. Raises Unavailable blobs.09, naming who was asked."""
        return self._holders.fetch(self._stream, cid)


class _Told:
    def __init__(self, did: Did, way: Way, failed: Failed) -> None:
        self._did = did
        self._way = way
        self._failed = failed

    def put_many(self, held: Mapping[bytes, Mapping[CID, bytes]]) -> None:
        try:
            self._way.put_many(held)
        except CareMeshError as error:
            self._failed(self._did, error)
            raise

    def get(self, cid: CID) -> bytes:
        try:
            data = self._way.get(cid)
            check_block(cid, data)
        except CareMeshError as error:
            self._failed(self._did, error)
            raise
        return data
