"""Transactions whose signatures were verified once: they are not verified again when they come in a block.

What makes a transaction sound is a function of its bytes alone, so what was found may be kept under them.
"""

from __future__ import annotations

import threading
from typing import Final

from caremesh.ledger.transactions import CheckedTx, TransactionCodec

MAX_KEPT: Final = 60_000
MAX_KEPT_BYTES: Final = 64 * 2**20


class CheckedTransactions:
    """Decodes as ``TransactionCodec.decode`` does, and remembers what was sound, the oldest going first."""

    def __init__(self, codec: TransactionCodec, most: int = MAX_KEPT, most_bytes: int = MAX_KEPT_BYTES) -> None:
        self._codec: Final = codec
        self._most: Final = most
        self._most_bytes: Final = most_bytes
        self._kept: Final[dict[bytes, CheckedTx]] = {}
        self._bytes = 0
        self._turn: Final = threading.Lock()
        self.verified = 0
        """How many were decoded and verified, and not remembered."""

    def decode(self, raw: bytes) -> CheckedTx:
        """The transaction in these bytes. Raises BadInput tx.NN and codec.NN, Tampered signatures.03."""
        known = self._kept.get(raw)
        if known is not None:
            return known
        checked = self._codec.decode(raw)
        with self._turn:
            self.verified += 1
            if raw not in self._kept:
                self._kept[raw] = checked
                self._bytes += len(raw)
            while len(self._kept) > self._most or self._bytes > self._most_bytes:
                self._drop(next(iter(self._kept)))
        return checked

    def forget(self, raws: list[bytes]) -> None:
        """Let go of those that are in a block now."""
        with self._turn:
            for raw in raws:
                self._drop(raw)

    def _drop(self, raw: bytes) -> None:
        if self._kept.pop(raw, None) is not None:
            self._bytes -= len(raw)
