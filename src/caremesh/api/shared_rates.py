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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from caremesh.api.errors import TOO_MANY
from caremesh.blobs.durable import take_room
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
            take_room(file, _KEY_BYTES + self._sets * _SET_BYTES)  # for all, as long as there is room
            key = self._begin()
        except OSError as error:
            raise StorageFailed(NOT_WRITTEN, file.name) from error
        self._key: Final = key

    def _begin(self) -> bytes:
        """The key of the file, drawn by whoever opens it first."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            os.ftruncate(self._file, _KEY_BYTES + self._sets * _SET_BYTES)
            key = os.pread(self._file, _KEY_BYTES, 0)
            if key == bytes(_KEY_BYTES):
                key = os.urandom(_KEY_BYTES)
                os.pwrite(self._file, key, 0)
            return key
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def check(self, caller: str) -> None:
        """Raises Refused api.13 when there have been too many requests."""
        self._ask(caller, needs=1, counts=0)

    def count(self, caller: str) -> None:
        """Count one request."""
        self._ask(caller, needs=0, counts=1)

    def take(self, caller: str, many: int = 1) -> None:
        """Both in one. More than the burst at once are let through when nothing of it is used."""
        self._ask(caller, needs=min(many, self._burst), counts=many)

    def _ask(self, caller: str, *, needs: int, counts: int) -> None:
        digest = hashlib.blake2b(caller.encode(), key=self._key, digest_size=16).digest()
        tag, at = digest[:8], _KEY_BYTES + int.from_bytes(digest[8:]) % self._sets * _SET_BYTES
        fcntl.flock(self._file, fcntl.LOCK_EX)  # the system takes it from a process that dies
        try:
            rows, now = os.pread(self._file, _SET_BYTES, at), self._monotonic()
            slot = _slot_of(rows, tag)
            left = float(self._burst) if slot < 0 else self._left(rows, slot, now)
            if left < needs:
                raise Refused(TOO_MANY)
            if counts:
                slot = slot if slot >= 0 else _oldest(rows, now)
                with suppress(OSError):  # a disk that takes nothing: requests that read are answered, uncounted
                    os.pwrite(self._file, _SLOT.pack(tag, max(0.0, left - counts), now), at + slot)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _left(self, rows: bytes, slot: int, now: float) -> float:
        _, left, since = _SLOT.unpack_from(rows, slot)
        if not since <= now:
            return float(self._burst)
        return float(min(self._burst, left + (now - since) * self._per_second))


def _slot_of(rows: bytes, tag: bytes) -> int:
    """Where a caller's row begins; -1 when it has none."""
    at = rows.find(tag)
    while at >= 0 and at % _SLOT.size:
        at = rows.find(tag, at + 1)
    return at


def _oldest(rows: bytes, now: float) -> int:
    """Where a row is free, or not heard of for the longest time."""
    ages = [
        (-1.0 if tag == _EMPTY or not since <= now else since, number * _SLOT.size)
        for number, (tag, _, since) in enumerate(_SLOT.iter_unpack(rows))
    ]
    return min(ages)[1]
