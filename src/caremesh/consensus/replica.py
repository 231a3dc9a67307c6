"""A verifying replica: follows an engine's blocks, believes nothing, executes everything.

A block counts here when its header follows the last one, is signed by the known validators, names the transactions
that came with it, and leads to the app hash that it states. Anything else raises, and the replica stays where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from caremesh import codec
from caremesh.blobs.durable import STORAGE_FAILED
from caremesh.consensus.interface import DIVERGED, OUT_OF_ORDER, Status
from caremesh.errors import Refused, StorageFailed, Tampered
from caremesh.ledger.application import Application
from caremesh.ledger.blocks import Block, Header, Validator, header_hash, txs_root
from caremesh.ledger.light import FOREVER_S, LightBlock, LightClient
from caremesh.ledger.machine import Machine
from caremesh.ledger.state import Reader
from caremesh.ledger.store import Store
from caremesh.types import Height, Seconds


class Replica:
    """One member's own copy of the ledger."""

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
    ) -> None:
        """Open or create. Raises WrongLedger, StorageFailed, Tampered."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageFailed(STORAGE_FAILED, folder.name) from error
        self._store = Store(str(folder), chain)
        self.machine = Machine(self._store, app)
        self.machine.start(genesis_time, genesis)
        self._validators = validators
        self._clock = clock
        self._monotonic = monotonic
        self._seen: float | None = None
        # No trust period: a replica has executed every block since genesis itself.
        self._light = LightClient(chain, validators, trusted_at=self.machine.head.time, trust_period_s=FOREVER_S)

    def apply(self, block: Block) -> None:
        """Execute the next block. Raises Refused consensus.02, Tampered consensus.03 or light.NN, StorageFailed."""
        header = block.signed.content()
        head = self.machine.head
        if header.height != head.height + 1 or header.previous != head.header:
            raise Refused(OUT_OF_ORDER, f"height {header.height}")
        self._light.verify(LightBlock(block.signed, self._validators), self._clock())
        if header.txs != txs_root(block.txs):
            raise Tampered(DIVERGED, f"height {header.height}: transactions")
        done = self.machine.execute(header.height, header.time, block.txs)
        if done.app_hash != header.app_hash:
            raise Tampered(DIVERGED, f"height {header.height}: app hash")
        self.machine.commit(done, block=codec.encode(block), header=header_hash(block.signed.header))
        self._seen = self._monotonic()

    def height(self) -> Height:
        """Height of the last block that was executed here."""
        return self.machine.head.height

    def status(self) -> Status:
        """Height, time and app hash of the last block."""
        head = self.machine.head
        return Status(head.chain, head.height, head.time, head.app_hash)

    def header(self) -> Header:
        """The last verified header. Raises Refused consensus.02 before the first block."""
        stored = self._store.block(self.height()) if self.height() else None
        if stored is None:
            raise Refused(OUT_OF_ORDER, "height 0")
        return codec.decode_as(stored, Block).signed.content()

    def seen_s(self) -> float:
        """Seconds since the last block came in; without end when none has since this process began."""
        return float("inf") if self._seen is None else self._monotonic() - self._seen

    def reader(self) -> Reader:
        """The state under the last verified header."""
        return self._store

    def close(self) -> None:
        """Let go of the files."""
        self._store.close()
