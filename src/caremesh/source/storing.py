"""Blocks to all stores at once, while the next segments are sealed; some megabytes at a time, so memory stays small."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from caremesh.blobs.interface import BlockStore
from caremesh.codec import CID
from caremesh.types import StreamId

_AT_ONCE: Final = 2
"""Groups that wait for a store."""
_GROUP_BYTES: Final = 4 * 1024 * 1024
"""What is stored, and synced, together."""


class Stored:
    """What one import stores. ``wait`` before anything depends on it."""

    def __init__(self, stores: Sequence[BlockStore]) -> None:
        self._stores = stores
        self._pool = ThreadPoolExecutor(max(len(stores), 1))
        self._waiting: deque[list[Future[None]]] = deque()
        self._group: dict[StreamId, dict[CID, bytes]] = {}
        self._group_bytes = 0

    def put(self, stream: StreamId, blocks: Mapping[CID, bytes]) -> None:
        """Begin to store a segment's blocks. Raises StorageFailed for an earlier one."""
        self._group.setdefault(stream, {}).update(blocks)
        self._group_bytes += sum(map(len, blocks.values()))
        if self._group_bytes >= _GROUP_BYTES:
            self._send()

    def wait(self) -> None:
        """Everything is in every store, durably. Raises StorageFailed."""
        try:
            self._send()
            while self._waiting:
                self._finish(self._waiting.popleft())
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _send(self) -> None:
        if len(self._waiting) == _AT_ONCE:
            self._finish(self._waiting.popleft())
        group, self._group, self._group_bytes = self._group, {}, 0
        if group:
            self._waiting.append([self._pool.submit(store.put_many, group) for store in self._stores])

    def _finish(self, futures: list[Future[None]]) -> None:
        for future in futures:
            future.result()
