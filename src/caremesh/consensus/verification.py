"""Many transactions at once: decoded here, their signatures verified by whatever pool of workers the node has.

A pool of processes verifies beside the interpreter that executes; a pool of threads spends most of what it gains on
handing over the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Final

from caremesh.crypto import signatures
from caremesh.errors import CareMeshError, Tampered
from caremesh.ledger.transactions import SIGNING_DOMAIN, CheckedTx, TransactionCodec

_BATCH: Final = 64
"""Signatures that a worker verifies at a time."""

Check = tuple[bytes, bytes, bytes]
"""(key, message, signature)"""


class Verifier:
    """Decodes transactions as ``TransactionCodec.decode`` does, with the same outcome."""

    def __init__(self, reader: TransactionCodec, pool: Executor | None = None) -> None:
        self._codec: Final = reader
        self._pool: Final = pool

    def decode_all(self, raws: Sequence[bytes]) -> list[CheckedTx | CareMeshError]:
        """For each signed transaction what ``decode`` gives, or the error that it raises."""
        found: list[CheckedTx | CareMeshError] = []
        checks: list[Check] = []
        owners: list[int] = []
        for at, raw in enumerate(raws):
            try:
                checked, (tx_bytes, signs) = self._codec.read(raw)
            except CareMeshError as error:
                found.append(error)
                continue
            found.append(checked)
            message = SIGNING_DOMAIN + tx_bytes
            for signer, signature in zip(checked.tx.signers, signs, strict=True):
                checks.append((signer.key, message, signature))
                owners.append(at)
        for row in self._failing(checks):
            found[owners[row]] = Tampered(signatures.BAD_SIGNATURE)
        return found

    def decode_or_keep(self, raws: Sequence[bytes]) -> list[bytes | CheckedTx]:
        """For each what ``decode`` gives, or its bytes, so that executing them says what is wrong."""
        rows = self.decode_all(raws)
        return [raw if isinstance(row, CareMeshError) else row for raw, row in zip(raws, rows, strict=True)]

    def _failing(self, checks: list[Check]) -> list[int]:
        if self._pool is None or len(checks) <= _BATCH:
            return failing(checks)
        starts = range(0, len(checks), _BATCH)
        parts = self._pool.map(failing, [checks[at : at + _BATCH] for at in starts])
        return [at + row for at, part in zip(starts, parts, strict=True) for row in part]


def failing(checks: Sequence[Check]) -> list[int]:
    """Positions of the signatures that do not hold."""
    found = []
    for at, (key, message, signature) in enumerate(checks):
        try:
            signatures.verify(key, message, signature)
        except Tampered:
            found.append(at)
    return found
