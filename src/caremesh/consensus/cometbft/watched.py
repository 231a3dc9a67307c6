"""What an operator wants to know of the order of blocks, as far as CometBFT tells it with its requests: counted here.

Nothing of it is state of the ledger: it begins anew with the process, and no rule looks at it.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

from caremesh.consensus.cometbft.abci_pb2 import BLOCK_ID_FLAG_COMMIT, RequestFinalizeBlock
from caremesh.types import Code, Count

WINDOW: Final = 100
"""Blocks of which it is remembered who has signed them."""


class Watched:
    """Of one application. It is written by one request at a time, and may be read meanwhile."""

    def __init__(self) -> None:
        self.refused: Final[Counter[Code]] = Counter()
        """Transactions that were not let into the mempool, by the ledger's code."""
        self.late_rounds: Count = 0
        """Rounds that blocks needed beyond their first."""
        self.misbehaved: Count = 0
        """Proofs that a validator has signed what contradicts itself."""
        self._votes: Final[deque[dict[bytes, bool]]] = deque(maxlen=WINDOW)

    def committed(self, request: RequestFinalizeBlock) -> None:
        """A block is durable; with it comes who signed the one before."""
        last = request.decided_last_commit
        self.late_rounds += last.round
        self.misbehaved += len(request.misbehavior)
        if last.votes:  # the first block has none before it
            signed = {each.validator.address: each.block_id_flag == BLOCK_ID_FLAG_COMMIT for each in last.votes}
            self._votes.append(signed)

    def missed(self, addresses: frozenset[bytes]) -> Count:
        """How many of the last ``WINDOW`` blocks none of these has signed, of those that one of them had a vote on."""
        rows = [[signed for address, signed in votes.items() if address in addresses] for votes in tuple(self._votes)]
        return sum(1 for row in rows if row and not any(row))

    def signed(self) -> frozenset[bytes]:
        """The addresses of those who signed the last block of which it is known."""
        rows = tuple(self._votes)
        return frozenset(address for address, signed in rows[-1].items() if signed) if rows else frozenset()
