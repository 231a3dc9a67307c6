"""The ledger as one member, and as one wallet, sees it: submits to the engine, reads a copy of one's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from caremesh.consensus.embedded import Embedded
from caremesh.consensus.interface import Committed
from caremesh.consensus.outbox import Batching, Outbox
from caremesh.consensus.replica import Replica
from caremesh.contracts.network import queries as network
from caremesh.gateway.ask import Requester
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Message, Signer, Tx, encode, sign
from caremesh.types import Height, Seconds

if TYPE_CHECKING:
    from caremesh.consensus.cometbft.engine import CometBft

TX_LIFE_S: Final[Seconds] = 300
Copy: TypeAlias = "Embedded | CometBft | Replica"
"""A member's copy of the ledger: an engine, or what follows one."""


class Orders(Protocol):
    """Whoever puts transactions into blocks: an engine in this process, or the way to one."""

    def submit(self, raw: bytes) -> Committed:
        """See ``Engine.submit``."""
        ...

    def submit_many(self, raws: Sequence[bytes]) -> list[Future[Committed]]:
        """See ``Embedded.submit_many``."""
        ...


class MemberLedger:
    """The ledger as one member sees it: submits to the engine, reads its own copy.

    What was submitted is on its own copy when the answer comes: who asks for something reads there what came of it.
    """

    def __init__(self, engine: Orders, copy: Copy, arrived: Callable[[Height], object] = lambda _: None) -> None:
        """``arrived``: waits until the copy has a height; raises Unavailable when it takes too long."""
        self._engine = engine
        self._arrived = arrived
        self.copy = copy
        self.outbox = Outbox(engine.submit_many, self._batching)

    def submit(self, raw: bytes) -> Committed:
        """See ``source.importer.Ledger``."""
        return self._here([self._engine.submit(raw)])[0]

    def submit_many(self, raws: Sequence[bytes]) -> list[Committed]:
        """See ``gateway.ask.Ledger``."""
        return self._here([future.result() for future in self._engine.submit_many(raws)])

    def submit_batch(self, subject: bytes, transactions: Sequence[bytes]) -> list[Committed]:
        """See ``gateway.ask.Ledger``."""
        return self.submit_batches({subject: transactions})[subject]

    def submit_batches(self, batches: Mapping[bytes, Sequence[bytes]]) -> dict[bytes, list[Committed]]:
        """See ``source.registering.Ledger``."""
        sent = self.outbox.put_all(batches)
        return {subject: self._here([future.result() for future in futures]) for subject, futures in sent.items()}

    def reader(self) -> Reader:
        """The state that this member has verified."""
        return self.copy.reader()

    def _here(self, outcomes: list[Committed]) -> list[Committed]:
        self._arrived(max((outcome.height for outcome in outcomes), default=0))
        return outcomes

    def _batching(self) -> Batching:
        params = network.params(self.copy.reader())
        return Batching(params.batch_min, params.batch_wait_s)


class SubjectLedger:
    """The ledger as one wallet sees it, through the member that relays for it."""

    def __init__(self, engine: Orders, relay: MemberLedger) -> None:
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


def signed_tx(chain: str, now: Seconds, signers: Sequence[Requester], message: Message) -> bytes:
    """One message in a transaction, signed by these, the last of them a member. ``chain``: that counts now."""
    tx = encode(
        Tx(
            chain=chain,
            expires_at=now + TX_LIFE_S,
            salt=os.urandom(8),
            signers=[Signer(key=signer.key.public, did=signer.did) for signer in signers],
            msgs=[message],
        )
    )
    return sign(tx, [signer.key for signer in signers])
