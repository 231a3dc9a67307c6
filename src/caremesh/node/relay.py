"""The ledger as one member, and as one wallet, sees it: submits to the engine, reads a copy of one's own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from caremesh.consensus.embedded import Embedded
from caremesh.consensus.interface import Committed
from caremesh.consensus.outbox import Batching, Outbox
from caremesh.consensus.replica import Replica
from caremesh.contracts.network import queries as network
from caremesh.ledger.state import Reader


class MemberLedger:
    """The ledger as one member sees it: submits to the engine, reads its own copy."""

    def __init__(self, engine: Embedded, copy: Embedded | Replica) -> None:
        self._engine = engine
        self.copy = copy
        self.outbox = Outbox(engine.submit_many, self._batching)

    def submit(self, raw: bytes) -> Committed:
        """See ``source.importer.Ledger``."""
        return self._engine.submit(raw)

    def submit_many(self, raws: Sequence[bytes]) -> list[Committed]:
        """See ``gateway.ask.Ledger``."""
        return [future.result() for future in self._engine.submit_many(raws)]

    def submit_batch(self, subject: bytes, transactions: Sequence[bytes]) -> list[Committed]:
        """See ``gateway.ask.Ledger``."""
        return self.submit_batches({subject: transactions})[subject]

    def submit_batches(self, batches: Mapping[bytes, Sequence[bytes]]) -> dict[bytes, list[Committed]]:
        """See ``source.registering.Ledger``."""
        sent = self.outbox.put_all(batches)
        return {subject: [future.result() for future in futures] for subject, futures in sent.items()}

    def reader(self) -> Reader:
        """The state that this member has verified."""
        return self.copy.reader()

    def _batching(self) -> Batching:
        params = network.params(self.copy.reader())
        return Batching(params.batch_min, params.batch_wait_s)


class SubjectLedger:
    """The ledger as one wallet sees it, through the member that relays for it."""

    def __init__(self, engine: Embedded, relay: MemberLedger) -> None:
        self._engine = engine
        self._relay = relay
        self._subject = os.urandom(16)

    def submit(self, transactions: Sequence[bytes]) -> list[Committed]:
        """See ``wallet.ports.Ledger``."""
        return [future.result() for future in self._engine.submit_many(transactions)]

    def submit_batch(self, transactions: Sequence[bytes]) -> list[Committed]:
        """See ``wallet.ports.Ledger``."""
        return self._relay.submit_batch(self._subject, transactions)

    def reader(self) -> Reader:
        """See ``wallet.ports.Ledger``."""
        return self._relay.reader()
