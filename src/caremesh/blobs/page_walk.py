"""Read every page of an LMDB database, in a process of its own: LMDB trusts its pages, and a damaged one may end it.

    python -m caremesh.blobs.page_walk FOLDER READERS [NAME …]

READERS: for how many its lock has room, when other processes may have it open; 0 when none has (a lock file has holes,
and a full disk no page for them). NAME: the databases in it that have names. Exit code 0 when every page could be read,
``DAMAGED`` when LMDB, or how many records it counts, says that one cannot; a signal says the same. Any other failure is
no word about the pages. Only ``pages`` runs it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

import lmdb

DAMAGED: Final = 9
_CORRUPT: Final = (
    lmdb.BadTxnError,
    lmdb.BadValsizeError,
    lmdb.CorruptedError,
    lmdb.CursorFullError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
)


def walk(folder: str, readers: int, names: list[str]) -> int:
    """Read the database in ``folder``; the exit code. Raises lmdb.Error, OSError when it cannot be opened."""
    try:
        env = lmdb.open(
            folder, readonly=True, create=False, max_dbs=len(names), lock=readers > 0, max_readers=readers or 1
        )
        with env.begin(buffers=True) as txn:
            for database in (None, *(name.encode() for name in names)):
                if not _is_whole(txn, env, database):
                    return DAMAGED
        with Path(os.devnull).open("wb") as nowhere:
            env.copyfd(nowhere.fileno(), compact=True)  # goes through the pages that are free, too
        env.close()
    except _CORRUPT:
        return DAMAGED
    return 0


def _is_whole(txn: lmdb.Transaction, env: lmdb.Environment, name: bytes | None) -> bool:
    """Touch both ends of every value; whether there are as many records as LMDB counted."""
    try:
        database: Any = env.open_db(name, txn, create=False)
    except lmdb.NotFoundError:  # not begun yet
        return True
    count = 0
    with txn.cursor(database) as cursor:
        for key, value in cursor:
            if key and value:
                _ = key[-1], value[0], value[-1]
            count += 1
    return bool(count == txn.stat(database)["entries"])


if __name__ == "__main__":
    sys.exit(walk(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
