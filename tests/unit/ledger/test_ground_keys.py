"""Keys ground into one bucket cost whoever ground them, not the replicas: what a change hashes is bounded by depth."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pytest

from caremesh.ledger import authenticated_map, trie
from caremesh.ledger.authenticated_map import AuthenticatedMap
from caremesh.ledger.trie import Entry

CROWD = 2_000
BUCKET = b"\x07\x07"
LEAF, OTHER = b"l" * 32, b"m" * 32


def scattered(prefix: bytes, count: int) -> list[Entry]:
    """Digests of one bucket as a grinder gets them: equal in front, random behind."""
    return sorted((prefix + sha256(b"%d" % number).digest()[: 32 - len(prefix)], LEAF) for number in range(count))


def ladder() -> list[Entry]:
    """Worse than anyone can grind: each digest shares one bit more with the last, down to the last bit."""
    zeros = int.from_bytes(BUCKET + bytes(30))
    return sorted(((zeros | 1 << bit).to_bytes(32), LEAF) for bit in range(240))


def hashes_of(change: tuple[bytes, bytes | None], entries: Sequence[Entry], monkeypatch: pytest.MonkeyPatch) -> int:
    """How many hashes one change costs in a map that holds these."""
    made = AuthenticatedMap()
    made.load(entries)
    slot = [row for row in entries if trie.slot_of(row[0]) == trie.slot_of(change[0])]
    held = dict(entries)
    made.apply(
        made.stage([(change[0], held.get(change[0]))], lambda _: slot)
    )  # the first touch pays for the crowd, once
    count = 0

    def counting(*data: Any) -> Any:
        nonlocal count
        count += 1
        return sha256(*data)

    for module in (trie, authenticated_map):
        monkeypatch.setattr(module, "sha256", counting)
    staged = made.stage([change], lambda _: slot)
    monkeypatch.undo()
    assert count
    expected = dict(held)
    if change[1] is None:
        del expected[change[0]]
    else:
        expected[change[0]] = change[1]
    assert staged.above[trie.BUCKETS + 0x0707] == trie.subtree_root(sorted(expected.items()))
    return count


@pytest.mark.parametrize("shared_bytes", [2, 3, 8])
def test_a_crowd_costs_no_more_than_its_depth(shared_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = BUCKET + bytes(shared_bytes - 2)
    crowd = scattered(prefix, CROWD)
    alone = hashes_of((crowd[0][0], OTHER), crowd[:1], monkeypatch)
    assert alone <= trie.SLOT_BITS + 1
    deepest = 8 * shared_bytes + 32  # 2^32 random keys share no more bits than these, but by chance
    for change in ((crowd[7][0], OTHER), (crowd[7][0], None), (prefix + b"\xee" * (32 - shared_bytes), LEAF)):
        assert hashes_of(change, crowd, monkeypatch) <= deepest + trie.SLOT_BITS


def test_even_the_deepest_trie_is_bounded_by_the_length_of_a_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = ladder()
    for change in ((deep[0][0], OTHER), (deep[-1][0], None)):
        assert hashes_of(change, deep, monkeypatch) <= 256 + trie.SLOT_BITS
