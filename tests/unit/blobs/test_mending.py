"""Damaged and missing blocks: found on reading and by the slow check, named, and made good from other members."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from caremesh import codec
from caremesh.blobs.checking import Check, Row
from caremesh.blobs.filesystem import FilesystemBlocks
from caremesh.blobs.interface import NO_SERVICE
from caremesh.blobs.memory import MemoryBlocks
from caremesh.blobs.mending import MendingBlocks, OtherHolders
from caremesh.blobs.noticed import Noticed
from caremesh.blobs.placement import placed, preferred
from caremesh.codec import CID
from caremesh.errors import StorageFailed, Tampered, Unavailable
from tests.support.holders import ME, OTHER, SOURCE, every, segment

ONE, TWO = bytes([1]) * 32, bytes([2]) * 32
BLOCKS = {codec.cid_of_raw(bytes([i]) * 100): bytes([i]) * 100 for i in range(40)}
NAME, DATA = next(iter(BLOCKS.items()))


class Rows:
    """A catalogue that is a list."""

    def __init__(self, rows: list[tuple[bytes, CID]]) -> None:
        self.all = [Row(number.to_bytes(4), stream, cid) for number, (stream, cid) in enumerate(rows)]
        self.gone: set[CID] = set()

    def rows(self, after: bytes, limit: int) -> list[Row]:
        return [row for row in self.all if row.place > after or not after][:limit]

    def stands(self, row: Row) -> bool:
        return row.descriptor not in self.gone


class Scene:
    """This member's blocks in a folder, and those of another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "blocks"
        self.store = FilesystemBlocks(self.folder)
        self.other, self.third = MemoryBlocks(), MemoryBlocks()
        self.seen: list[Noticed] = []
        self.others = OtherHolders({OTHER: self.other, SOURCE: self.third}, self.seen.append)
        self.mending = MendingBlocks(ME, self.store, self.others, self.seen.append)
        self.rows = Rows([])
        self.cursor = folder / "cursor"

    def check(self, replicas: int = 3, store: Any = None) -> Check:
        return Check(
            did=ME,
            store=store or self.store,
            others=self.others,
            catalogue=self.rows,
            holders=lambda: [ME, OTHER, SOURCE],
            replicas=lambda: replicas,
            cursor=self.cursor,
            notice=self.seen.append,
        )

    def harm(self, cid: CID, damage: bytes | None) -> None:
        path = self.folder / cid.encode()[-2:] / cid.encode()
        path.unlink() if damage is None else path.write_bytes(damage)

    def kinds(self) -> dict[str, int]:
        return dict(Counter(f"{one.kind} at {one.holder[-1]}" for one in self.seen))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def round_of(check: Check) -> tuple[int, list[CID], list[CID]]:
    read, fetched, bad = 0, [], []
    for _ in range(99):
        done = check.step()
        read, fetched, bad = read + done.blocks, fetched + done.fetched, bad + done.not_repaired
        if done.round_ended:
            return read, fetched, bad
    raise AssertionError


@pytest.mark.promise("P6")
@pytest.mark.promise("P5")
@pytest.mark.parametrize("damage", [b"damaged", b"", None])
def test_reading_makes_good_from_others(scene: Scene, damage: bytes | None, evidence: Any) -> None:
    scene.store.put_many({ONE: {NAME: DATA}, TWO: {NAME: DATA}})
    scene.other.put(ONE, NAME, DATA)
    scene.harm(NAME, damage)
    assert scene.mending.get(NAME) == DATA
    assert (scene.store.get(NAME), scene.store.streams_of(NAME)) == (DATA, [ONE, TWO])
    assert [(one.kind, one.cid, one.holder) for one in scene.seen] == [
        ("missing" if damage is None else "damaged", NAME, ME),
        ("repaired", NAME, ME),
    ]
    assert scene.mending.get(NAME) == DATA
    assert len(scene.seen) == 2
    evidence.fault("block changed or lost where it lies")


@pytest.mark.promise("P6")
def test_what_others_send_is_checked_and_who_lied_is_named(scene: Scene, evidence: Any) -> None:
    order = preferred(ONE, [OTHER, SOURCE])
    stores = {OTHER: scene.other, SOURCE: scene.third}
    for did in order:
        stores[did].put(ONE, NAME, DATA)
    stores[order[0]].get = lambda _: b"something else"  # type: ignore[method-assign]
    scene.store.put(ONE, NAME, DATA)
    scene.harm(NAME, None)
    assert scene.mending.get(NAME) == DATA
    assert scene.seen[1] == Noticed("damaged", NAME, order[0])
    stores[order[1]].delete(ONE, NAME)
    scene.harm(NAME, None)
    with pytest.raises(Unavailable, match=rf"blobs\.09.*{NAME.encode()}; {order[0]}: blobs\.01; {order[1]}: blobs\.02"):
        scene.mending.get(NAME)
    assert scene.seen[-1] == Noticed("not-repaired", NAME, ME)
    assert not scene.store.has(NAME)
    evidence.fault("another member sends a wrong block", 2)


