"""Seeded streams of transactions for the kernel's small application: valid, refused, replayed, malformed."""

from __future__ import annotations

import random
from collections.abc import Iterator

from caremesh.crypto.keys import SigningKey
from caremesh.ledger.transactions import Message
from tests.support.kv import (
    START_S,
    Append,
    Delete,
    DropFirst,
    Put,
    Refuse,
    Revoke,
    transaction,
)

STRANGER = SigningKey.from_seed(b"stranger".ljust(32, b"."))


def message(rng: random.Random) -> Message:
    """Any message but the one that makes the handler fail."""
    key = b"%d" % rng.randrange(60)
    return rng.choice(
        [
            Put(key=key, value=rng.randbytes(rng.randrange(30))),
            Put(key=key, value=b"same"),
            Delete(key=key),
            Revoke(key=key),
            Append(owner=key[:1], item=rng.randbytes(4)),
            DropFirst(owner=key[:1]),
            Refuse(key=key) if rng.random() < 0.2 else Append(owner=b"all", item=key),
        ]
    )


def blocks(seed: int, count: int, most: int = 12) -> Iterator[tuple[int, list[bytes]]]:
    """(time, transactions) of blocks as a careless or malicious proposer might make them."""
    rng = random.Random(seed)  # noqa: S311 - a seed must replay
    now, sent = START_S, list[bytes]()
    for _ in range(count):
        now += rng.choice([0, 0, 1, 30, 200])
        txs: list[bytes] = []
        for _ in range(rng.randrange(most)):
            kind = rng.random()
            messages = [message(rng) for _ in range(rng.randrange(1, 4))]
            expires_at = now + rng.choice([0, 60, 300, 600, -1, 601]) if kind < 0.4 else now + 300
            raw = transaction(*messages, expires_at=expires_at, salt=rng.randbytes(8))
            if kind > 0.97:
                raw = transaction(*messages, expires_at=expires_at, key=STRANGER, salt=rng.randbytes(8))
            elif kind > 0.94:
                at = rng.randrange(len(raw))
                raw = raw[:at] + bytes([raw[at] ^ 1 << rng.randrange(8)]) + raw[at + 1 :]
            elif kind > 0.91:
                raw = rng.randbytes(rng.randrange(100))
            elif kind > 0.85 and sent:
                raw = rng.choice(sent)
            sent.append(raw)
            txs.append(raw)
        yield now, txs
