"""Blocks at enough members before anything is registered; with fewer, nothing is lost and it is finished later."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from caremesh import codec
from caremesh.blobs.copies import Copies, Short
from caremesh.blobs.interface import NO_SERVICE
from caremesh.blobs.memory import MemoryBlocks
from caremesh.blobs.placement import placed
from caremesh.codec import CID
from caremesh.contracts.records import queries as records
from caremesh.errors import StorageFailed, Unavailable
from caremesh.node.mesh import LocalMesh
from caremesh.sealing.descriptor import read_descriptor
from caremesh.source.importer import ImportReport, Source
from caremesh.testing.clock import SettableClock
from tests.support.case import Case

MEMBERS = [f"did:caremesh:demo:{letter * 32}" for letter in "abcde"]
STREAMS = [bytes([number]) * 32 for number in range(30)]
DATA = b"ciphertext"
NAME = codec.cid_of_raw(DATA)


class Switched(MemoryBlocks):
    """A store that can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.calls = 0

    def put_many(self, held: Any) -> None:
        self.calls += 1
        if self.away:
            raise StorageFailed(NO_SERVICE)
        super().put_many(held)


def put(stores: dict[str, Switched], streams: list[bytes], wanted: int = 3) -> dict[bytes, Short]:
    with ThreadPoolExecutor(4) as pool:
        copies = Copies(MEMBERS[0], stores, lambda: wanted)  # type: ignore[arg-type]
        return copies.put_many({stream: {NAME: DATA} for stream in streams}, pool)


@pytest.fixture
def stores() -> dict[str, Switched]:
    return {did: Switched() for did in MEMBERS}


def test_the_source_and_those_at_whom_a_stream_is_placed_hold_it(stores: dict[str, Switched]) -> None:
    assert put(stores, STREAMS) == {}
    for stream in STREAMS:
        holding = {did for did, store in stores.items() if stream in store.streams_of(NAME)}
        assert holding == set(placed(stream, MEMBERS[0], MEMBERS)[:3])
        assert MEMBERS[0] in holding
    assert [store.calls for store in stores.values()] == [1] * 5


@pytest.mark.promise("P10")
def test_for_one_that_is_away_the_next_one_holds_it(stores: dict[str, Switched], evidence: Any) -> None:
    for away in MEMBERS:
        for store in stores.values():
            store.away = False
        stores[away].away = True
        assert put(stores, STREAMS) == {}
        evidence.fault("a block store is away")
    copies = Counter(stream for store in stores.values() for stream in store.streams_of(NAME))
    assert set(copies) == set(STREAMS)
    assert min(copies.values()) >= 3


@pytest.mark.promise("P5")
def test_who_is_short_of_copies_is_said_with_those_who_failed(stores: dict[str, Switched]) -> None:
    for did in MEMBERS[1:4]:
        stores[did].away = True
    short = put(stores, STREAMS)
    assert set(short) == set(STREAMS)
    assert {one.copies for one in short.values()} == {2}
    assert sorted(short[STREAMS[0]].failed) == [f"{did}: blobs.04" for did in MEMBERS[1:4]]
    for store in stores.values():
        store.away = True
    with pytest.raises(StorageFailed, match=r"blobs\.04"):
        put(stores, STREAMS)
    with pytest.raises(Unavailable, match=r"blobs\.08"):
        put({}, STREAMS)


def test_one_stream_is_stored_at_enough_members_or_refused(stores: dict[str, Switched]) -> None:
    copies = Copies(MEMBERS[0], stores, lambda: 3)  # type: ignore[arg-type]
    copies.put(STREAMS[0], {NAME: DATA})
    assert copies.get(STREAMS[0], NAME) == DATA
    for did in MEMBERS[2:]:
        stores[did].away = True
    with pytest.raises(Unavailable, match=rf"blobs\.08.*{MEMBERS[2]}: blobs\.04"):
        copies.put(STREAMS[1], {NAME: DATA})
    with pytest.raises(Unavailable, match=r"blobs\.02"):
        copies.get(STREAMS[0], codec.cid_of_raw(b"unknown"))


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("copies") / "mesh", SettableClock()) as made:
        yield made


@pytest.fixture
def case(mesh: LocalMesh, tmp_path: Path) -> Case:
    return Case(mesh, tmp_path)


def source_with(case: Case, *away: str) -> Source:
    """The hospital as a source, some members' stores being away."""
    made = case.mesh.member("hospital").source(case.mesh)
    gone = Switched()
    gone.away = True
    made._copies._ways = case.mesh.holders() | {case.did(name): gone for name in away}  # type: ignore[misc]
    return made


def registered(case: Case) -> int:
    return records.count(case.reader, case.stream)


def copies_of(case: Case) -> list[int]:
    """At how many members each block of the registered segments is."""
    found = []
    for segment in records.segments(case.reader, case.stream):
        assert segment.descriptor is not None
        table = read_descriptor(case.block(segment.descriptor))
        cids: list[CID] = [segment.descriptor, table.manifest, *table.blocks]
        found += [sum(store.has(cid) for store in case.mesh.stores()) for cid in cids]
    return found


def document(case: Case, number: int) -> bytes:
    return json.dumps(case.condition(number)).encode()


