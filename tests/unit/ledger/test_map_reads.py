"""A change of a key that is alone in its slot is staged without a look at the database."""

from __future__ import annotations

from pathlib import Path

import pytest

from caremesh.ledger.authenticated_map import AuthenticatedMap
from caremesh.ledger.store import Read
from caremesh.ledger.trie import Entry, slot_of, walk
from tests.support.kv import Put, engine, transaction

LONE = b"\x12\x34\x56" + bytes(29)


def nothing(slot: int) -> list[Entry]:
    raise AssertionError(f"slot {slot} was read")


def test_a_lone_key_is_replaced_without_a_read() -> None:
    made = AuthenticatedMap()
    made.load([(LONE, b"l" * 32)])
    staged = made.stage([(LONE, b"m" * 32)], nothing, {LONE})
    assert staged == made.stage([(LONE, b"m" * 32)], lambda _: [(LONE, b"l" * 32)])
    removed = made.stage([(LONE, None)], nothing, {LONE})
    assert removed.root == AuthenticatedMap().root


def test_another_key_in_its_slot_is_read() -> None:
    made, other = AuthenticatedMap(), LONE[:-1] + b"\1"
    made.load([(LONE, b"l" * 32)])
    assert slot_of(other) == slot_of(LONE)
    asked = []
    made.stage([(other, b"m" * 32)], lambda slot: asked.append(slot) or [(LONE, b"l" * 32)])  # type: ignore[func-returns-value]
    assert asked == [slot_of(LONE)]


def test_a_block_that_replaces_lone_keys_reads_no_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine(tmp_path)
    made.submit(transaction(Put(key=b"1", value=b"1")))
    read, asked = Read.slot, []
    monkeypatch.setattr(Read, "slot", lambda self, number: asked.append(number) or read(self, number))
    made.submit(transaction(Put(key=b"1", value=b"2")))
    made.close()
    assert not asked


@pytest.mark.parametrize("ends", [[1], [1, 2], []])
def test_the_first_slot_is_one_like_any_other(ends: list[int]) -> None:
    entries = [(bytes(31) + bytes([end]), bytes([end]) * 32) for end in ends]
    made = AuthenticatedMap()
    made.load(entries)
    for sought in (bytes(31) + b"\1", bytes(31) + b"\2", bytes(31) + b"\3"):
        end, beside = walk(made.trie(0, lambda _: entries), sought)
        assert made.find(sought, lambda _: entries) == (None if end is None else end.digest, beside)
