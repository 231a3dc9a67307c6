"""What a wallet needs of others. It knows no node, custodian or gateway: whoever runs it brings these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from caremesh.consensus.interface import Committed
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Signs
from caremesh.types import Did


class Sponsor(Protocol):
    """The member that signs last and spends its quota. Any active member may sponsor any subject."""

    @property
    def did(self) -> Did:
        """The member's DID. Its current key is read from the ledger."""

    def sponsor(self, tx_bytes: bytes, key: Signs, /) -> bytes:
        """The member's signature (64 bytes) over a transaction of the subject with this key, which proves by it that
        it asks for itself. Raises Refused, Unavailable.
        """


class Ledger(Protocol):
    """The ledger as a wallet uses it."""

    def reader(self) -> Reader:
        """Committed state: proven by a light client, or of a replica of one's own."""

    def submit(self, transactions: Sequence[bytes], /) -> list[Committed]:
        """Put signed transactions into blocks at once; what became of each, in order, once the blocks are durable.

        They are independent of one another: they may go in any order and at the same time.
        Raises Unavailable when the ledger takes none.
        """

    def submit_batch(self, transactions: Sequence[bytes], /) -> list[Committed]:
        """Like ``submit``, for what is not urgent: shuffled among those of other subjects, when there are enough."""


class Custodians(Protocol):
    """The way to the custodians."""

    def deposit(self, custodian: Did, sealed: bytes) -> bytes:
        """Leave a sealed fragment; the signed acknowledgement (DAG-CBOR of ``custody.Signed``).

        Raises CareMeshError when the custodian refuses or does not answer; the wallet then goes on with the others.
        """
