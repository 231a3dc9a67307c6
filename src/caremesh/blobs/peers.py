"""Blocks of another member, over the network: a ``BlockStore`` like any other.

What comes is checked against its name, and an error names the member besides the block. What is put goes in requests of
a few megabytes; when one of them fails, what the others added is taken back as far as the member lets us.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

from caremesh.blobs.interface import check_block
from caremesh.codec import CID
from caremesh.errors import CareMeshError, Tampered
from caremesh.types import Did, StreamId

MAX_PUT_BYTES: Final = 8 * 2**20
"""Of the blocks in one request."""
_MAX_PUT_ROWS: Final = 1_024


class Brought(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One block for one stream, as it travels."""

    stream: StreamId
    cid: CID
    data: bytes


class PeerWay(Protocol):
    """What another member is asked for its blocks by. All raise what it answers, and Unavailable client.NN."""

    def get_block(self, cid: CID) -> bytes:
        """Its bytes, not yet checked."""
        ...

    def has_block(self, cid: CID) -> bool:
        """Whether it is there, whole."""
        ...

    def put_blocks(self, rows: Sequence[Brought]) -> list[bool]:
        """Hold all, durably, or none; of each whether it was not held for its stream before."""
        ...

    def delete_block(self, stream: StreamId, cid: CID) -> None:
        """Give up what this member brought."""
        ...

    def streams_of_block(self, cid: CID) -> list[StreamId]:
        """For which streams it is held."""
        ...

    def block_names(self, after: CID | None, limit: int) -> list[CID]:
        """What is held, from a place on."""
        ...


class PeerBlocks:
    """The blocks of one other member."""

    def __init__(self, did: Did, way: Callable[[], PeerWay]) -> None:
        """``way``: found when it is needed; it may raise when the member has no address now."""
        self._did = did
        self._way = way

    def put(self, stream: bytes, cid: CID, data: bytes) -> None:
        """See ``BlockStore``."""
        self.put_many({stream: {cid: data}})

    def put_all(self, stream: bytes, blocks: Mapping[CID, bytes]) -> None:
        """See ``BlockStore``."""
        self.put_many({stream: blocks})

    def put_many(self, held: Mapping[bytes, Mapping[CID, bytes]]) -> None:
        """See ``BlockStore``."""
        rows = [Brought(stream, cid, data) for stream, blocks in held.items() for cid, data in blocks.items()]
        for row in rows:
            check_block(row.cid, row.data)
        way, added = self._way(), list[Brought]()
        try:
            for some in _requests(rows):
                new = way.put_blocks(some)
                added += [row for row, is_new in zip(some, new, strict=True) if is_new]
        except BaseException:
            for row in added:
                with contextlib.suppress(CareMeshError):
                    way.delete_block(row.stream, row.cid)
            raise

    def get(self, cid: CID) -> bytes:
        """See ``BlockStore``."""
        data = self._way().get_block(cid)
        try:
            check_block(cid, data)
        except Tampered as error:
            raise Tampered(error.error, f"{cid.encode()} at {self._did}") from error
        return data

    def has(self, cid: CID) -> bool:
        """See ``BlockStore``."""
        return self._way().has_block(cid)

    def delete(self, stream: bytes, cid: CID) -> None:
        """See ``BlockStore``. Raises Refused blobs.06, blobs.07 besides."""
        self._way().delete_block(stream, cid)

    def streams_of(self, cid: CID) -> list[bytes]:
        """See ``BlockStore``."""
        return self._way().streams_of_block(cid)

    def names(self, after: CID | None, limit: int) -> list[CID]:
        """See ``BlockStore``."""
        return self._way().block_names(after, limit)


def _requests(rows: Sequence[Brought]) -> Iterator[list[Brought]]:
    """The blocks, in pieces that a request may hold."""
    some: list[Brought] = []
    size = 0
    for row in rows:
        if some and (size + len(row.data) > MAX_PUT_BYTES or len(some) == _MAX_PUT_ROWS):
            yield some
            some, size = [], 0
        some.append(row)
        size += len(row.data)
    if some:
        yield some
