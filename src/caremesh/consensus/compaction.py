"""Compaction: the database in a new file, without the free pages in which what was erased may still lie.

The writer copies the database, then removes LMDB's lock file and puts the copy in the place of the old file. A process
that only reads keeps the old file until it notices that the lock file is another one, and then opens both anew. A crash
at any moment leaves the old database or the new one; what an unfinished copy left is removed at the next compaction.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from caremesh.errors import StorageFailed
from caremesh.ledger.store import NOT_WRITTEN, Store

_COPY: Final = "compacted"


def compact(store: Store, folder: Path) -> None:
    """Compact the writer's store in its folder; nothing is read or committed meanwhile. Raises StorageFailed."""
    copy = folder / _COPY
    try:
        with store.gate.exclusive():
            shutil.rmtree(copy, ignore_errors=True)
            copy.mkdir(mode=0o700)
            store.compact(str(copy))
            _sync(copy / "data.mdb")

            store.reopen(lambda: put_in_place(copy, folder))
            shutil.rmtree(copy, ignore_errors=True)
    except OSError as error:
        raise StorageFailed(NOT_WRITTEN, folder.name) from error


def put_in_place(copy: Path, folder: Path) -> None:
    """Put the database of the folder ``copy``, which nobody has open, in the place of ``folder``'s. Raises OSError."""
    (folder / "lock.mdb").unlink(missing_ok=True)
    (copy / "data.mdb").replace(folder / "data.mdb")
    _sync(folder)


def open_for_reading(folder: Path, chain: str) -> Store:
    """The store for a process that does not write it; for one thread. Raises WrongLedger, StorageFailed, Tampered."""
    inode = _inode(folder)

    def moved() -> bool:
        nonlocal inode
        before, inode = inode, _inode(folder) or inode
        return inode != before

    return Store(str(folder), chain, readonly=True, moved=moved)


def _inode(folder: Path) -> int:
    try:
        return (folder / "lock.mdb").stat().st_ino
    except FileNotFoundError:  # no ledger here, or the writer is just putting the new file in place
        return 0


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
