"""Token buckets that all worker processes of a node share, so that a limit holds for the node, not for each of them.

One small file, read and written under its lock, for microseconds, as that of the nonces is. Room for so many callers,
in sets of eight: in a set that is full, who was not heard of for the longest time is forgotten. Names stand there as
keyed hashes. Time is the machine's monotonic clock, the same for all processes; what was written before the machine was
started anew lies in the future, and does not count.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from caremesh.api.errors import TOO_MANY
from caremesh.errors import Refused, StorageFailed
from caremesh.ledger.store import NOT_WRITTEN

_SLOT: Final = struct.Struct("<8sdd")
"""Tag of a caller, what was left, and when (seconds, monotonic)."""
_WAYS: Final = 8
_SET_BYTES: Final = _SLOT.size * _WAYS
_KEY_BYTES: Final = 16
_EMPTY: Final = bytes(8)


class SharedRates:
    """As ``limits.Rates``, for all processes that have the file open. Close it."""

    def __init__(
        self,
        file: Path,
        per_second: float,
        burst: int,
        max_callers: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open or create. Raises StorageFailed ledger.30."""
        self._per_second: Final = per_second
        self._burst: Final = burst
        self._sets: Final = max(1, -(-max_callers // _WAYS))
        self._monotonic: Final = monotonic
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with self._held():
                os.ftruncate(self._file, _KEY_BYTES + self._sets * _SET_BYTES)
                key = os.pread(self._file, _KEY_BYTES, 0)
                if key == bytes(_KEY_BYTES):
                    key = os.urandom(_KEY_BYTES)
                    os.pwrite(self._file, key, 0)
        except OSError as error:
            raise StorageFailed(NOT_WRITTEN, file.name) from error
        self._key: Final = key

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def check(self, caller: str) -> None:
        """Raises Refused api.13 when there have been too many requests."""
        tag, at = self._place(caller)
        with self._held():
            slots, now = self._read(at), self._monotonic()
        if self._left(slots.get(tag), now) < 1:
            raise Refused(TOO_MANY)

    def count(self, caller: str) -> None:
        """Count one request."""
        tag, at = self._place(caller)
        with self._held():
            slots, now = self._read(at), self._monotonic()
            left = max(0.0, self._left(slots.pop(tag, None), now) - 1)
            newest = sorted(slots.items(), key=lambda each: each[1][1] if each[1][1] <= now else 0.0, reverse=True)
            kept = [(tag, (left, now)), *newest[: _WAYS - 1]]
            os.pwrite(self._file, b"".join(_SLOT.pack(name, *row) for name, row in kept), at)

    def _place(self, caller: str) -> tuple[bytes, int]:
        digest = hashlib.blake2b(caller.encode(), key=self._key, digest_size=16).digest()
        return digest[:8], _KEY_BYTES + int.from_bytes(digest[8:]) % self._sets * _SET_BYTES

    def _read(self, at: int) -> dict[bytes, tuple[float, float]]:
        rows = _SLOT.iter_unpack(os.pread(self._file, _SET_BYTES, at))
        return {tag: (left, since) for tag, left, since in rows if tag != _EMPTY}

    def _left(self, row: tuple[float, float] | None, now: float) -> float:
        if row is None or not row[1] <= now:
            return float(self._burst)
        return min(self._burst, row[0] + (now - row[1]) * self._per_second)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Under the lock; the system takes it from a process that dies."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
