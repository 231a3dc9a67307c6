"""Transactions on their way into a block: handed to CometBFT's mempool, and again until a block here holds them.

One thread hands them over, as many at a time as wait. CometBFT may be away, full, or have forgotten: after each of its
starts, and every ``AGAIN_S``, what waits is handed over again, which costs nothing where the mempool still has it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final, NamedTuple

from caremesh.consensus.interface import FULL, STOPPED, Committed
from caremesh.errors import CareMeshError, Refused, Unavailable
from caremesh.ledger.admission import EXPIRED
from caremesh.ledger.transactions import CheckedTx
from caremesh.types import Seconds

MAX_WAITING: Final = 50_000
BATCH: Final = 400
BATCH_BYTES: Final = 2**22
AGAIN_S: Final = 5.0
RETRY_S: Final = 0.2


class _Waiting(NamedTuple):
    checked: CheckedTx
    future: Future[Committed]


class Sender:
    """What waits for a block. Any thread may call any method."""

    def __init__(
        self,
        hand_over: Callable[[Sequence[bytes]], None],
        look: Callable[[CheckedTx], Committed | None],
        monotonic: Callable[[], float],
        *,
        most: int = MAX_WAITING,
    ) -> None:
        """``hand_over``: see ``Rpc.hand_over``. ``look``: what became of a transaction meanwhile, None for nothing yet;
        raises why it is refused now.
        """
        self._hand_over: Final = hand_over
        self._look: Final = look
        self._monotonic: Final = monotonic
        self._most: Final = most
        self._changed: Final = threading.Condition()
        self._pending: Final[dict[bytes, _Waiting]] = {}
        self._queue: Final[deque[bytes]] = deque()
        self._closed = False
        self._thread: Final = threading.Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        """Hand over in a thread of its own."""
        self._thread.start()

    def close(self, error: BaseException) -> None:
        """Stop, and tell all who wait why."""
        with self._changed:
            self._closed = True
            rows = list(self._pending.values())
            self._pending.clear()
            self._queue.clear()
            self._changed.notify_all()
        for row in rows:
            _fail(row.future, error)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def finish(self, timeout_s: float) -> None:
        """Wait until nothing waits, but not for ever."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._pending, timeout_s)

    def add(self, checked: CheckedTx) -> Future[Committed]:
        """The future of this transaction, also when it waits already. Raises Unavailable consensus.01 and .04."""
        tx_id = bytes(checked.id)
        with self._changed:
            if self._closed:
                raise Unavailable(STOPPED)
            known = self._pending.get(tx_id)
            if known is not None:
                return known.future
            if len(self._pending) >= self._most:
                raise Unavailable(FULL)
            row = _Waiting(checked, Future())
            self._pending[tx_id] = row
            self._queue.append(tx_id)
            self._changed.notify_all()
        return row.future

    def again(self) -> None:
        """Hand over all that waits once more: a mempool has just begun, and holds nothing."""
        with self._changed:
            queued = set(self._queue)
            self._queue.extend(tx_id for tx_id in self._pending if tx_id not in queued)
            self._changed.notify_all()

    def answer(self, done: Committed) -> None:
        """A block holds it."""
        row = self._take(done.tx)
        if row is not None and row.future.set_running_or_notify_cancel():
            row.future.set_result(done)

    def expire(self, time: Seconds) -> None:
        """Give up what no block from this time on can hold."""
        with self._changed:
            gone = [tx_id for tx_id, row in self._pending.items() if row.checked.tx.expires_at < time]
        for tx_id in gone:
            self._refuse(tx_id, Refused(EXPIRED))

    def _take(self, tx_id: bytes) -> _Waiting | None:
        with self._changed:
            row = self._pending.pop(tx_id, None)
            if not self._pending:
                self._changed.notify_all()
        return row

    def _refuse(self, tx_id: bytes, error: CareMeshError) -> None:
        row = self._take(tx_id)
        if row is not None:
            _fail(row.future, error)

    def _run(self) -> None:
        looked = self._monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or bool(self._queue), AGAIN_S)
                if self._closed:
                    return
                batch = self._next()
                waiting = list(self._pending.values())
            if self._monotonic() - looked >= AGAIN_S:
                self._look_again(waiting)
                looked = self._monotonic()
            if batch:
                try:
                    self._hand_over([row.checked.signed for row in batch])
                except Unavailable:
                    with self._changed:
                        self._queue.extendleft(bytes(row.checked.id) for row in reversed(batch))
                        self._changed.wait_for(lambda: self._closed, RETRY_S)

    def _next(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        room = BATCH_BYTES
        while self._queue and len(batch) < BATCH and room > 0:
            row = self._pending.get(self._queue.popleft())
            if row is not None:
                batch.append(row)
                room -= len(row.checked.signed)
        return batch

    def _look_again(self, rows: list[_Waiting]) -> None:
        for row in rows:
            tx_id = bytes(row.checked.id)
            try:
                done = self._look(row.checked)
            except CareMeshError as error:
                self._refuse(tx_id, error)
                continue
            if done is not None:
                self.answer(done)
        self.again()


def _fail(future: Future[Committed], error: BaseException) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)
