"""Many readers or one committer: what ``ledger.store.Gate`` is in a process with threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final


class ReadersGate:
    """Shared while reading (again within itself, in one thread), exclusive while committing.

    A waiting committer goes before readers that come after it, so that reads never keep a block waiting for long.
    """

    def __init__(self) -> None:
        self._changed: Final = threading.Condition()
        self._mine: Final = threading.local()
        self._readers = 0
        self._waiting = 0
        self._owner: int | None = None

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Held while reading."""
        depth: int = getattr(self._mine, "depth", 0)
        if not depth and self._owner != threading.get_ident():
            with self._changed:
                while self._owner is not None or self._waiting:
                    self._changed.wait()
                self._readers += 1
            self._mine.counted = True
        self._mine.depth = depth + 1
        try:
            yield
        finally:
            self._mine.depth = depth
            if not depth and getattr(self._mine, "counted", False):
                self._mine.counted = False
                with self._changed:
                    self._readers -= 1
                    if not self._readers:
                        self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Held while committing; not within ``shared``."""
        with self._changed:
            self._waiting += 1
            while self._owner is not None or self._readers:
                self._changed.wait()
            self._waiting -= 1
            self._owner = threading.get_ident()
        try:
            yield
        finally:
            with self._changed:
                self._owner = None
                self._changed.notify_all()
