"""Many signatures at once: the verdicts, their order and their owners are those of one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from caremesh.consensus import verification
from caremesh.consensus.verification import Verifier, faults
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, CareMeshError, Tampered
from caremesh.ledger.transactions import SIGNING_DOMAIN, Signer, TransactionCodec, Tx, assemble, encode
from tests.support.kv import CHAIN, MEMBER, START_S, Kv, Put, as_signer

READER = TransactionCodec(Kv([MEMBER]).messages)
STREAM = SigningKey.from_seed(b"stream".ljust(32, b"."))


class Counting(ThreadPoolExecutor):
    """One worker, which counts what it is given at a time."""

    def __init__(self) -> None:
        super().__init__(1)
        self.sizes: list[int] = []

    def map(self, fn: Any, *iterables: Any, **options: Any) -> Iterator[Any]:
        rows = list(iterables[0])
        self.sizes += [len(row) for row in rows]
        return super().map(fn, rows, **options)


def signed(number: int, *, member: bool = True, stream: bool = True) -> bytes:
    """A transaction with two signers, whose signatures may be bad."""
    tx: Tx[Put] = Tx(
        chain=CHAIN,
        expires_at=START_S,
        salt=b"%08d" % number,
        signers=[Signer(key=STREAM.public), as_signer(MEMBER)],
        msgs=[Put(key=b"k", value=b"v")],
    )
    data = encode(tx)
    good = [STREAM.sign(SIGNING_DOMAIN + data), MEMBER.sign(SIGNING_DOMAIN + data)]
    return assemble(data, [good[0] if stream else bytes(64), good[1] if member else bytes(64)])


def verdicts(rows: list[Any]) -> list[str]:
    return [row.code if isinstance(row, CareMeshError) else "" for row in rows]


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 64])
@pytest.mark.parametrize("pooled", [False, True])
def test_each_verdict_is_that_of_its_transaction(monkeypatch: pytest.MonkeyPatch, batch: int, pooled: bool) -> None:
    monkeypatch.setattr(verification, "_BATCH", batch)
    raws = [
        signed(0),
        signed(1, stream=False),
        b"\xff",
        signed(2, member=False),
        signed(3),
        signed(4, member=False, stream=False),
        b"",
        signed(5),
    ]
    expected = ["", "signatures.03", "codec.01", "signatures.03", "", "signatures.03", "codec.01", ""]
    with Counting() as pool:
        verifier = Verifier(READER, pool if pooled else None)
        rows = verifier.decode_all(raws)
        assert verdicts(rows) == expected
        assert [type(row) for row in rows if isinstance(row, CareMeshError)] == [
            Tampered,
            BadInput,
            Tampered,
            Tampered,
            BadInput,
        ]
        kept = verifier.decode_or_keep(raws)
        assert [isinstance(row, bytes) for row in kept] == [code != "" for code in expected]
        assert [row if isinstance(row, bytes) else row.signed for row in kept] == raws
        sizes = [min(batch, 8 - at) for at in range(0, 8, batch)]
        assert pool.sizes == (2 * sizes if pooled and batch < 8 else [])


@pytest.mark.parametrize("count", [3, 4])
def test_a_pool_is_asked_for_more_than_a_batch(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(verification, "_BATCH", 3)
    with Counting() as pool:
        assert verdicts(Verifier(READER, pool).decode_all([signed(number) for number in range(count)])) == [""] * count
        assert pool.sizes == ([] if count == 3 else [3, 1])


def test_nothing_is_verified_as_nothing() -> None:
    assert Verifier(READER).decode_all([]) == []
    assert faults(Kv([MEMBER]).messages, []) == []


def test_a_worker_names_the_fault_of_each() -> None:
    given = [signed(1, member=False), signed(2), b"", signed(3, stream=False)]
    found = faults(Kv([MEMBER]).messages, given)
    assert ["" if fault is None else fault.code for fault in found] == [
        "signatures.03",
        "",
        "codec.01",
        "signatures.03",
    ]
