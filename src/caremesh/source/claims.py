"""Which journals are being worked on in this process: who finishes imports in the background leaves those alone."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

_LOCK: Final = threading.Lock()
_CLAIMED: Final[set[str]] = set()


@contextmanager
def claimed(names: Iterable[str]) -> Iterator[list[str]]:
    """Those of the names that nobody had claimed; they are the caller's until the end of the block."""
    with _LOCK:
        mine = [name for name in names if name not in _CLAIMED]
        _CLAIMED.update(mine)
    try:
        yield mine
    finally:
        with _LOCK:
            _CLAIMED.difference_update(mine)
