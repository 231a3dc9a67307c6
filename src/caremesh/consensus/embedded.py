"""The embedded engine: one process orders transactions. For a laptop, a demo, a pilot.

One operator is one trust domain: proofs and durability hold against outsiders and accidents, not against the
operator of this process. The ``cometbft`` engine is for members that do not trust each other.

One thread makes blocks: it takes what has been submitted, executes it, writes state, block and results in one synced
transaction, and only then answers the submitters. Signatures are verified in the threads that submit. Blocks come at
least every ``max_interval_s``, so that a copy of the ledger can know how old it is.

When the disk does not take a block, nothing of it is kept, and its submitters are told; the next block is tried as if
it had not been. Anything else but a refusal stops the engine, and every submitter that waits is told.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from pathlib import Path
from typing import Final, NamedTuple

from caremesh import codec
from caremesh.consensus import kept
from caremesh.consensus.interface import ENDED, FULL, NOT_YET, STOPPED, Committed, Status
from caremesh.consensus.verification import Verifier
from caremesh.errors import CareMeshError, StorageFailed, Unavailable
from caremesh.ledger.application import Application, Event, UnknownRules
from caremesh.ledger.blocks import (
    HEADER_DOMAIN,
    Block,
    Header,
    HeaderSignature,
    SignedHeader,
    Validator,
    header_hash,
    txs_root,
    validators_hash,
)
from caremesh.ledger.inclusion import Entries, Inclusion
from caremesh.ledger.light import Answer, LightBlock
from caremesh.ledger.machine import Executed
from caremesh.ledger.past import StateAt
from caremesh.ledger.store import MAP_BYTES
from caremesh.ledger.transactions import CheckedTx, Signs
from caremesh.types import Height, Seconds

MAX_INTERVAL_S: Final = 10
MAX_WAITING: Final = 50_000
MAX_BLOCK_TXS: Final = 1_000


class _Waiting(NamedTuple):
    checked: CheckedTx
    future: Future[Committed]


class Embedded:
    """The one writer of a ledger. Any thread may call any method."""

    keeps_snapshots = False

    def __init__(
        self,
        folder: Path,
        app: Application,
        *,
        chain: str,
        genesis: bytes,
        genesis_time: Seconds,
        key: Signs,
        clock: Callable[[], Seconds],
        block_wait_s: float = 0.0,
        max_interval_s: float = MAX_INTERVAL_S,
        max_block_txs: int = MAX_BLOCK_TXS,
        map_bytes: int = MAP_BYTES,
        pool: Executor | None = None,
    ) -> None:
        """Open or create. ``block_wait_s``: how long a block waits for company. ``pool``: workers that verify
        the signatures of ``submit_many``.

        Raises WrongLedger, StorageFailed, Tampered.
        """
        self.machine = kept.open_machine(
            folder, app, chain=chain, genesis=genesis, genesis_time=genesis_time, map_bytes=map_bytes
        )
        self.validators = [Validator(key.public, 1)]
        self._verifier = Verifier(self.machine.codec, pool)
        self._key = key
        self._clock = clock
        self._block_wait_s = block_wait_s
        self._max_interval_s = max_interval_s
        self._max_block_txs = max_block_txs
        self._making = threading.Lock()
        self._turn = threading.RLock()
        """Whose block it is: nobody makes the next one before all listeners have heard of this one."""
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._pending: dict[bytes, Future[Committed]] = {}
        self._closed = False
        self._failed: BaseException | None = None
        self._not_written = False
        self._listeners: list[Callable[[Block], None]] = []
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Make blocks in a thread of their own, as transactions come and at least every ``max_interval_s``."""
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish what waits, and stop; who submits later is told so."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._give_up(Unavailable(STOPPED))
        self.machine.store.close()

    def on_block(self, listener: Callable[[Block], None]) -> None:
        """Call ``listener`` after each durable block, in the thread that made it; if it raises, the engine stops."""
        self._listeners.append(listener)

    def submit(self, raw: bytes) -> Committed:
        """See ``Engine.submit``."""
        return self.submit_soon(raw).result()

    def submit_soon(self, raw: bytes) -> Future[Committed]:
        """Like ``submit``, without waiting: the future is done when the block is durable."""
        future = self._enqueue(self.machine.codec.decode(raw))
        if self._thread is None:
            self.make_block()
        return future

    def submit_many(self, raws: Sequence[bytes]) -> list[Future[Committed]]:
        """Like ``submit_soon`` for each; what that would raise is in the future."""
        futures: list[Future[Committed]] = []
        for group, known in self._verifier.verdicts(raws, self._max_block_txs):
            # A worker has checked these while a block was made. To read them beside the next block would have two
            # threads hand the interpreter's lock to and fro at every read of the database.
            with nullcontext() if known is None else self._making:
                futures += [self._enqueued(row) for row in self._verifier.read(group, known)]
        if self._thread is None:
            while self._waiting:
                self.make_block()
        return futures

    def make_block(self) -> Height:
        """Make one block of what waits (possibly of nothing) and return its height. Raises what stops the engine."""
        with self._turn:
            with self._making:
                if self._failed is not None:  # when closed, what waits is still finished
                    raise Unavailable(STOPPED) from self._failed
                if kept.has_ended(self.machine):
                    raise self._end()
                batch = self._take()
                try:
                    block, done = self._commit([row.checked for row in batch])
                except BaseException as error:
                    self._not_written = isinstance(error, StorageFailed) and kept.is_whole_after_failure(self.machine)
                    self._failed = None if self._not_written else error
                    for row in batch:
                        self._answer(row, error)
                    if not self._not_written:
                        self._give_up(error)
                    raise
                self._not_written = False
            try:
                for listener in self._listeners:
                    listener(block)
            except BaseException as error:
                self._failed = error
                raise
            finally:  # the block is durable, whatever a listener makes of it
                self._answer_all(batch, done)
            if kept.has_ended(self.machine):
                self._end()
            return done.height

    def query(self, key: bytes, height: Height | None = None) -> Answer:
        """See ``Engine.query``."""
        _, proof, at = self.machine.prove(key, height)
        return Answer(key, at, proof)

    def light_block(self, height: Height | None = None) -> LightBlock:
        """See ``Engine.light_block``."""
        return LightBlock(self.block(self.machine.head.height if height is None else height).signed, self.validators)

    def outcome(self, tx_id: bytes) -> Committed | None:
        """See ``Engine.outcome``."""
        return kept.outcome_of(self.machine, tx_id)

    def inclusion(self, tx_id: bytes, height: Height | None = None) -> Inclusion | None:
        """See ``Engine.inclusion``."""
        return kept.inclusion_of(self.machine, tx_id, height)

    def entries(self, start: Height, height: Height | None = None) -> Entries:
        """See ``Engine.entries``."""
        return kept.entries_from(self.machine, start, height)

    def block(self, height: Height) -> Block:
        """One kept block. Raises BadInput ledger.11."""
        return kept.block_at(self.machine, height)

    def blocks(self, start: Height) -> Iterator[Block]:
        """See ``Engine.blocks``."""
        return kept.blocks_from(self.machine, start)

    def subscribe(self, cursor: str = "") -> Iterator[tuple[str, Event]]:
        """See ``Engine.subscribe``."""
        return kept.events_after(self.machine, cursor)

    def wait(self, height: Height, timeout_s: float) -> Height:
        """See ``Engine.wait``."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.machine.head.height >= height or self._closed or self._failed is not None, timeout_s
            )
        if self.machine.head.height >= height:
            return self.machine.head.height
        raise Unavailable(STOPPED if self._closed or self._failed is not None else NOT_YET)

    def status(self) -> Status:
        """See ``Engine.status``."""
        return kept.status_of(self.machine, running=not self._closed and self._failed is None and not self._not_written)

    @property
    def stopped(self) -> bool:
        """Whether another process has to begin anew: it makes no block any more, and not for want of its rules."""
        return self._failed is not None and not isinstance(self._failed, UnknownRules)

    def reader(self, height: Height | None = None) -> StateAt:
        """See ``Engine.reader``."""
        return self.machine.reader(height)

    def header(self) -> Header:
        """The header of the last block; makes the first block when there is none yet."""
        if not self.machine.head.height:
            self.make_block()
        return self.block(self.machine.head.height).signed.own()

    def seen_s(self) -> float:
        """This process makes the headers itself: it has always just seen the last one."""
        return 0.0

    def _enqueued(self, row: CheckedTx | CareMeshError) -> Future[Committed]:
        try:
            if isinstance(row, CareMeshError):
                raise row
            return self._enqueue(row)
        except CareMeshError as error:
            refused: Future[Committed] = Future()
            refused.set_exception(error)
            return refused

    def _enqueue(self, checked: CheckedTx) -> Future[Committed]:
        self._still_running()
        self.machine.check(checked, max(self._clock(), self.machine.head.time))
        tx_id = bytes(checked.id)
        with self._changed:
            self._still_running()
            if tx_id in self._pending:
                return self._pending[tx_id]
            if len(self._waiting) >= MAX_WAITING:
                raise Unavailable(FULL)
            future: Future[Committed] = Future()
            self._pending[tx_id] = future
            self._waiting.append(_Waiting(checked, future))
            if len(self._waiting) in (1, self._max_block_txs):  # the two numbers that the maker of blocks waits for
                self._changed.notify_all()
        return future

    def _still_running(self) -> None:
        if isinstance(self._failed, UnknownRules):
            raise UnknownRules(self._failed.error, self._failed.place)
        if self._closed or self._failed is not None:
            raise Unavailable(STOPPED) from self._failed

    def _take(self) -> list[_Waiting]:
        """What the next block holds: in the order of coming, up to the ledger's limits."""
        limit = self.machine.params.max_block_bytes
        batch: list[_Waiting] = []
        with self._changed:
            while self._waiting and len(batch) < self._max_block_txs:
                limit -= len(self._waiting[0].checked.signed)
                if limit < 0 and batch:
                    break
                batch.append(self._waiting.popleft())
        return batch

    def _commit(self, txs: list[CheckedTx]) -> tuple[Block, Executed]:
        head = self.machine.head
        done = self.machine.execute(head.height + 1, max(self._clock(), head.time), txs)
        raw = [checked.signed for checked in txs]
        signers = validators_hash(self.validators)
        following = signers if done.height != done.params.last_height else kept.taking_over(done)
        header = codec.encode(
            Header(
                chain=head.chain,
                height=done.height,
                time=done.time,
                previous=head.header,
                txs=txs_root(raw),
                app_hash=done.app_hash,
                validators=signers,
                next_validators=following,
            )
        )
        signature = HeaderSignature(self._key.public, self._key.sign(HEADER_DOMAIN + header))
        block = Block(SignedHeader(header, [signature]), raw)
        self.machine.commit(done, block=codec.encode(block), header=header_hash(header))
        return block, done

    def _end(self) -> Unavailable:
        """There is no next block here: who waits for one is told so."""
        self._failed = Unavailable(ENDED, f"height {self.machine.head.height}")
        self._give_up(self._failed)
        return self._failed

    def _answer_all(self, batch: list[_Waiting], done: Executed) -> None:
        for row, (tx_id, result, events) in zip(batch, done.results.outcomes(), strict=True):
            self._answer(row, Committed(tx_id, done.height, result, events))
        with self._changed:
            self._changed.notify_all()

    def _answer(self, row: _Waiting, answer: Committed | BaseException) -> None:
        with self._changed:
            self._pending.pop(bytes(row.checked.id), None)
        if isinstance(answer, BaseException):
            row.future.set_exception(answer)
        else:
            row.future.set_result(answer)

    def _give_up(self, error: BaseException) -> None:
        with self._changed:
            rows = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for row in rows:
            self._answer(row, error)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._closed, self._max_interval_s)
                if self._closed and not self._waiting:
                    return
                if self._block_wait_s and len(self._waiting) < self._max_block_txs:
                    self._changed.wait_for(
                        lambda: len(self._waiting) >= self._max_block_txs or self._closed, self._block_wait_s
                    )
            try:
                self.make_block()
            except BaseException:  # noqa: BLE001 - make_block has kept the reason, and told all who wait
                if self._failed is not None:
                    return
