"""A holder of blocks: quotas, giving up, and collecting what nobody registers."""

import threading
from pathlib import Path
from typing import Any

import pytest

from caremesh import codec
from caremesh.blobs.accounts import Account, Accounts
from caremesh.blobs.filesystem import FilesystemBlocks
from caremesh.blobs.memory import MemoryBlocks
from caremesh.codec import CID
from caremesh.errors import BadInput, Refused, StorageFailed, Tampered
from tests.support.holders import DAY_S, ME, OTHER, SOURCE, Copy, every, holder, segment

ONE, TWO = bytes([1]) * 32, bytes([2]) * 32
DATA = bytes(100)
NAME = codec.cid_of_raw(DATA)


def blocks(count: int, size: int = 100) -> dict[CID, bytes]:
    found = [bytes([i]) * size for i in range(count)]
    return {codec.cid_of_raw(data): data for data in found}


def test_a_quota_counts_each_block_of_each_stream_once(tmp_path: Path) -> None:
    mine = holder(tmp_path, Copy(), quota_bytes=1_000)
    theirs = mine.of(OTHER)
    for _ in range(3):
        theirs.put_all(ONE, blocks(6))
    assert mine.accounts.used_bytes(OTHER) == 600
    theirs.put(TWO, *next(iter(blocks(1).items())))
    assert mine.accounts.used_bytes(OTHER) == 700
    mine.of(SOURCE).put_all(ONE, blocks(6))
    assert (mine.accounts.used_bytes(OTHER), mine.accounts.used_bytes(SOURCE)) == (700, 0)


def test_what_is_over_the_quota_is_refused_whole(tmp_path: Path) -> None:
    mine = holder(tmp_path, Copy(), quota_bytes=1_000, quotas={SOURCE: 2_000})
    mine.of(OTHER).put_all(ONE, blocks(6))
    with pytest.raises(Refused, match=r"blobs\.05.*1100 of 1000 bytes"):
        mine.of(OTHER).put_all(TWO, blocks(5))
    assert mine.accounts.used_bytes(OTHER) == 600
    assert all(mine.store.streams_of(cid) == [ONE] for cid in mine.store.names(None, 99))
    mine.of(OTHER).put_all(TWO, blocks(4))
    mine.of(OTHER).put_all(TWO, blocks(4))
    mine.of(SOURCE).put_all(TWO, blocks(20))
    mine.of(ME).put_all(TWO, blocks(50))
    mine.drop(TWO, next(iter(blocks(1))))
    assert mine.accounts.used_bytes(OTHER) == 900


def test_full_is_full_only_for_what_is_new(tmp_path: Path) -> None:
    """A quota that was lowered refuses nothing that is here already: an import that is finished later."""
    mine = holder(tmp_path, Copy(), quota_bytes=600)
    mine.of(OTHER).put_all(ONE, blocks(6))
    mine._quota_bytes = 100
    mine.of(OTHER).put_all(ONE, blocks(6))
    with pytest.raises(Refused, match=r"blobs\.05"):
        mine.of(OTHER).put_all(ONE, blocks(7))


def test_a_block_that_is_too_large_is_refused(tmp_path: Path) -> None:
    mine, data = holder(tmp_path, Copy()), bytes(2**20 + 1)
    with pytest.raises(BadInput, match=r"blobs\.03"):
        mine.of(OTHER).put(ONE, codec.cid_of_raw(data), data)
    mine.of(OTHER).put(ONE, codec.cid_of_raw(data[1:]), data[1:])


@pytest.mark.promise("P5")
def test_what_the_store_did_not_take_costs_nothing(tmp_path: Path) -> None:
    class Full(MemoryBlocks):
        def put_many(self, held: Any) -> None:  # noqa: ARG002 - as a store
            raise StorageFailed(codec.BAD_CID)

    mine = holder(tmp_path, Copy(), store=Full())
    with pytest.raises(StorageFailed):
        mine.of(OTHER).put(ONE, NAME, DATA)
    assert (mine.accounts.used_bytes(OTHER), mine.accounts.of((ONE, NAME))) == (0, None)
    with pytest.raises(Tampered):
        mine.of(OTHER).put(ONE, NAME, b"other")
    assert mine.accounts.used_bytes(OTHER) == 0


