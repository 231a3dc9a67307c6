"""Snapshots as files: when they are taken, how long they stay, and what a file is that is not one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from caremesh.blobs.durable import TEMPORARY_PREFIX
from caremesh.consensus.cometbft import snapshot_files
from caremesh.consensus.cometbft.snapshot_files import SnapshotFiles, Snapshotting
from caremesh.errors import StorageFailed, Tampered
from caremesh.ledger.application import Params
from caremesh.ledger.snapshot import CHUNKS, read_manifest
from tests.support.comet_chain import Chain, Node
from tests.support.comet_engine import PATIENT_S
from tests.support.kv import VALUES, Put, transaction

EVERY = Snapshotting(every=2, kept=2)


def grown(node: Node, chain: Chain, blocks: int) -> None:
    for _ in range(blocks):
        height = node.machine.head.height + 1
        node.take(chain.next(node.machine.head.app_hash), transaction(Put(key=b"%d" % height, value=b"1")))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.close()


def heights(node: Node) -> list[int]:
    return [height for height, _ in node.files.listed(10**6)]


def names(node: Node) -> list[str]:
    return sorted(path.name for path in (node.folder / "snapshots").iterdir())


def test_one_is_taken_at_each_height_that_the_interval_divides(node: Node) -> None:
    chain = Chain()
    taken = []
    for _ in range(7):
        grown(node, chain, 1)
        taken.append(heights(node))
    assert taken == [[], [2], [2], [2, 4], [2, 4], [4, 6], [4, 6]]
    assert names(node) == ["000000000004.chunks", "000000000006.chunks"]
    assert [height for height, _ in node.files.listed(5)] == [4]


def test_none_is_kept_for_longer_than_blocks_are(tmp_path: Path) -> None:
    made, chain = Node(tmp_path, params=Params(retain_blocks=3)), Chain()
    found = []
    for _ in range(6):
        grown(made, chain, 1)
        found.append(heights(made))
    assert found == [[], [2], [2], [2, 4], [4], [4, 6]]
    made.close()


def test_without_an_interval_there_are_none(tmp_path: Path) -> None:
    made, chain = Node(tmp_path, Snapshotting(every=0)), Chain()
    grown(made, chain, 3)
    assert heights(made) == []
    made.close()


def test_they_are_there_after_a_restart_and_nothing_else_is(node: Node) -> None:
    grown(node, Chain(), 4)
    folder = node.folder / "snapshots"
    whole = (folder / "000000000002.chunks").read_bytes()
    for name, data in (
        ("000000000006.chunks", whole[:-1]),
        ("000000000008.chunks", whole + b"\0"),
        ("000000000010.chunks", whole[: len(whole) // 2]),
        ("000000000012.chunks", b""),
        ("000000000014.chunks", whole[:-1] + bytes([whole[-1] ^ 1])),
        ("000000000016.chunks", whole + whole),
        ("nonsense.chunks", whole),
        (f"{TEMPORARY_PREFIX}0123", whole),
        ("notes.txt", b""),
    ):
        (folder / name).write_bytes(data)
    again = SnapshotFiles(folder, node.machine.store, EVERY)
    assert again.listed(10**6) == node.files.listed(10**6)
    assert [again.chunk(2, at) for at in range(CHUNKS)] == [node.chunk(2, at) for at in range(CHUNKS)]
    assert names(node) == ["000000000002.chunks", "000000000004.chunks", "notes.txt"]
    again.close()


def test_a_file_that_is_gone_or_cut_off_gives_no_chunk(node: Node) -> None:
    grown(node, Chain(), 2)
    path = node.folder / "snapshots" / "000000000002.chunks"
    path.write_bytes(path.read_bytes()[:300])
    assert node.chunk(2, 0)
    assert not node.chunk(2, 255)
    path.unlink()
    assert not node.chunk(2, 0)


def test_blocks_come_while_one_is_taken(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    take = snapshot_files.snapshot.take

    def slowly(*words: object) -> Iterator[bytes]:
        frames = take(*words)  # type: ignore[arg-type]
        yield next(frames)
        begun.set()
        assert go_on.wait(PATIENT_S)
        yield from frames

    monkeypatch.setattr(snapshot_files.snapshot, "take", slowly)
    chain = Chain()
    grown(node, chain, 1)
    monkeypatch.setattr(node, "settle", lambda: begun.wait(PATIENT_S))
    grown(node, chain, 1)
    app_hash = node.machine.head.app_hash
    assert node.files.busy
    grown(node, chain, 4)
    assert node.machine.head.height == 6
    assert heights(node) == []
    go_on.set()
    Node.settle(node)
    assert heights(node) == [2], "what came due meanwhile is left to the next time"
    assert read_manifest(node.files.listed(2)[0][1]).app_hash == app_hash


def test_closing_gives_up_what_is_being_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    times = itertools.count(0, 10**6)

    def later() -> float:
        begun.set()
        return float(next(times))

    made, chain = Node(tmp_path), Chain()
    grown(made, chain, 1)
    monkeypatch.setattr(snapshot_files, "_PAUSE_S", 10**6)
    monkeypatch.setattr(snapshot_files, "_now_s", later)
    monkeypatch.setattr(made, "settle", lambda: begun.wait(PATIENT_S))
    grown(made, chain, 1)
    made.close()
    assert names(made) == []
    assert made.failed == []
    made.files.committed(made.machine.head, 100)
    assert not made.files.busy


def test_a_full_disk_costs_a_snapshot_and_nothing_else(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageFailed(snapshot_files.NOT_WRITTEN)

    monkeypatch.setattr(snapshot_files, "write_durably", full)
    chain = Chain()
    grown(node, chain, 2)
    assert (heights(node), node.failed) == ([], [])
    monkeypatch.undo()
    grown(node, chain, 2)
    assert heights(node) == [4]


@pytest.mark.promise("P6")
def test_damage_that_a_snapshot_meets_is_told_and_never_handed_on(node: Node) -> None:
    chain = Chain()
    grown(node, chain, 1)
    with node.machine.store.gate.exclusive(), node.machine.store._env.begin(write=True) as txn:
        database = node.machine.store._databases["state"]
        digest = sha256(VALUES.key(b"1")).digest()
        record = bytes(txn.get(digest, db=database) or b"")
        txn.put(digest, record[:-1] + bytes([record[-1] ^ 1]), db=database)
    grown(node, chain, 1)
    assert [type(error) for error in node.failed] == [Tampered]
    assert heights(node) == []


@pytest.mark.promise("P6")
def test_a_record_that_is_missing_is_noticed_as_well(node: Node) -> None:
    chain = Chain()
    grown(node, chain, 1)
    with node.machine.store.gate.exclusive(), node.machine.store._env.begin(write=True) as txn:
        digest = sha256(VALUES.key(b"1")).digest()
        assert txn.delete(digest, db=node.machine.store._databases["state"])
    grown(node, chain, 1)
    assert [type(error) for error in node.failed] == [Tampered]
    assert heights(node) == []


def test_a_folder_that_cannot_be_made_is_said(node: Node) -> None:
    (node.folder / "file").write_bytes(b"")
    with pytest.raises(StorageFailed, match=r"ledger\.30"):
        SnapshotFiles(node.folder / "file", node.machine.store, EVERY)