def test_what_is_not_held_here_is_not_brought_here(scene: Scene) -> None:
    scene.other.put(ONE, NAME, DATA)
    with pytest.raises(Unavailable, match=r"blobs\.02"):
        scene.mending.get(NAME)
    assert scene.seen == []


def test_a_full_disk_does_not_stop_reading(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.store.put(ONE, NAME, DATA)
    scene.other.put(ONE, NAME, DATA)
    scene.harm(NAME, b"damaged")

    def full(_: Any) -> None:
        raise StorageFailed(NO_SERVICE)

    with monkeypatch.context() as patched:
        patched.setattr(scene.store, "put_many", full)
        assert scene.mending.get(NAME) == DATA
    assert scene.kinds() == {"damaged at m": 1}
    assert scene.mending.get(NAME) == DATA
    assert scene.store.get(NAME) == DATA


@pytest.mark.promise("P8")
def test_what_was_let_go_of_while_it_was_fetched_does_not_come_back(scene: Scene) -> None:
    scene.store.put_many({ONE: {NAME: DATA}, TWO: {NAME: DATA}})
    scene.harm(NAME, None)

    def fetch(_: bytes, cid: CID) -> bytes:
        scene.store.delete(ONE, cid)
        return DATA

    scene.others.fetch = fetch  # type: ignore[method-assign]
    assert scene.mending.get(NAME) == DATA
    assert scene.store.streams_of(NAME) == [TWO]


@pytest.mark.promise("P6")
def test_the_check_finds_every_harm_and_repairs_what_others_have(scene: Scene, evidence: Any) -> None:
    scene.store.put_all(ONE, BLOCKS)
    harmed = list(BLOCKS)[::3]
    for number, cid in enumerate(harmed):
        scene.harm(cid, [b"damaged", b"", None][number % 3])
        if cid != harmed[-1]:
            scene.other.put(ONE, cid, BLOCKS[cid])
    check = scene.check()
    assert round_of(check) == (len(BLOCKS), [], [harmed[-1]])
    assert {cid: scene.store.get(cid) for cid in BLOCKS if cid != harmed[-1]} == {
        cid: data for cid, data in BLOCKS.items() if cid != harmed[-1]
    }
    counted = Counter(one.kind for one in scene.seen)
    assert counted["damaged"] + counted["missing"] == len(harmed)
    assert (counted["repaired"], counted["not-repaired"]) == (len(harmed) - 1, 1)
    scene.other.put(ONE, harmed[-1], BLOCKS[harmed[-1]])
    assert round_of(check) == (len(BLOCKS), [], [])
    evidence.fault("block changed or lost where it lies", len(harmed))


def test_the_check_goes_on_after_a_restart_from_where_it_stood(scene: Scene) -> None:
    scene.store.put_all(ONE, BLOCKS)
    first = scene.check().step()
    read = round_of(scene.check())[0]
    assert first.blocks > 0
    assert first.blocks + read == len(BLOCKS)
    assert round_of(scene.check())[0] == len(BLOCKS)
    scene.check().step()
    scene.cursor.write_bytes(b"torn")
    assert round_of(scene.check())[0] == len(BLOCKS)


def test_what_is_suspected_is_looked_at_first(scene: Scene) -> None:
    scene.store.put_all(ONE, BLOCKS)
    last = scene.store.names(None, 99)[-1]
    scene.other.put(ONE, last, BLOCKS[last])
    scene.harm(last, b"damaged")
    check = scene.check()
    check.suspect(last)
    check.step()
    assert scene.store.get(last) == BLOCKS[last]


@pytest.mark.promise("P5")
def test_a_lost_disk_is_filled_again_from_what_the_ledger_names(scene: Scene, evidence: Any) -> None:
    sealed = [segment(stream, bytes([number])) for stream in (ONE, TWO) for number in range(4)]
    for number, one in enumerate(sealed):
        (scene.other if number % 2 else scene.third).put_all(ONE if number < 4 else TWO, every(one))
    scene.rows = Rows([(ONE if number < 4 else TWO, one.descriptor_cid) for number, one in enumerate(sealed)])
    wanted = {cid for one in sealed for cid in every(one)}
    _, fetched, bad = round_of(scene.check())
    assert (set(fetched), bad) == (wanted, [])
    assert {cid for cid in wanted if scene.store.has(cid)} == wanted
    assert scene.store.streams_of(sealed[7].descriptor_cid) == [TWO]
    assert scene.kinds() == {"missing at m": len(wanted), "repaired at m": len(wanted)}
    assert round_of(scene.check())[1:] == ([], [])
    evidence.fault("disk of one member lost")


def test_only_what_is_placed_here_is_brought_here(scene: Scene) -> None:
    streams = [bytes([number]) * 32 for number in range(20)]
    sealed = {stream: segment(stream, stream) for stream in streams}
    for stream, one in sealed.items():
        scene.other.put_all(stream, every(one))
    scene.rows = Rows([(stream, one.descriptor_cid) for stream, one in sealed.items()])
    round_of(scene.check(replicas=1))
    mine = [stream for stream in streams if preferred(stream, [ME, OTHER, SOURCE])[0] == ME]
    assert 0 < len(mine) < len(streams)
    assert [stream for stream in streams if scene.store.has(sealed[stream].descriptor_cid)] == mine


@pytest.mark.promise("P5")
def test_a_block_that_is_here_for_another_stream_is_held_for_this_one_too(scene: Scene) -> None:
    sealed = segment(ONE)
    scene.store.put_all(TWO, every(sealed))
    scene.rows = Rows([(ONE, sealed.descriptor_cid)])
    assert set(round_of(scene.check())[1]) == set(every(sealed))
    for cid in every(sealed):
        scene.store.delete(TWO, cid)
        assert scene.store.has(cid)


@pytest.mark.promise("P8")
def test_what_is_erased_while_the_check_fetches_it_does_not_come_back(scene: Scene) -> None:
    sealed = segment(ONE)
    scene.other.put_all(ONE, every(sealed))
    scene.rows = Rows([(ONE, sealed.descriptor_cid)])
    scene.rows.gone.add(sealed.descriptor_cid)
    scene.check().step()
    assert scene.store.names(None, 9) == []


def test_what_nobody_has_is_named_again_in_every_round(scene: Scene) -> None:
    sealed = segment(ONE)
    scene.rows = Rows([(ONE, sealed.descriptor_cid)])
    check = scene.check()
    for _ in range(2):
        assert round_of(check) == (0, [], [sealed.descriptor_cid])
    scene.other.put(ONE, sealed.descriptor_cid, sealed.descriptor)
    assert set(round_of(check)[2]) == set(sealed.blocks)


def test_the_check_keeps_to_its_rate_and_survives_a_broken_disk(scene: Scene) -> None:
    scene.store.put_all(ONE, BLOCKS)
    waited: list[float] = []

    def stopped(pause: float) -> bool:
        waited.append(pause)
        if len(waited) == 7:
            scene.store.names = full  # type: ignore[method-assign, assignment]
        return len(waited) == 9

    def full(*_: Any) -> None:
        raise StorageFailed(NO_SERVICE)

    scene.check().run(stopped, rate_bytes_s=100, clock=lambda: 0.0)
    assert waited == [0.0, 16.0, 16.0, 60.0, 16.0, 16.0, 60.0, 60.0, 60.0]


def test_everyone_places_a_stream_alike_and_little_moves_when_a_holder_comes() -> None:
    members = [f"did:caremesh:demo:{letter * 32}" for letter in "abcdefgh"]
    streams = [number.to_bytes(32) for number in range(400)]
    first = {stream: preferred(stream, members)[:3] for stream in streams}
    assert first == {stream: preferred(stream, reversed(members))[:3] for stream in streams}
    load = Counter(did for holders in first.values() for did in holders)
    assert min(load.values()) > 100
    more = [*members, "did:caremesh:demo:" + "i" * 32]
    for stream in streams:
        assert set(preferred(stream, more)[:3]) - {more[-1]} <= set(first[stream])
        assert placed(stream, members[5], members)[0] == members[5]
        assert set(placed(stream, members[5], members)[:3]) <= {*first[stream], members[5]}
        assert placed(stream, "did:caremesh:demo:" + "z" * 32, members)[:3] == first[stream]


def test_an_error_that_is_not_of_the_block_is_not_hidden(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: CID) -> bytes:
        raise StorageFailed(NO_SERVICE)

    scene.store.put(ONE, NAME, DATA)
    monkeypatch.setattr(scene.store, "get", broken)
    with pytest.raises(StorageFailed):
        scene.mending.get(NAME)
    with pytest.raises(Tampered):
        scene.mending.put(ONE, NAME, b"wrong")
