"""Blocks in memory: for a mesh in one process and for tests of those who use a store."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from caremesh.blobs.interface import NOT_HELD, CheckedBlocks, check_block
from caremesh.codec import CID
from caremesh.errors import Unavailable


class MemoryBlocks:
    """A ``BlockStore`` that forgets everything when the process ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._data: dict[CID, bytes] = {}
        self._holders: dict[CID, set[bytes]] = {}

    def put(self, stream: bytes, cid: CID, data: bytes) -> None:
        """See ``BlockStore``."""
        self.put_all(stream, {cid: data})

    def put_all(self, stream: bytes, blocks: Mapping[CID, bytes]) -> None:
        """See ``BlockStore``."""
        self.put_many({stream: blocks})

    def put_many(self, held: Mapping[bytes, Mapping[CID, bytes]]) -> None:
        """See ``BlockStore``."""
        every = CheckedBlocks(*held.values())
        with self._lock:
            self._data.update(every)
            for stream, blocks in held.items():
                for cid in blocks:
                    self._holders.setdefault(cid, set()).add(stream)

    def get(self, cid: CID) -> bytes:
        """See ``BlockStore``."""
        with self._lock:
            data = self._data.get(cid)
        if data is None:
            raise Unavailable(NOT_HELD, cid.encode())
        check_block(cid, data)
        return data

    def has(self, cid: CID) -> bool:
        """See ``BlockStore``."""
        with self._lock:
            return cid in self._data

    def delete(self, stream: bytes, cid: CID) -> None:
        """See ``BlockStore``."""
        with self._lock:
            holders = self._holders.get(cid, set())
            holders.discard(stream)
            if not holders:
                self._holders.pop(cid, None)
                self._data.pop(cid, None)

    def streams_of(self, cid: CID) -> list[bytes]:
        """See ``BlockStore``."""
        with self._lock:
            return sorted(self._holders.get(cid, ()))

    def names(self, after: CID | None, limit: int) -> list[CID]:
        """See ``BlockStore``. In the order of their texts."""
        start = "" if after is None else after.encode()
        with self._lock:
            return sorted((cid for cid in self._holders if cid.encode() > start), key=CID.encode)[:limit]