def test_accounts_are_there_after_a_restart(tmp_path: Path) -> None:
    mine = holder(tmp_path, Copy(5))
    mine.of(OTHER).put(ONE, NAME, DATA)
    mine.accounts.close()
    again = Accounts(tmp_path)
    assert again.of((ONE, NAME)) == Account(OTHER, 100, 5)
    again.leave([(ONE, NAME), (ONE, NAME)])
    assert (again.used_bytes(OTHER), again.of((ONE, NAME))) == (0, None)


@pytest.mark.promise("P5")
def test_what_nobody_registers_goes_after_a_day_and_what_is_named_stays(tmp_path: Path) -> None:
    ledger, sealed, other = Copy(time=10 * DAY_S), segment(ONE), segment(ONE, b"other")
    mine = holder(tmp_path, ledger)
    mine.of(SOURCE).put_many({ONE: every(sealed) | every(other), TWO: every(sealed)})
    ledger.register(ONE, sealed.descriptor_cid)
    ledger.time += DAY_S - 1
    assert mine.collect() == []
    ledger.time += 1
    assert set(mine.collect()) == {(ONE, cid) for cid in every(other)} | {(TWO, cid) for cid in every(sealed)}
    for cid in every(sealed):
        assert mine.store.streams_of(cid) == [ONE]
    assert not any(mine.store.has(cid) for cid in every(other))
    assert mine.accounts.used_bytes(SOURCE) == sum(map(len, every(sealed).values()))
    ledger.time += 99 * DAY_S
    assert mine.collect() == []


def test_of_what_is_gone_nothing_is_left_in_the_table(tmp_path: Path) -> None:
    mine = holder(tmp_path, Copy())
    mine.of(OTHER).put_all(ONE, blocks(9))
    for cid in blocks(9):
        mine.drop(ONE, cid)
    assert (mine.accounts._env.stat()["entries"], mine.accounts.used_bytes(OTHER)) == (1, 0)


def test_what_is_known_to_be_named_is_not_looked_at_again(tmp_path: Path) -> None:
    ledger, sealed = Copy(), segment(ONE)
    mine = holder(tmp_path, ledger)
    mine.of(SOURCE).put_all(ONE, every(sealed))
    ledger.register(ONE, sealed.descriptor_cid)
    ledger.time += DAY_S
    assert mine.accounts.unsettled(ledger.time) != {}
    assert mine.collect() == []
    assert mine.accounts.unsettled(ledger.time) == {}


@pytest.mark.promise("P5")
def test_what_is_brought_again_counts_from_then(tmp_path: Path) -> None:
    ledger = Copy()
    mine = holder(tmp_path, ledger)
    mine.of(OTHER).put(ONE, NAME, DATA)
    ledger.time += DAY_S - 1
    mine.of(SOURCE).put(ONE, NAME, DATA)
    ledger.time += 1
    assert mine.collect() == []
    ledger.time += DAY_S
    assert mine.collect() == [(ONE, NAME)]


@pytest.mark.promise("P5")
def test_a_copy_of_the_ledger_that_is_behind_drops_nothing(tmp_path: Path) -> None:
    ledger, now = Copy(), [DAY_S]
    mine = holder(tmp_path, ledger, clock=lambda: now[0])
    mine.of(OTHER).put(ONE, NAME, DATA)
    now[0] += 5 * DAY_S
    ledger.time += DAY_S - 1
    assert mine.collect() == []
    now[0], ledger.time = DAY_S, 5 * DAY_S  # nor does one with a clock that is behind
    assert mine.collect() == []


