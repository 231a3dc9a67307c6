"""Nodes of one network keep each other's blocks: what is damaged at one is made good out of another, by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from caremesh import codec
from caremesh.errors import Refused
from caremesh.testing.clock import SettableClock
from tests.support.near import Near, found

ONE = bytes([1]) * 32
DATA = bytes(1_000)
NAME = codec.cid_of_raw(DATA)


@pytest.fixture
def near(tmp_path: Path) -> Iterator[Near]:
    clock = SettableClock()
    found(tmp_path, clock())
    made = Near(tmp_path, clock)
    made.start("operator")
    yield made
    made.close()


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.promise("P6")
def test_what_someone_did_not_get_is_made_good_at_once(near: Near) -> None:
    first = near.start("first")
    for node in near.nodes.values():
        node.member.holder.put_many(node.home.did, {ONE: {NAME: DATA}})
    path = next((first.folder / "blocks").rglob(NAME.encode()))
    path.write_bytes(b"damaged")
    first.suspect(NAME)
    wait_for(lambda: first.keeper.counts["repaired"] == 1)
    assert path.read_bytes() == DATA
    assert first.damaged == {NAME}
    assert first.keeper.counts["damaged"] == 1
    first.suspect(codec.cid_of_raw(b"never here"))
    assert not first.keeper.check._suspects


def test_quotas_are_those_of_the_settings(near: Near) -> None:
    first = near.start("first", blocks_quota_bytes="1500", blocks_wallets_quota_bytes="10")
    store = near.nodes["operator"].ways.holders()[first.home.did]
    store.put(ONE, NAME, DATA)
    with pytest.raises(Refused, match=r"blobs\.05"):
        store.put(ONE, codec.cid_of_raw(bytes(501)), bytes(501))
    with pytest.raises(Refused, match=r"blobs\.05.*11 of 10"):
        first.member.holder.put_many(f"{first.home.did}#wallets", {ONE: {codec.cid_of_raw(bytes(11)): bytes(11)}})
