"""Blocks to all stores at once, while the next segment is sealed; a few segments at a time, so memory stays small."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from caremesh.blobs.interface import BlockStore
from caremesh.codec import CID
from caremesh.types import StreamId

_AT_ONCE: Final = 2
"""Segments that wait for a store."""


class Stored:
    """What one import stores. ``wait`` before anything depends on it."""

    def __init__(self, stores: Sequence[BlockStore]) -> None:
        self._stores = stores
        self._pool = ThreadPoolExecutor(max(len(stores), 1))
        self._waiting: deque[list[Future[None]]] = deque()

    def put(self, stream: StreamId, blocks: Mapping[CID, bytes]) -> None:
        """Begin to store a segment's blocks. Raises StorageFailed for an earlier one."""
        if len(self._waiting) == _AT_ONCE:
            self._finish(self._waiting.popleft())
        self._waiting.append([self._pool.submit(store.put_all, stream, blocks) for store in self._stores])

    def wait(self) -> None:
        """Everything is in every store, durably. Raises StorageFailed."""
        try:
            while self._waiting:
                self._finish(self._waiting.popleft())
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _finish(self, futures: list[Future[None]]) -> None:
        for future in futures:
            future.result()