@pytest.mark.promise("P5")
def test_when_a_named_descriptor_is_lost_nothing_of_its_stream_goes(tmp_path: Path) -> None:
    ledger, sealed = Copy(), segment(ONE)
    mine = holder(tmp_path, ledger, store=FilesystemBlocks(tmp_path / "blocks"))
    mine.of(SOURCE).put_many({ONE: every(sealed), TWO: {NAME: DATA}})
    ledger.register(ONE, sealed.descriptor_cid)
    ledger.time += DAY_S
    for damage in (b"damaged", None):
        path = next((tmp_path / "blocks").rglob(sealed.descriptor_cid.encode()))
        path.unlink() if damage is None else path.write_bytes(damage)
        assert mine.collect() == ([(TWO, NAME)] if damage else [])
        with pytest.raises(Refused, match=r"blobs\.06"):
            mine.of(SOURCE).delete(ONE, sealed.descriptor_cid)
    assert all(mine.store.has(cid) for cid in sealed.blocks)


@pytest.mark.promise("P5")
def test_a_block_that_comes_again_just_before_it_is_collected_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Copy()
    mine = holder(tmp_path, ledger)
    mine.of(OTHER).put(ONE, NAME, DATA)
    ledger.time += DAY_S
    real = mine.accounts.settle

    def settle(places: Any) -> None:
        mine.of(OTHER).put(ONE, NAME, DATA)
        real(places)

    monkeypatch.setattr(mine.accounts, "settle", settle)
    assert mine.collect() == []
    assert mine.store.has(NAME)


@pytest.mark.promise("P5")
def test_nobody_brings_a_block_while_it_is_dropped(tmp_path: Path) -> None:
    """The store is asked to hold it again only when it has let go: what was acknowledged is there."""
    arrived, go_on = threading.Event(), threading.Event()

    class Slow(MemoryBlocks):
        def delete(self, stream: bytes, cid: CID) -> None:
            arrived.set()
            assert go_on.wait(10)
            super().delete(stream, cid)

    ledger = Copy()
    mine = holder(tmp_path, ledger, store=Slow())
    mine.of(OTHER).put(ONE, NAME, DATA)
    ledger.time += DAY_S
    collecting = threading.Thread(target=mine.collect)
    collecting.start()
    assert arrived.wait(10)
    bringing = threading.Thread(target=mine.of(OTHER).put, args=(ONE, NAME, DATA))
    bringing.start()
    bringing.join(0.2)
    go_on.set()
    collecting.join()
    bringing.join()
    assert mine.store.get(NAME) == DATA
    assert mine.accounts.of((ONE, NAME)) is not None


def test_only_who_brought_a_block_gives_it_up_and_only_when_it_is_not_named(tmp_path: Path) -> None:
    ledger, sealed = Copy(), segment(ONE)
    mine = holder(tmp_path, ledger)
    mine.of(SOURCE).put_all(ONE, every(sealed) | {NAME: DATA})
    ledger.register(ONE, sealed.descriptor_cid)
    with pytest.raises(Refused, match=r"blobs\.07"):
        mine.of(OTHER).delete(ONE, NAME)
    mine.of(SOURCE).delete(ONE, NAME)
    mine.of(SOURCE).delete(ONE, NAME)
    assert not mine.store.has(NAME)
    for cid in every(sealed):
        with pytest.raises(Refused, match=r"blobs\.06"):
            mine.of(SOURCE).delete(ONE, cid)
    mine.of(ME).delete(ONE, sealed.descriptor_cid)
    assert not mine.store.has(sealed.descriptor_cid)


def test_what_is_registered_but_no_descriptor_stands_for_itself(tmp_path: Path) -> None:
    ledger, odd = Copy(), codec.encode({"not": "a descriptor"})
    mine = holder(tmp_path, ledger)
    mine.of(SOURCE).put_all(ONE, {codec.cid_of_cbor(odd): odd, NAME: DATA})
    ledger.register(ONE, codec.cid_of_cbor(odd))
    ledger.time += DAY_S
    assert mine.collect() == [(ONE, NAME)]
