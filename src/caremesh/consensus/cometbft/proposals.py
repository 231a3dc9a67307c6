"""What a block may hold, and in which order: the same question for who proposes a block and for who judges one.

- Every transaction can be read and is signed by all its signers.
- None expires further ahead than block time allows: it waits until block time has caught up with its sender's clock.
- Those that cost no quota (revocations, erasures) come before all others, so that no proposer puts a revocation behind
  the request that it is to stop.
- All of them together are no longer than the ledger's parameters say; one alone always may be.

What has expired since it was sent, or was in a block already, may be in a block: it is refused there with its code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from caremesh.consensus.cometbft.checked import CheckedTransactions
from caremesh.errors import CareMeshError
from caremesh.ledger.application import Application, Params
from caremesh.ledger.comet import varint
from caremesh.ledger.transactions import CheckedTx
from caremesh.types import Seconds


class Proposals:
    """The rules above, for one application."""

    def __init__(self, app: Application, checked: CheckedTransactions, params: Callable[[], Params]) -> None:
        self._app: Final = app
        self._checked: Final = checked
        self._params: Final = params

    def prepare(self, waiting: Iterable[bytes], time: Seconds, max_tx_bytes: int) -> list[bytes]:
        """The block that is made of what waits. ``max_tx_bytes``: what CometBFT has room for, with its framing."""
        sound = [(raw, tx) for raw in waiting if (tx := self._sound(raw, time)) is not None]
        free = [raw for raw, tx in sound if self._is_free(tx)]
        paid = [raw for raw, tx in sound if not self._is_free(tx)]
        room, limit = max_tx_bytes, self._params().max_block_bytes
        taken: list[bytes] = []
        for raw in (*free, *paid):
            room -= 1 + len(varint(len(raw))) + len(raw)  # a field of CometBFT's block
            limit -= len(raw)
            if room < 0 or (limit < 0 and taken):
                break
            taken.append(raw)
        return taken

    def is_acceptable(self, raws: Sequence[bytes], time: Seconds) -> bool:
        """Whether a proposed block keeps to the rules."""
        if len(raws) > 1 and sum(map(len, raws)) > self._params().max_block_bytes:
            return False
        paid_before = False
        for raw in raws:
            tx = self._sound(raw, time)
            if tx is None:
                return False
            free = self._is_free(tx)
            if free and paid_before:
                return False
            paid_before = paid_before or not free
        return True

    def _sound(self, raw: bytes, time: Seconds) -> CheckedTx | None:
        try:
            tx = self._checked.decode(raw)
        except CareMeshError:
            return None
        return None if tx.tx.expires_at > time + self._params().tx_ttl_s else tx

    def _is_free(self, tx: CheckedTx) -> bool:
        return all(self._app.quota_exempt(message) for message in tx.tx.msgs)