@pytest.mark.promise("P5")
def test_with_too_few_members_an_import_waits_and_is_finished_later(case: Case, evidence: Any) -> None:
    source = source_with(case, "laboratory")
    report = source.import_bundle(document(case, 1))
    assert (report.segments, report.waiting, report.settled, registered(case)) == (1, 1, 0, 0)
    again = source.import_bundle(document(case, 1))
    assert (again.segments, again.unchanged, again.waiting) == (0, 1, 1)
    assert source.finish().waiting == 1
    later = case.mesh.member("hospital").source(case.mesh)
    done = later.finish()
    assert (done.settled, done.waiting, registered(case)) == (1, 0, 1)
    assert copies_of(case) == [3, 3, 3]
    assert later.finish() == ImportReport()
    assert later.import_bundle(document(case, 1)).unchanged == 1
    assert registered(case) == 1
    evidence.fault("a block store is away")


@pytest.mark.promise("P5")
def test_what_waits_survives_a_restart_and_blocks_that_were_collected(case: Case) -> None:
    source_with(case, "laboratory", "payer").import_bundle(document(case, 1))
    waiting = case.mesh.member("hospital").source(case.mesh)._registrar.begun(case.name)
    assert len(waiting) == 1
    case.mesh.member("laboratory").home.blocks.delete(case.stream, waiting[0])
    report = case.mesh.member("hospital").source(case.mesh).import_bundle(document(case, 2))
    assert (report.settled, report.waiting, report.segments, registered(case)) == (1, 0, 1, 2)
    assert set(copies_of(case)) == {3}


@pytest.mark.promise("P5")
def test_when_the_own_copy_is_lost_too_what_waits_waits_on(case: Case) -> None:
    source_with(case, "laboratory").import_bundle(document(case, 1))
    [cid] = case.mesh.member("hospital").source(case.mesh)._registrar.begun(case.name)
    table = read_descriptor(case.block(cid))
    kept = {block: case.block(block) for block in table.blocks}
    for store in case.mesh.stores():
        for block in table.blocks:
            store.delete(case.stream, block)
    source = case.mesh.member("hospital").source(case.mesh)
    assert (source.finish().waiting, registered(case)) == (1, 0)
    case.mesh.member("payer").home.blocks.put_all(case.stream, kept)
    assert (source.finish().settled, registered(case), set(copies_of(case))) == (1, 1, {3})


def test_what_is_stored_is_registered_though_another_segment_waits(case: Case) -> None:
    """Of two patients of one import, only one stream is short."""
    source = case.mesh.member("hospital").source(case.mesh)
    source.import_bundle(document(case, 0))
    real = source._copies.put_many
    waiting = {"laboratory": True}

    def put_many(held: Any, pool: Any) -> dict[bytes, Short]:
        real(held, pool)
        return {stream: Short(2, ["away"]) for stream in held if stream != case.stream and waiting["laboratory"]}

    source._copies.put_many = put_many  # type: ignore[method-assign]
    lines = b"\n".join([json.dumps({"resourceType": "Patient", "id": case.name}).encode(), document(case, 1)])
    report = source.import_lines(iter([lines]))
    assert (report.segments, report.waiting, registered(case)) == (2, 1, 2)
    assert len(source._registrar.begun(case.name)) == 1
    waiting["laboratory"] = False
    assert source.finish() == ImportReport(settled=1)
    assert source._registrar.patients() == []


@pytest.mark.promise("P5")
def test_what_waits_on_is_not_lost_when_the_rest_of_its_journal_is_registered(case: Case) -> None:
    source = case.mesh.member("hospital").source(case.mesh)
    lines = b"\n".join([json.dumps({"resourceType": "Patient", "id": case.name}).encode(), document(case, 1)])
    real = source._copies.put_many
    short = {"conditions", "others"}

    def put_many(held: Any, pool: Any) -> dict[bytes, Short]:
        real(held, pool)
        kinds = {stream: "conditions" if stream == case.stream else "others" for stream in held}
        return {stream: Short(2, ["away"]) for stream, kind in kinds.items() if kind in short}

    source._copies.put_many = put_many  # type: ignore[method-assign]
    assert source.import_lines(iter([lines])).waiting == 2
    short.remove("others")
    assert source.finish() == ImportReport(settled=1, waiting=1)
    assert registered(case) == 0
    short.clear()
    assert source.finish() == ImportReport(settled=1)
    assert registered(case) == 1


@pytest.mark.promise("P5")
def test_what_is_being_registered_is_not_finished_by_another_at_the_same_time(case: Case) -> None:
    """Both would send the same segment, and the ledger refuses the second."""
    source = case.mesh.member("hospital").source(case.mesh)
    other = case.mesh.member("hospital").source(case.mesh)
    finished: list[ImportReport] = []
    real = source._registrar._ledger.submit_batches

    class Watched:
        def submit_batches(self, batches: Any) -> Any:
            finished.append(other.finish())
            return real(batches)

        def reader(self) -> Any:
            return other._registrar._ledger.reader()

    source._registrar._ledger = Watched()
    assert source.import_bundle(document(case, 1)).waiting == 0
    assert [(one.settled, one.waiting) for one in finished] == [(0, 1)]
    assert (registered(case), other.finish()) == (1, ImportReport())


def test_a_correction_needs_as_many_copies(case: Case) -> None:
    source = source_with(case)
    source.import_bundle(document(case, 1))
    changed = json.dumps(case.condition(1, meta={"versionId": "2"})).encode()
    with pytest.raises(Unavailable, match=r"blobs\.08"):
        source_with(case, "payer").correct(changed)
    assert registered(case) == 1
    assert source.correct(changed) == 1
    assert set(copies_of(case)) == {3}
