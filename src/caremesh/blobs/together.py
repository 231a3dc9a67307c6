"""Work that comes while the same work is being done waits for its turn together, and is done in one go.

Who gets the lock does what all who wait for it have asked for; the others find it done when their turn comes. For work
that costs about as much for many as for one: syncing files, committing to a database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Final, Generic, TypeVar

from caremesh.errors import CareMeshError

A = TypeVar("A")
R = TypeVar("R")


class _Asked(Generic[A, R]):
    """What one caller wants. ``done``: what came of it; None while it waits."""

    def __init__(self, what: A) -> None:
        self.what: Final = what
        self.done: _Done[R] | None = None


class _Done(Generic[R]):
    def __init__(self, result: R | BaseException) -> None:
        self.result: Final = result


class Together(Generic[A, R]):
    """Any thread may ask."""

    def __init__(self, lock: Lock, work: Callable[[Sequence[A]], Sequence[R | CareMeshError]]) -> None:
        """``work``: done under ``lock`` for all who wait, in the order in which they came; one result each.

        What ``work`` raises is raised to each of them.
        """
        self._lock: Final = lock
        self._work: Final = work
        self._queue: Final = Lock()
        self._waiting: list[_Asked[A, R]] = []

    def do(self, what: A) -> R:
        """What came of it. Raises the error that is its result, and what ``work`` raises."""
        mine: _Asked[A, R] = _Asked(what)
        with self._queue:
            self._waiting.append(mine)
        with self._lock:
            if mine.done is None:
                self._do_all()
        assert mine.done is not None  # noqa: S101 - it was waiting, and all who wait are done
        result = mine.done.result
        if isinstance(result, BaseException):
            raise result
        return result

    def _do_all(self) -> None:
        with self._queue:
            asked, self._waiting = self._waiting, []
        try:
            results = self._work([each.what for each in asked])
        except BaseException as error:
            for each in asked:
                each.done = _Done(error)
            raise
        for each, result in zip(asked, results, strict=True):
            each.done = _Done(result)
