"""The cometbft engine: the interface of ``consensus/interface.py`` over a machine that CometBFT orders blocks for.

This process serves ABCI on a unix socket and keeps CometBFT running beside it. A transaction that is submitted is
checked here, handed to CometBFT's mempool over its RPC, and answered when the block that holds it has been
committed *here*: nobody is asked whether it was. It waits no longer than until it has expired by block time.

That CometBFT ends is nothing: it is started again here, once there is room for what it writes. Anything else that goes
wrong in the application ends the engine, and CometBFT with it; whoever supervises this process starts it again, and
CometBFT repeats what is not committed.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from msgspec import Struct

from caremesh.consensus import kept
from caremesh.consensus.comet_rpc import light_block
from caremesh.consensus.cometbft import config
from caremesh.consensus.cometbft.application import LedgerApplication
from caremesh.consensus.cometbft.beginning import Beginning, after, check_begins
from caremesh.consensus.cometbft.join import Join
from caremesh.consensus.cometbft.joining import HOME, NOT_JOINED, STATE, Joining
from caremesh.consensus.cometbft.process import Supervised
from caremesh.consensus.cometbft.rpc import Rpc
from caremesh.consensus.cometbft.sending import Sender
from caremesh.consensus.cometbft.server import Server, listening
from caremesh.consensus.cometbft.snapshot_files import SnapshotFiles, Snapshotting
from caremesh.consensus.interface import NOT_YET, STOPPED, Committed, Status
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, CareMeshError, ErrorCode, StorageFailed, Unavailable
from caremesh.ledger.application import Application, Event, UnknownRules
from caremesh.ledger.blocks import Block, Header, Validator
from caremesh.ledger.inclusion import Entries, Inclusion
from caremesh.ledger.light import FOREVER_S, Answer, Crossing, LightBlock, LightClient
from caremesh.ledger.machine import NOT_KEPT, Executed
from caremesh.ledger.past import StateAt
from caremesh.ledger.store import MAP_BYTES
from caremesh.ledger.transactions import CheckedTx
from caremesh.types import Height, Seconds

FINISH_S: Final = 10.0
"""How long closing waits for what has been submitted."""
PROOF_S: Final = 10.0
"""How long who asks for the newest header waits for the one that proves what is committed."""
SOCKET: Final = "abci.sock"
RPC_SOCKET: Final = "rpc.sock"
ROOM_BYTES: Final = 16 * 2**20
"""Of the disk, without which CometBFT is not started: it would give up when it writes."""
_MAX_SOCKET_PATH: Final = 100

PATH_TOO_LONG = ErrorCode(
    "consensus.26", "The address of the application's socket is too long for the system.", "Use a shorter path."
)
NO_ROOM = ErrorCode(
    "consensus.50",
    "The disk has no room for transactions.",
    "Make room; no restart is needed. Other members' nodes take transactions meanwhile.",
)


class Local(Struct, frozen=True):
    """What one member's CometBFT needs besides the ledger itself. ``program``: see ``tools/cometbft.py``; ``waiting``:
    transactions that its mempool takes."""

    program: Path
    validator: SigningKey
    node: SigningKey
    addresses: config.Addresses
    pace: config.Pace = config.Pace()
    snapshots: Snapshotting = Snapshotting()
    waiting: int = config.MAX_WAITING


class CometBft:
    """One member's copy of a ledger that CometBFT orders. Any thread may call any method."""

    keeps_snapshots = True

    def __init__(
        self,
        folder: Path,
        app: Application,
        local: Local,
        *,
        chain: str,
        genesis: bytes,
        genesis_time: Seconds,
        validators: Sequence[Validator],
        clock: Callable[[], Seconds],
        monotonic: Callable[[], float],
        map_bytes: int = MAP_BYTES,
        joining: Joining | None = None,
        crossed: Crossing | None = None,
    ) -> None:
        """Open or create; writes CometBFT's files. ``validators``: those of the genesis, the same at all members.

        ``folder``: gets ``ledger`` (the state), ``cometbft`` and the sockets in ``run``. ``joining``: where nothing is
        yet, begin with a snapshot of other members' (see ``joining.trust``), and not with the first block. ``crossed``:
        where one key ordered the first blocks, which is then the only one of ``validators``.

        Raises WrongLedger, StorageFailed, BadInput consensus.26, Refused consensus.41, light.NN of the crossing;
        Tampered, after which ``joining.set_aside`` makes the folder one that joins.
        """
        home, address, rpc = folder / HOME, folder / "run" / SOCKET, folder / "run" / RPC_SOCKET
        if len(os.fsencode(address)) > _MAX_SOCKET_PATH:
            raise BadInput(PATH_TOO_LONG)
        begins = Beginning(chain, genesis, genesis_time, validators)
        if crossed is not None:
            began = LightClient(chain, validators, trusted_at=genesis_time, trust_period_s=FOREVER_S)
            begins = after(crossed, began)
        self._join = Join(home, folder / "run", joining, chain=begins.chain, clock=clock, monotonic=monotonic)
        self.machine = kept.open_machine(
            folder / STATE, app, chain=chain, genesis=genesis, genesis_time=genesis_time, map_bytes=map_bytes
        )
        self.local: Final = local
        self._first: Final = begins.height
        self._crossed: Final = crossed
        self._before: Final = list(validators)
        self.validators = list(begins.validators)
        """Those of CometBFT's genesis."""
        self._home: Final = home
        self._monotonic = monotonic
        self._clock = clock
        self._changed = threading.Condition()
        self._closed = False
        self._failed: BaseException | None = None
        self._seen: float | None = None
        self._listeners: list[Callable[[Block], None]] = []
        try:
            if not self._join.under_way:
                check_begins(self.machine.head, begins)
            files = SnapshotFiles(home / "snapshots", self.machine.store, local.snapshots, self._stop)
            self._files = files
            self.snapshots = self._join.answers(self.machine, folder / STATE, files, self._wake)
            config.write(
                home,
                genesis_json=config.genesis_json(begins),
                application=address,
                rpc=rpc if local.addresses.rpc is None else local.addresses.rpc,
                addresses=local.addresses,
                validator=local.validator,
                node=local.node,
                pace=local.pace,
                joining=self._join.section(),
                waiting=local.waiting,
            )
            self.application = LedgerApplication(
                self.machine,
                app,
                begins=begins,
                clock=clock,
                finished=self._finished,
                snapshots=self.snapshots,
            )
            self._server = Server(listening(address), self.application.answer, self._went_wrong)
        except BaseException:
            self.machine.store.close()
            raise
        self.rpc = Rpc(rpc if local.addresses.rpc is None else local.addresses.rpc)
        self._sender = Sender(self.rpc.hand_over, self._look, monotonic)
        self.process = Supervised(
            local.program,
            home,
            rpc,
            drained=self._server.drain,
            started=self._sender.again,
            monotonic=monotonic,
            gave_up=lambda error: self._went_wrong(Unavailable(error), here=False),
            due=lambda: clock() >= begins.time and self._has_room(),
        )

    def start(self) -> None:
        """Answer CometBFT, and start it."""
        self._server.start()
        self._sender.start()
        self._join.start(self.process.again, lambda: self.snapshots.asked + self.machine.head.height)
        self.process.start()

    def close(self, finish_s: float = FINISH_S) -> None:
        """Wait a while for what has been submitted, and stop; who still waits then, or submits later, is told so."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._sender.finish(finish_s if self._failed is None else 0)
        self._sender.close(Unavailable(STOPPED))
        self._join.close()
        self.process.close()
        self._server.close()
        self.snapshots.close()
        self.machine.store.close()

    def on_block(self, listener: Callable[[Block], None]) -> None:
        """Call ``listener`` after each durable block, before its submitters hear of it; if it raises, the engine stops.

        It must not wait for another block.
        """
        self._listeners.append(listener)

    def submit(self, raw: bytes) -> Committed:
        """See ``Engine.submit``. Refused ledger.07 when it has expired before a block could hold it; Unavailable
        consensus.50.
        """
        return self.submit_soon(raw).result()

    def submit_soon(self, raw: bytes) -> Future[Committed]:
        """Like ``submit``, without waiting: the future is done when the block is durable here."""
        self._still_running()
        if not self._has_room():
            raise Unavailable(NO_ROOM)
        checked = self.application.checked.decode(raw)
        self._check(checked)
        future = self._sender.add(checked)
        done = self.outcome(bytes(checked.id))  # another member's node may have handed it over as well
        if done is not None:
            self._sender.answer(done)
        return future

    def submit_many(self, raws: Sequence[bytes]) -> list[Future[Committed]]:
        """Like ``submit_soon`` for each; what that would raise is in the future."""
        futures: list[Future[Committed]] = []
        for raw in raws:
            try:
                futures.append(self.submit_soon(raw))
            except CareMeshError as error:
                refused: Future[Committed] = Future()
                refused.set_exception(error)
                futures.append(refused)
        return futures

    def sign_with(self, key: SigningKey) -> None:
        """Start CometBFT again with another validator's key. What it signed before, it does not sign otherwise.

        Raises StorageFailed.
        """
        config.write_validator(self._home, key)
        self.process.again()

    def query(self, key: bytes, height: Height | None = None) -> Answer:
        """See ``Engine.query``. CometBFT's header of the *next* height proves the answer."""
        _, proof, at = self.machine.prove(key, height)
        return Answer(key, at, proof)

    def light_block(self, height: Height | None = None) -> LightBlock:
        """See ``Engine.light_block``: CometBFT's header, which proves the state of the height before.

        Without a height it is the newest, and proves all that was committed here when it was asked for: CometBFT makes
        the block that does at once; where it does not come in ``PROOF_S``, the newest is of a height before.
        Of blocks that one key ordered it is that key's. Raises also Unavailable consensus.25, while CometBFT is
        started again.
        """
        at = self._proving() if height is None else height
        if not 1 <= at <= self.machine.head.height:
            raise BadInput(NOT_KEPT, f"height {at}")
        if self._crossed is not None and at == self._first:
            return self._crossed.block  # also where it joined by a snapshot, or keeps that block no more
        if at < self._first:
            return LightBlock(self.block(at).signed, self._before)
        signed = self.rpc.signed(at)
        return light_block(signed.commit, signed.validators)

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
        return kept.status_of(self.machine, running=not self._closed and self._failed is None)

    @property
    def stopped(self) -> bool:
        """Whether another process has to begin anew: it takes no block any more, and not for want of its rules."""
        return self._failed is not None and not isinstance(self._failed, UnknownRules)

    @property
    def failure(self) -> BaseException | None:
        """What went wrong."""
        return self._failed

    def reader(self, height: Height | None = None) -> StateAt:
        """See ``Engine.reader``."""
        return self.machine.reader(height)

    def header(self) -> Header:
        """What is kept of the last block. Raises BadInput ledger.11 before the first."""
        return self.block(self.machine.head.height).signed.own()

    def seen_s(self) -> float:
        """Seconds since the last block came in; without end when none has since this process began."""
        return float("inf") if self._seen is None else self._monotonic() - self._seen

    def _check(self, checked: CheckedTx) -> None:
        self.machine.check(checked, max(self._clock(), self.machine.head.time))

    def _look(self, checked: CheckedTx) -> Committed | None:
        try:
            self._check(checked)
        except CareMeshError:
            done = self.outcome(bytes(checked.id))  # refused because a block has it by now
            if done is None:
                raise
            return done
        return None

    def _proving(self) -> Height:
        """The newest height, once its header holds the root of what is committed now."""
        height = self.machine.head.height
        if height > self._first and self._has_changed_the_state(height):
            with self._changed:
                self._changed.wait_for(
                    lambda: self.machine.head.height > height or self._closed or self.stopped, PROOF_S
                )
        return self.machine.head.height

    def _has_changed_the_state(self, height: Height) -> bool:
        """Whether a block has: CometBFT makes the one that proves it at once then, and else when it is due."""
        block = self.block(height)
        if height == 1:
            return bool(block.txs)
        try:
            before = self.block(height - 1)
        except BadInput:  # the first after a snapshot
            return True
        return block.signed.own().app_hash != before.signed.own().app_hash

    def _still_running(self) -> None:
        if isinstance(self._failed, UnknownRules):
            raise UnknownRules(self._failed.error, self._failed.place)
        if self._closed or self._failed is not None:
            raise Unavailable(STOPPED) from self._failed
        if self._join.under_way:
            raise Unavailable(NOT_JOINED)

    def _finished(self, block: Block, done: Executed) -> None:
        """The block is durable: tell everybody here, then CometBFT."""
        self._seen = self._monotonic()
        self._join.done()
        self._files.committed(self.machine.head, done.params.retain_blocks)
        try:
            for listener in self._listeners:
                listener(block)
        finally:
            for tx_id, result, events in done.results.outcomes():
                self._sender.answer(Committed(tx_id, done.height, result, events))
            self._sender.expire(done.time)
            self._wake()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return shutil.disk_usage(self._home).free >= ROOM_BYTES

    def _went_wrong(self, error: BaseException, *, here: bool = True) -> None:
        """For want of room CometBFT ends, and is started when there is some; meanwhile the state can be read. Anything
        else ends the engine. ``here``: whether it was in the application.
        """
        full = not self._has_room() and not self._join.under_way
        if full and here:
            full = isinstance(error, StorageFailed) and kept.is_whole_after_failure(self.machine)
        self.process.again() if full else self._stop(error)

    def _stop(self, error: BaseException) -> None:
        """The application failed: nothing more is answered, nobody waits any longer, CometBFT ends."""
        with self._changed:
            self._failed = first = self._failed or error
            self._changed.notify_all()
        threading.Thread(target=self._end, args=[first], name="ending", daemon=True).start()

    def _end(self, error: BaseException) -> None:
        self._sender.close(error)
        self.process.close()
