"""Which nonces were used: one small LMDB for all worker processes of a node, not synced.

It outlives a process, not the machine: what it may have forgotten is refused by time instead (``born``). Its room on
the disk is taken when it is made, so that on a full disk requests that only read are still answered.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import lmdb

from caremesh.api.errors import BUSY
from caremesh.blobs.durable import take_room
from caremesh.blobs.pages import check_pages
from caremesh.crypto.hashes import sha256
from caremesh.errors import StorageFailed, Tampered, Unavailable
from caremesh.ledger.store import NOT_WRITTEN
from caremesh.types import Seconds

MAP_BYTES: Final = 64 * 2**20
"""Room for about 400,000 nonces; at 60 s of life each, for 6,000 requests a second."""
SWEPT: Final = 8
"""Rows that are forgotten, if their time is over, whenever one comes: more than come."""
_NAME_BYTES: Final = 16
_MAX_READERS: Final = 64
_DATABASES: Final = ("used", "order", "known")
_BORN: Final = b"born"


class NonceStore:
    """See ``api.signatures.Nonces``. Any thread, any process."""

    def __init__(self, folder: Path, clock: Callable[[], Seconds], map_bytes: int = MAP_BYTES) -> None:
        """Open or create. What cannot be opened was broken by a crash of the machine, and begins anew.

        Raises StorageFailed ledger.31 when it cannot be made.
        """
        self._clock = clock
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                check_pages(folder, names=_DATABASES, readers=_MAX_READERS)
                self._open(folder, map_bytes)
            except (lmdb.Error, Tampered):
                shutil.rmtree(folder)
                folder.mkdir(mode=0o700)
                self._open(folder, map_bytes)
        except (OSError, lmdb.Error) as error:
            raise StorageFailed(NOT_WRITTEN, folder.name) from error

    def use(self, name: bytes, created: Seconds, until: Seconds) -> bool:
        """See ``Nonces``. Raises Unavailable api.22 when it is full."""
        short = sha256(name)[:_NAME_BYTES]
        now = self._clock()
        try:
            with self._env.begin(write=True) as txn:
                self._sweep(txn, now)
                if created < self.born or not txn.put(short, b"", db=self._used, overwrite=False):
                    return False
                txn.put(until.to_bytes(8) + short, b"", db=self._order)
        except lmdb.Error as error:  # full, or the disk takes nothing: who cannot be told from a replay waits
            raise Unavailable(BUSY) from error
        return True

    def close(self) -> None:
        """Let go of the file."""
        self._env.close()

    def _open(self, folder: Path, map_bytes: int) -> None:
        self._env = lmdb.open(
            str(folder),
            map_size=map_bytes,
            max_dbs=len(_DATABASES),
            sync=False,
            metasync=False,
            max_readers=_MAX_READERS,
            mode=0o600,
        )
        take_room(folder / "data.mdb", map_bytes)
        take_room(folder / "lock.mdb", (folder / "lock.mdb").stat().st_size)
        self._used, self._order, known = (self._env.open_db(name.encode()) for name in _DATABASES)
        with self._env.begin(write=True) as txn:
            txn.put(_BORN, self._clock().to_bytes(8), db=known, overwrite=False)
            self.born: Seconds = int.from_bytes(txn.get(_BORN, db=known) or b"")

    def _sweep(self, txn: lmdb.Transaction, now: Seconds) -> None:
        cursor = txn.cursor(db=self._order)
        for _ in range(SWEPT):
            if not cursor.first() or int.from_bytes(cursor.key()[:8]) >= now:
                return
            txn.delete(cursor.key()[8:], db=self._used)
            cursor.delete()
