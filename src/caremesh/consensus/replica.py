"""A verifying replica: follows an engine's blocks, believes nothing, executes everything.

A block counts here when its header follows the last one, is signed by the known validators, names the transactions
that came with it, and leads to the app hash that it states. Anything else raises, and the replica stays where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path

from caremesh import codec
from caremesh.consensus import kept
from caremesh.consensus.interface import DIVERGED, ENDED, OUT_OF_ORDER, TOO_LARGE, WRONG_TXS, Committed, Status
from caremesh.consensus.verification import Verifier
from caremesh.errors import Refused, StorageFailed, Tampered, Unavailable
from caremesh.ledger.application import Application, Event
from caremesh.ledger.blocks import Block, Header, Validator, header_hash, txs_root
from caremesh.ledger.inclusion import Entries, Inclusion
from caremesh.ledger.light import FOREVER_S, Answer, LightBlock, LightClient
from caremesh.ledger.past import StateAt
from caremesh.types import Height, Seconds


class Replica:
    """One member's own copy of the ledger. One thread applies blocks; any may read."""

    keeps_snapshots = False

    def __init__(
        self,
        folder: Path,
        app: Application,
        *,
        chain: str,
        genesis: bytes,
        genesis_time: Seconds,
        validators: list[Validator],
        clock: Callable[[], Seconds],
        monotonic: Callable[[], float],
        pool: Executor | None = None,
    ) -> None:
        """Open or create. ``pool``: workers that verify signatures. Raises WrongLedger, StorageFailed, Tampered."""
        self.machine = kept.open_machine(folder, app, chain=chain, genesis=genesis, genesis_time=genesis_time)
        self._validators = validators
        self._clock = clock
        self._monotonic = monotonic
        self._verifier = Verifier(self.machine.codec, pool)
        self._seen: float | None = None
        self.stopped = False
        """Whether another process has to open it: its database failed, or it has all blocks that one key orders."""
        # No trust period: a replica has executed every block since genesis itself.
        self._light = LightClient(chain, validators, trusted_at=self.machine.head.time, trust_period_s=FOREVER_S)

    def apply(self, block: Block) -> None:
        """Execute the next one. Raises Refused consensus.02; Tampered consensus.03, .07, .08, light; StorageFailed."""
        header = block.signed.own()
        head = self.machine.head
        if kept.has_ended(self.machine):
            raise Unavailable(ENDED, f"height {head.height}")
        if header.height != head.height + 1 or header.previous != head.header:
            raise Refused(OUT_OF_ORDER, f"height {header.height}")
        self._light.check(LightBlock(block.signed, self._validators), self._clock())
        if len(block.txs) > 1 and sum(map(len, block.txs)) > self.machine.params.max_block_bytes:
            raise Tampered(TOO_LARGE, f"height {header.height}")
        if header.txs != txs_root(block.txs) or block.misbehaviour:  # one key orders: nobody has proof against it
            raise Tampered(WRONG_TXS, f"height {header.height}")
        txs = self._verifier.decode_or_keep(block.txs)
        done = self.machine.execute(header.height, header.time, txs)
        if done.app_hash != header.app_hash:
            raise Tampered(DIVERGED, f"height {header.height}")
        if header.height == done.params.last_height and header.next_validators != kept.taking_over(done):
            raise Tampered(DIVERGED, f"height {header.height}")
        try:
            self.machine.commit(done, block=codec.encode(block), header=header_hash(block.signed.header))
        except StorageFailed:
            self.stopped = not kept.is_whole_after_failure(self.machine)
            raise
        self._light.verify(LightBlock(block.signed, self._validators), self._clock())
        self._seen = self._monotonic()
        self.stopped = self.stopped or kept.has_ended(self.machine)

    def height(self) -> Height:
        """Height of the last block that was executed here."""
        return self.machine.head.height

    def status(self) -> Status:
        """Height, time and app hash of the last block."""
        return kept.status_of(self.machine, running=not self.stopped and not self.machine.is_outdated)

    def header(self) -> Header:
        """The last verified header. Raises BadInput ledger.11 before the first block, and after a restore."""
        return kept.block_at(self.machine, self.height()).signed.own()

    def seen_s(self) -> float:
        """Seconds since the last block came in; without end when none has since this process began."""
        return float("inf") if self._seen is None else self._monotonic() - self._seen

    def query(self, key: bytes, height: Height | None = None) -> Answer:
        """See ``Engine.query``."""
        _, proof, at = self.machine.prove(key, height)
        return Answer(key, at, proof)

    def light_block(self, height: Height | None = None) -> LightBlock:
        """See ``Engine.light_block``."""
        at = self.height() if height is None else height
        return LightBlock(kept.block_at(self.machine, at).signed, self._validators)

    def outcome(self, tx_id: bytes) -> Committed | None:
        """See ``Engine.outcome``."""
        return kept.outcome_of(self.machine, tx_id)

    def inclusion(self, tx_id: bytes, height: Height | None = None) -> Inclusion | None:
        """See ``Engine.inclusion``."""
        return kept.inclusion_of(self.machine, tx_id, height)

    def entries(self, start: Height, height: Height | None = None) -> Entries:
        """See ``Engine.entries``."""
        return kept.entries_from(self.machine, start, height)

    def blocks(self, start: Height) -> Iterator[Block]:
        """See ``Engine.blocks``."""
        return kept.blocks_from(self.machine, start)

    def subscribe(self, cursor: str = "") -> Iterator[tuple[str, Event]]:
        """See ``Engine.subscribe``."""
        return kept.events_after(self.machine, cursor)

    def reader(self, height: Height | None = None) -> StateAt:
        """The state under the last verified header, or at a kept height."""
        return self.machine.reader(height)

    def close(self) -> None:
        """Let go of the files."""
        self.machine.store.close()
