"""Many transactions at once: all that their bytes alone decide is checked by whatever pool of workers the node has.

A pool of processes works beside the interpreter that executes, and most of a transaction's cost is its signatures. A
pool of threads gains nothing: each signature hands the interpreter's lock over twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from functools import lru_cache, partial
from itertools import chain, islice
from typing import Any, Final, TypeAlias

from caremesh.errors import CareMeshError
from caremesh.ledger.transactions import CheckedTx, TransactionCodec

_BATCH: Final = 128
"""Transactions that a worker checks at a time."""

Faults: TypeAlias = list[CareMeshError | None]
"""For each transaction the error that decoding it raises, None when it is sound."""


class Verifier:
    """Decodes transactions as ``TransactionCodec.decode`` does, with the same outcome."""

    def __init__(self, reader: TransactionCodec, pool: Executor | None = None) -> None:
        self._codec: Final = reader
        self._pool: Final = pool

    def verdicts(self, raws: Sequence[bytes], group: int) -> Iterator[tuple[Sequence[bytes], Faults | None]]:
        """The transactions in groups, each as soon as the pool has looked at it: the fault of each, None where none is.

        No pool, or too few to be worth its while: all at once, and None in place of the faults. Waiting for the pool
        holds nothing up; ``read`` then does what only this process can do.
        """
        if self._pool is None or len(raws) <= _BATCH:
            yield raws, None
            return
        parts = [raws[at : at + _BATCH] for at in range(0, len(raws), _BATCH)]
        found = self._pool.map(partial(faults, self._codec.messages), parts)
        whole = -(-group // _BATCH)
        for at in range(0, len(parts), whole):
            together = parts[at : at + whole]
            yield list(chain(*together)), list(chain(*islice(found, len(together))))

    def read(self, raws: Sequence[bytes], known: Faults | None) -> list[CheckedTx | CareMeshError]:
        """For each transaction of a group what ``decode`` gives, or the error that it raises."""
        if known is None:
            return [_outcome(self._codec, raw) for raw in raws]
        rows = zip(raws, known, strict=True)
        return [self._codec.decode_again(raw) if fault is None else fault for raw, fault in rows]

    def decode_all(self, raws: Sequence[bytes]) -> list[CheckedTx | CareMeshError]:
        """For each signed transaction what ``decode`` gives, or the error that it raises."""
        return [row for group, known in self.verdicts(raws, _BATCH) for row in self.read(group, known)]

    def decode_or_keep(self, raws: Sequence[bytes]) -> list[bytes | CheckedTx]:
        """For each what ``decode`` gives, or its bytes, so that executing them says what is wrong."""
        rows = self.decode_all(raws)
        return [raw if isinstance(row, CareMeshError) else row for raw, row in zip(raws, rows, strict=True)]


def faults(messages: Any, raws: Sequence[bytes]) -> Faults:
    """For each transaction the error that decoding it raises, None when it is sound; done by a worker.

    ``messages``: the union of the application's messages.
    """
    reader = _reader(messages)
    return [row if isinstance(row, CareMeshError) else None for row in (_outcome(reader, raw) for raw in raws)]


@lru_cache(maxsize=4)
def _reader(messages: Any) -> TransactionCodec:
    return TransactionCodec(messages)


def _outcome(reader: TransactionCodec, raw: bytes) -> CheckedTx | CareMeshError:
    try:
        return reader.decode(raw)
    except CareMeshError as error:
        return error
