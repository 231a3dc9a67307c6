"""A block store that makes good what it finds damaged or missing, out of what other members hold.

What others send is checked against its name before it is used or kept. A block that is not held for any stream here is
not brought here: whoever looks for it asks the others itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Protocol

from caremesh.blobs.errors import NOWHERE
from caremesh.blobs.interface import BlockStore, Gives, check_block
from caremesh.blobs.noticed import Notice, Noticed, silently
from caremesh.blobs.placement import preferred
from caremesh.codec import CID
from caremesh.errors import CareMeshError, Tampered, Unavailable
from caremesh.types import Did, StreamId


class Others(Protocol):
    """The way to the blocks of other members."""

    def fetch(self, stream: StreamId, cid: CID) -> bytes:
        """The block from whoever has it whole. Raises Unavailable blobs.09, naming who was asked."""
        ...


class OtherHolders:
    """Other members, asked one after the other, those first that a stream's blocks are placed at."""

    def __init__(self, ways: Mapping[Did, Gives], notice: Notice = silently) -> None:
        """``ways``: to each of them; who joins later may be added to it."""
        self._ways = ways
        self._notice = notice

    def fetch(self, stream: StreamId, cid: CID) -> bytes:
        """See ``Others``."""
        failed = []
        for did in preferred(stream, self._ways):
            way = self._ways.get(did)
            if way is None:  # it has left meanwhile
                continue
            try:
                data = way.get(cid)
                check_block(cid, data)
            except CareMeshError as error:
                if isinstance(error, Tampered):
                    self._notice(Noticed("damaged", cid, did))
                failed.append(f"{did}: {error.code}")
            else:
                return data
        raise Unavailable(NOWHERE, "; ".join([cid.encode(), *failed]))


class MendingBlocks:
    """A ``BlockStore`` over this member's own. Not for answering other members: they would ask back in circles."""

    def __init__(self, did: Did, store: BlockStore, others: Others, notice: Notice = silently) -> None:
        """``did``: whose store this is."""
        self._did = did
        self._store = store
        self._others = others
        self._notice = notice

    def get(self, cid: CID) -> bytes:
        """See ``BlockStore``. What is held here, but damaged or missing, is fetched from others and put back.

        Raises Unavailable blobs.09 when nobody has it whole.
        """
        try:
            return self._store.get(cid)
        except (Tampered, Unavailable) as error:
            streams = self._store.streams_of(cid)
            if not streams:
                raise
            self._notice(Noticed("damaged" if isinstance(error, Tampered) else "missing", cid, self._did))
            return self._mend(streams, cid)

    def put(self, stream: bytes, cid: CID, data: bytes) -> None:
        """See ``BlockStore``."""
        self._store.put(stream, cid, data)

    def put_all(self, stream: bytes, blocks: Mapping[CID, bytes]) -> None:
        """See ``BlockStore``."""
        self._store.put_all(stream, blocks)

    def put_many(self, held: Mapping[bytes, Mapping[CID, bytes]]) -> None:
        """See ``BlockStore``."""
        self._store.put_many(held)

    def has(self, cid: CID) -> bool:
        """See ``BlockStore``."""
        return self._store.has(cid)

    def delete(self, stream: bytes, cid: CID) -> None:
        """See ``BlockStore``."""
        self._store.delete(stream, cid)

    def streams_of(self, cid: CID) -> list[bytes]:
        """See ``BlockStore``."""
        return self._store.streams_of(cid)

    def names(self, after: CID | None, limit: int) -> list[CID]:
        """See ``BlockStore``."""
        return self._store.names(after, limit)

    def _mend(self, streams: list[StreamId], cid: CID) -> bytes:
        try:
            data = self._others.fetch(streams[0], cid)
        except Unavailable:
            self._notice(Noticed("not-repaired", cid, self._did))
            raise
        # Whoever asked gets it, also while the disk is full; the next reader, or the check, tries again to put it back.
        with contextlib.suppress(CareMeshError):
            self._store.put_many({stream: {cid: data} for stream in streams if self._still(stream, cid)})
            self._notice(Noticed("repaired", cid, self._did))
        return data

    def _still(self, stream: StreamId, cid: CID) -> bool:
        """Whether the stream has not been let go of meanwhile: what was erased must not come back."""
        return stream in self._store.streams_of(cid)
