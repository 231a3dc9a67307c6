"""What a member sends that is not urgent: in shuffled batches of several subjects, so that time ties nothing together.

Registrations, grants and renewals of one subject, sent as they come, would follow one another on the ledger and show
that their streams belong together. A member therefore keeps them until ``batch_min`` subjects have something to send,
or until the first of them has waited ``batch_wait_s``, and then sends all of them in one random order. What opens a
visit, and revocations, go to the engine at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from random import SystemRandom
from typing import Final, NamedTuple

from caremesh.consensus.interface import FULL, STOPPED, Committed
from caremesh.errors import Unavailable
from caremesh.types import Count, Seconds

MAX_WAITING: Final = 10_000
_SHUFFLE: Final = SystemRandom()


class Batching(NamedTuple):
    """``params.batch_min``, in subjects, and ``params.batch_wait_s``."""

    min_subjects: Count
    wait_s: Seconds


class _Waiting(NamedTuple):
    transaction: bytes
    future: Future[Committed]


class Outbox:
    """One member's. Any thread may put; one thread of its own sends what has waited long enough."""

    def __init__(
        self, submit_many: Callable[[Sequence[bytes]], list[Future[Committed]]], rules: Callable[[], Batching]
    ) -> None:
        """``submit_many``: of the engine. ``rules``: the parameters now in force."""
        self._submit_many = submit_many
        self._rules = rules
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._subjects: set[bytes] = set()
        self._since = 0.0
        self._closed = False
        self._thread: threading.Thread | None = None

    def put(self, subject: bytes, transactions: Sequence[bytes]) -> list[Future[Committed]]:
        """Send these with the next batch. ``subject``: what tells this member's subjects apart; it goes nowhere.

        A future is done when its block is durable; it raises what ``Engine.submit`` raises. Raises Unavailable
        consensus.01 when closed, consensus.04 when too much is waiting; then none of these is sent.
        """
        return self.put_all({subject: transactions})[subject]

    def put_all(self, batches: Mapping[bytes, Sequence[bytes]]) -> dict[bytes, list[Future[Committed]]]:
        """As ``put`` for several subjects, in the same batch. Raises as ``put``; then none of these is sent."""
        rows = {
            subject: [_Waiting(transaction, Future()) for transaction in transactions]
            for subject, transactions in batches.items()
        }
        rules = self._rules()
        with self._changed:
            if self._closed:
                raise Unavailable(STOPPED)
            if len(self._waiting) + sum(map(len, rows.values())) > MAX_WAITING:
                raise Unavailable(FULL)
            if not self._waiting:
                self._since = time.monotonic()
            for subject, mine in rows.items():
                self._waiting += mine
                self._subjects.add(subject)
            due = not rules.wait_s or len(self._subjects) >= rules.min_subjects
            if not due and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        if due:
            self.flush()
        return {subject: [row.future for row in mine] for subject, mine in rows.items()}

    def waiting(self) -> tuple[Count, float]:
        """How many transactions wait, and the seconds since the first of them came."""
        with self._changed:
            return len(self._waiting), time.monotonic() - self._since if self._waiting else 0.0

    def flush(self) -> None:
        """Send what waits, now; those who wait are told what becomes of it."""
        with self._changed:
            batch, self._waiting, self._subjects = self._waiting, [], set()
        if not batch:
            return
        _SHUFFLE.shuffle(batch)
        try:
            sent = self._submit_many([row.transaction for row in batch])
        except Exception as error:  # noqa: BLE001 - it is for those who wait
            for row in batch:
                row.future.set_exception(error)
            return
        for row, future in zip(batch, sent, strict=True):
            future.add_done_callback(partial(_pass_on, row.future))

    def close(self) -> None:
        """Send what waits, and take no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._closed)
                if self._closed:
                    return
                left = self._since + self._rules().wait_s - time.monotonic()
                if left > 0:
                    self._changed.wait(left)  # wakes early when more comes, or a batch has gone: look again
                    continue
            self.flush()


def _pass_on(mine: Future[Committed], done: Future[Committed]) -> None:
    error = done.exception()
    if error is not None:
        mine.set_exception(error)
    else:
        mine.set_result(done.result())
