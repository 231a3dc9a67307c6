"""What a run of an hour would be told of: each of the things that must not grow without end."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bench._steady import BY_BLOCK_BYTES, BY_TX_BYTES, SLACK_MIB, Look, judged

HALF = Look(
    minutes=30,
    txs=2**20,
    blocks=2**20,
    ledger_mib=1,
    cometbft_mib=1,
    wal_mib=1,
    memory_mib=1_000,
    cometbft_memory_mib=1_000,
)
END = replace(HALF, minutes=60, txs=2**21, blocks=2**21)


def test_what_is_kept_of_each_transaction_and_block_may_grow() -> None:
    assert judged(HALF, HALF) == []
    much = replace(END, ledger_mib=1 + SLACK_MIB + BY_TX_BYTES, cometbft_mib=1 + SLACK_MIB + BY_BLOCK_BYTES)
    assert judged(HALF, replace(much, memory_mib=1_300, cometbft_memory_mib=1_300)) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ledger_mib", 2 + SLACK_MIB + BY_TX_BYTES),
        ("cometbft_mib", 2 + SLACK_MIB + BY_BLOCK_BYTES),
        ("wal_mib", 1_101),
        ("memory_mib", 1_301),
        ("cometbft_memory_mib", 1_301),
    ],
)
def test_what_has_grown_by_more_is_named(name: str, value: float) -> None:
    assert judged(HALF, replace(END, **{name: value})) == [name]
