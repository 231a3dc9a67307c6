"""Room on the disk, taken before it is needed.

A file that is mapped into memory and has holes ends its process (SIGBUS) when a full disk has no page for a hole. What
processes of a node map, they therefore fill at the beginning; where there is no room, they do without.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client import values

from caremesh.blobs.durable import take_room

COUNTED: Final = ("counter", "histogram")
"""The kinds of metrics of which a process keeps a file each."""
_BYTES: Final = 64 * 1024
"""What the Prometheus client begins a file with."""


def for_metrics(folder: Path) -> bool:
    """For this process's files, before it counts anything. False when it counts for itself alone, in memory."""
    mine = [folder / f"{kind}_{os.getpid()}.db" for kind in COUNTED]
    if all(take_room(file, _BYTES) for file in mine):
        return True
    for file in mine:
        with suppress(OSError):
            file.unlink()
    values.ValueClass = values.MutexValue
    return False
