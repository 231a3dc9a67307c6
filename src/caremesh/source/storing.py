"""Blocks to the members that hold them, while the next segments are sealed; some megabytes at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from caremesh.blobs.copies import Copies, Short
from caremesh.codec import CID
from caremesh.types import StreamId

_AT_ONCE: Final = 2
"""Groups that wait for the stores."""
_GROUP_BYTES: Final = 4 * 1024 * 1024
"""What is stored, and synced, together."""
_CALLS: Final = 16

Group = dict[StreamId, dict[CID, bytes]]


class Stored:
    """What one import stores. ``wait`` before anything depends on it."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._groups = ThreadPoolExecutor(_AT_ONCE)
        self._calls = ThreadPoolExecutor(_CALLS)
        self._waiting: deque[tuple[Group, Future[dict[StreamId, Short]]]] = deque()
        self._group: Group = {}
        self._group_bytes = 0
        self.short: dict[CID, Short] = {}
        """Once ``wait`` has returned: blocks that are at too few members."""

    def put(self, stream: StreamId, blocks: Mapping[CID, bytes]) -> None:
        """Begin to store a segment's blocks. Raises StorageFailed for an earlier one that nobody took."""
        self._group.setdefault(stream, {}).update(blocks)
        self._group_bytes += sum(map(len, blocks.values()))
        if self._group_bytes >= _GROUP_BYTES:
            self._send()

    def wait(self) -> None:
        """Everything is durable, at enough members or else named in ``short``. Raises StorageFailed."""
        try:
            self._send()
            while self._waiting:
                self._finish()
        finally:
            self._groups.shutdown(wait=True, cancel_futures=True)
            self._calls.shutdown(wait=True, cancel_futures=True)

    def _send(self) -> None:
        if len(self._waiting) == _AT_ONCE:
            self._finish()
        group, self._group, self._group_bytes = self._group, {}, 0
        if group:
            self._waiting.append((group, self._groups.submit(self._copies.put_many, group, self._calls)))

    def _finish(self) -> None:
        group, future = self._waiting.popleft()
        for stream, short in future.result().items():
            self.short.update(dict.fromkeys(group[stream], short))
