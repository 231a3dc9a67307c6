"""Before an LMDB database is opened: whether each of its pages can be read.

LMDB maps its file and follows what stands there. A changed byte in a page can lead it out of the file, and the process
is gone (SIGSEGV, SIGBUS) before anybody could say what is damaged. So another process reads it first.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from caremesh.blobs import page_walk
from caremesh.errors import ErrorCode, StorageFailed, Tampered

FILE: Final = "data.mdb"
NOT_CHECKED = ErrorCode(
    "storage.02",
    "Whether this database is whole could not be checked.",
    "Look whether the machine has memory and processes left, and start again.",
)
DAMAGED = ErrorCode(
    "storage.03",
    "The database in this folder is damaged.",
    "Restore the folder from a backup, or from its owner's copies.",
)
_DIED_OF_IT: Final = frozenset({signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV})


def check_pages(folder: Path, damaged: ErrorCode = DAMAGED, names: Sequence[str] = (), readers: int = 0) -> None:
    """Read all of the database in ``folder`` (nothing when there is none yet), and of those in it that have ``names``.

    ``readers``: for how many its lock has room, when other processes may have it open now.
    Raises Tampered ``damaged`` when a page cannot be read, StorageFailed storage.02 when no process could try.
    """
    try:
        if not (folder / FILE).stat().st_size:
            return
    except OSError:  # there is none, or the opener will say what is wrong with it
        return
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module, and a folder of ours
            [sys.executable, "-P", "-m", page_walk.__name__, str(folder), str(readers), *names],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        raise StorageFailed(NOT_CHECKED, folder.name) from error
    if done.returncode == page_walk.DAMAGED or -done.returncode in _DIED_OF_IT:
        raise Tampered(damaged, FILE)
    if done.returncode < 0:  # somebody else ended it
        raise StorageFailed(NOT_CHECKED, folder.name)
