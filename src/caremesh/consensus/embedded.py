"""The embedded engine: one process orders transactions. For a laptop, a demo, a pilot.

One operator is one trust domain: proofs and durability hold against outsiders and accidents, not against the
operator of this process. The ``cometbft`` engine is for members that do not trust each other.

One thread makes blocks: it takes what has been submitted, executes it, writes state, block and results in one synced
transaction, and only then answers the submitters. Blocks come at least every ``max_interval_s``, so that a copy of
the ledger can know how old it is.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from caremesh import codec
from caremesh.blobs.durable import STORAGE_FAILED
from caremesh.consensus.interface import FULL, STOPPED, Committed, Status
from caremesh.errors import BadInput, StorageFailed, Unavailable
from caremesh.ledger import machine as machines
from caremesh.ledger.application import Application, Event
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
from caremesh.ledger.light import Answer, LightBlock
from caremesh.ledger.machine import Machine
from caremesh.ledger.state import Reader
from caremesh.ledger.store import Store
from caremesh.ledger.transactions import CheckedTx, Signs
from caremesh.types import Height, Seconds

MAX_INTERVAL_S: Final = 10
_MAX_WAITING: Final = 50_000
_MAX_BLOCK_TXS: Final = 1_000

Waiting = tuple[CheckedTx, "Future[Committed]"]


class Embedded:
    """The one writer of a ledger."""

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
    ) -> None:
        """Open or create. ``block_wait_s``: how long a block waits for company. Raises WrongLedger, StorageFailed."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageFailed(STORAGE_FAILED, folder.name) from error
        self._store = Store(str(folder), chain)
        self.machine = Machine(self._store, app)
        self.machine.start(genesis_time, genesis)
        self.validators = [Validator(key.public, 1)]
        self._key = key
        self._clock = clock
        self._block_wait_s = block_wait_s
        self._max_interval_s = max_interval_s
        self._waiting: queue.Queue[Waiting | None] = queue.Queue(_MAX_WAITING)
        self._making = threading.Lock()
        self._failed: BaseException | None = None
        self._listeners: list[Callable[[Block], None]] = []
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Make blocks in a thread of their own, as transactions come and at least every ``max_interval_s``."""
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish the block in hand and stop."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None
        self._store.close()

    def on_block(self, listener: Callable[[Block], None]) -> None:
        """Call ``listener`` after each durable block, in the ledger's thread."""
        self._listeners.append(listener)

    def submit(self, raw: bytes) -> Committed:
        """See ``Engine.submit``."""
        return self.submit_soon(raw).result()

    def submit_soon(self, raw: bytes) -> Future[Committed]:
        """Like ``submit``, without waiting: the future is done when the block is durable."""
        checked = self.machine.codec.decode(raw)
        if self._failed is not None:
            raise Unavailable(STOPPED) from self._failed
        future: Future[Committed] = Future()
        try:
            self._waiting.put_nowait((checked, future))
        except queue.Full as error:
            raise Unavailable(FULL) from error
        if self._thread is None:
            self.make_block()
        return future

    def make_block(self) -> Height:
        """Make one block of what waits (possibly of nothing) and return its height."""
        batch: list[Waiting] = []
        while len(batch) < _MAX_BLOCK_TXS:
            try:
                entry = self._waiting.get_nowait()
            except queue.Empty:
                break
            if entry is not None:
                batch.append(entry)
        return self._make(batch)

    def query(self, key: bytes, height: Height | None = None) -> Answer:
        """See ``Engine.query``."""
        with self._making:
            _, proof, at = self.machine.prove(key, height)
        return Answer(key, at, proof)

    def light_block(self, height: Height | None = None) -> LightBlock:
        """See ``Engine.light_block``."""
        return LightBlock(self.block(self.machine.head.height if height is None else height).signed, self.validators)

    def block(self, height: Height) -> Block:
        """One kept block. Raises BadInput ledger.11."""
        stored = self._store.block(height) if height else None
        if stored is None:
            raise BadInput(machines.NOT_KEPT, f"height {height}")
        return codec.decode_as(stored, Block)

    def blocks(self, start: Height) -> Iterator[Block]:
        """See ``Engine.blocks``."""
        for height in range(max(1, start), self.machine.head.height + 1):
            yield self.block(height)

    def subscribe(self, cursor: str = "") -> Iterator[tuple[str, Event]]:
        """See ``Engine.subscribe``."""
        yield from events_after(self.machine, cursor)

    def status(self) -> Status:
        """See ``Engine.status``."""
        head = self.machine.head
        return Status(head.chain, head.height, head.time, head.app_hash)

    def reader(self) -> Reader:
        """See ``Engine.reader``."""
        return self._store

    def header(self) -> Header:
        """The header of the last block; makes the first block when there is none yet."""
        if not self.machine.head.height:
            self.make_block()
        return self.block(self.machine.head.height).signed.content()

    def seen_s(self) -> float:
        """This process makes the headers itself: it has always just seen the last one."""
        return 0.0

    def _make(self, batch: list[Waiting]) -> Height:
        with self._making:
            try:
                block, done = self._commit([checked for checked, _ in batch])
            except BaseException as error:
                self._failed = error
                for _, future in batch:
                    future.set_exception(error)
                raise
        for listener in self._listeners:
            listener(block)
        for index, (_, future) in enumerate(batch):
            tx_id, result = done.results.txs[index], done.results.results[index]
            said = [event for event in done.results.events if event.tx == tx_id]
            future.set_result(Committed(tx_id, done.height, result, said))
        return done.height

    def _commit(self, txs: list[CheckedTx]) -> tuple[Block, machines.Executed]:
        head = self.machine.head
        done = self.machine.execute(head.height + 1, max(self._clock(), head.time), txs)
        raw = [checked.signed for checked in txs]
        signers = validators_hash(self.validators)
        header = codec.encode(
            Header(
                chain=head.chain,
                height=done.height,
                time=done.time,
                previous=head.header,
                txs=txs_root(raw),
                app_hash=done.app_hash,
                validators=signers,
                next_validators=signers,
            )
        )
        signature = HeaderSignature(self._key.public, self._key.sign(HEADER_DOMAIN + header))
        block = Block(SignedHeader(header, [signature]), raw)
        self.machine.commit(done, block=codec.encode(block), header=header_hash(header))
        return block, done

    def _run(self) -> None:
        while True:
            try:
                first = self._waiting.get(timeout=self._max_interval_s)
            except queue.Empty:
                self._make([])
                continue
            if first is None:
                return
            batch = [first]
            if self._block_wait_s:
                time.sleep(self._block_wait_s)
            while len(batch) < _MAX_BLOCK_TXS:
                try:
                    entry = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if entry is None:
                    self._waiting.put(None)
                    break
                batch.append(entry)
            self._make(batch)


def events_after(machine: Machine, cursor: str) -> Iterator[tuple[str, Event]]:
    """Events after the cursor ``height.position``, in order, each once. Raises BadInput ledger.11."""
    height, _, position = cursor.partition(".")
    at, skip = (int(height), int(position) + 1) if cursor else (1, 0)
    while at <= machine.head.height:
        for index, event in enumerate(machine.results(at).events):
            if index >= skip:
                yield f"{at}.{index}", event
        at, skip = at + 1, 0
