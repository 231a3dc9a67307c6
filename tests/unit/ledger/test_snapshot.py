"""Snapshots: equal on every replica, each chunk its own proof, and what is restored decides alike."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.consensus.embedded import Embedded
from caremesh.errors import BadInput, CareMeshError, Tampered, WrongLedger
from caremesh.ledger import history
from caremesh.ledger.application import Params
from caremesh.ledger.machine import Machine
from caremesh.ledger.snapshot import CHUNKS, Restore, _manifest, export, read_manifest, restore, take
from caremesh.ledger.store import Store
from caremesh.ledger.verify import check_store
from tests.support.kv import CHAIN, GENESIS, MEMBER, START_S, VALUES, Delete, Kv, Put, engine, replica, transaction


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Embedded:
    made = engine(tmp_path_factory.mktemp("source"))
    for number in range(4):
        made.submit(transaction(*(Put(key=b"%d" % at, value=b"%d" % number) for at in range(number, 40))))
    made.submit(transaction(Delete(key=b"30")))
    return made


@pytest.fixture(scope="module")
def frames(source: Embedded) -> list[bytes]:
    return list(export(source.machine.store))


def header_of(source: Embedded) -> bytes:
    return source.block(source.status().height).signed.header


def restored(folder: Path, frames: list[bytes], header: bytes) -> Machine:
    folder.mkdir()
    store = Store(str(folder), CHAIN)
    restore(store, frames, header)
    made = Machine(store, Kv([MEMBER]))
    made.start(START_S, GENESIS)
    return made


@pytest.mark.promise("P7")
def test_replicas_make_the_same_snapshot_and_go_on_alike(tmp_path: Path, source: Embedded, frames: list[bytes]) -> None:
    follower = replica(tmp_path / "a", source)
    for block in source.blocks(1):
        follower.apply(block)
    assert list(export(follower.machine.store)) == frames
    made = restored(tmp_path / "b", frames, header_of(source))
    assert list(export(made.store)) == frames
    assert made.head == source.machine.head
    assert check_store(made.store).keys > 30
    last = next(iter(source.blocks(5))).txs[0]
    new = transaction(Put(key=b"new", value=b"1"))
    one = made.execute(6, START_S, [last, new])
    two = follower.machine.execute(6, START_S, [last, new])
    assert [result.code for result in one.results.results] == ["ledger.09", ""]
    assert (one.app_hash, one.results, one.subtrees) == (two.app_hash, two.results, two.subtrees)
    made.commit(one, block=b"", header=bytes(32))
    log = history.frontier(made.reader())
    leaf = one.results.told()[1].leaf()
    history.check_path(log.root, log.size, log.size - 1, leaf, made.prove_transaction(log.size - 1))
    assert VALUES.get(made.reader(5), b"new") is None
    with pytest.raises(BadInput, match=r"ledger\.11"):
        made.reader(4)
    made.store.close()
    follower.close()


def test_blocks_that_come_meanwhile_change_nothing(tmp_path: Path) -> None:
    made = engine(tmp_path)
    made.submit(transaction(*(Put(key=b"%d" % at, value=b"1") for at in range(40))))
    whole = list(export(made.machine.store))
    running = export(made.machine.store)
    taken = [next(running) for _ in range(3)]
    made.submit(transaction(*(Put(key=b"%d" % at, value=b"2") for at in range(60)), Delete(key=b"3")))
    made.submit(transaction(*(Delete(key=b"%d" % at) for at in (*range(20), 59))))
    assert taken + list(running) == whole
    made.close()


def in_chunk(number: int) -> bytes:
    """A key of the application that is in this chunk."""
    return next(key for key in (b"%d" % at for at in range(100_000)) if sha256(VALUES.key(key)).digest()[0] == number)


@pytest.mark.parametrize("number", [0, 1, CHUNKS - 1])
def test_what_changes_before_a_chunk_is_read_is_undone_in_it(tmp_path: Path, number: int) -> None:
    made, key = engine(tmp_path), in_chunk(number)
    made.submit(transaction(Put(key=key, value=b"1")))
    head = made.machine.head
    whole = list(take(made.machine.store, head))
    running = take(made.machine.store, head)
    taken = [next(running) for _ in range(number)]
    made.submit(transaction(Put(key=key, value=b"2")))
    taken.append(next(running))
    made.submit(transaction(Delete(key=key)))
    assert taken + list(running) == whole
    made.close()


def test_the_state_before_the_first_block_is_a_snapshot_too(tmp_path: Path) -> None:
    made = engine(tmp_path / "made")
    manifest, *chunks = export(made.machine.store)
    folder = tmp_path / "again"
    folder.mkdir()
    store = Store(str(folder), CHAIN)
    restoring = Restore(store, read_manifest(manifest))
    for number, chunk in enumerate(chunks):
        restoring.put(number, chunk)
    assert restoring.finish() == made.machine.head
    assert Machine(store, Kv([MEMBER])).start(START_S, GENESIS) == made.machine.head
    store.close()
    made.close()


@pytest.mark.promise("P6")
def test_what_is_stored_and_does_not_add_up_is_not_given_out(tmp_path: Path, source: Embedded) -> None:
    head = replace(source.machine.head, app_hash=bytes(32))
    running = take(source.machine.store, head)
    for _ in range(CHUNKS):
        next(running)
    with pytest.raises(Tampered) as caught:
        next(running)
    assert (caught.value.code, caught.value.place) == ("ledger.32", f"height {head.height}")
    folder = tmp_path / "nothing"
    folder.mkdir()
    store = Store(str(folder), CHAIN)
    with pytest.raises(BadInput) as empty:
        _manifest(store, head, [])
    assert (empty.value.code, empty.value.place) == ("ledger.11", "before genesis")
    store.close()


@pytest.mark.promise("P6")
@pytest.mark.parametrize("number", [-1, CHUNKS, CHUNKS + 1])
def test_there_are_no_chunks_but_256(tmp_path: Path, frames: list[bytes], number: int) -> None:
    store = Store(str(tmp_path), CHAIN)
    restoring = Restore(store, read_manifest(frames[0]))
    with pytest.raises(Tampered) as caught:
        restoring.put(number, frames[1])
    assert (caught.value.code, caught.value.place) == ("snapshot.02", f"chunk {number}")
    store.close()


def test_a_snapshot_that_takes_longer_than_heights_are_kept_says_so(tmp_path: Path) -> None:
    made = engine(tmp_path, Kv([MEMBER], Params(kept_heights=1)))
    running = export(made.machine.store)
    next(running)
    made.make_block()
    made.make_block()
    with pytest.raises(BadInput, match=r"ledger\.11"):
        next(running)
    made.close()


def bend(number: int, change: Callable[[bytes], bytes]) -> Callable[[list[bytes]], list[bytes]]:
    return lambda frames: [change(frame) if at == number else frame for at, frame in enumerate(frames)]


def full(frames: list[bytes]) -> int:
    """The number of a frame that holds at least two keys."""
    return next(at for at, frame in enumerate(frames) if at and len(codec.decode(frame)) > 2)


def again(frame: bytes, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    return codec.encode(change(codec.decode(frame)))


@pytest.mark.promise("P6")
def test_a_changed_chunk_is_named_and_nothing_counts(tmp_path: Path, source: Embedded, frames: list[bytes]) -> None:
    at = full(frames)
    changes: list[Callable[[bytes], bytes]] = [
        lambda frame: frame[:-1] + bytes([frame[-1] ^ 1]),
        lambda frame: again(frame, lambda rows: rows[2:]),
        lambda frame: again(frame, lambda rows: rows[:-1]),
        lambda frame: again(frame, lambda rows: rows[2:4] + rows[:2] + rows[4:]),
        lambda frame: again(frame, lambda rows: rows[:2] + rows),
        lambda frame: again(frame, lambda rows: [*rows, b"key", b"value"]),
        lambda _: codec.encode({}),
        lambda _: codec.encode(["a", "b"]),
    ]
    folder = tmp_path / "c"
    folder.mkdir()
    store = Store(str(folder), CHAIN)
    for change in changes:
        with pytest.raises(Tampered, match=rf"snapshot\.02.*chunk {at - 1}\b"):
            restore(store, bend(at, change)(frames), header_of(source))
        with store.read() as read:
            assert read.head() is None
    restore(store, frames, header_of(source))  # and a sound one still goes in
    assert check_store(store).height == 5
    with pytest.raises(WrongLedger, match=r"ledger\.31"):
        restore(store, frames, header_of(source))
    store.close()


@pytest.mark.parametrize(
    "frame", [[b"key"], [b"key", b"value", b"key"], [b"key", "value"], b"key", {"key": b"value"}, 5]
)
def test_a_chunk_is_keys_and_values(tmp_path: Path, source: Embedded, frames: list[bytes], frame: object) -> None:
    at = full(frames)
    store = Store(str(tmp_path), CHAIN)
    with pytest.raises(Tampered, match=r"snapshot\.02") as caught:
        restore(store, bend(at, lambda _: codec.encode(frame))(frames), header_of(source))
    assert caught.value.place == f"chunk {at - 1}"
    store.close()


def test_a_snapshot_that_ends_is_named_by_what_is_missing(
    tmp_path: Path, source: Embedded, frames: list[bytes]
) -> None:
    store = Store(str(tmp_path), CHAIN)
    for number in (0, 1, 255):
        with pytest.raises(Tampered, match=r"snapshot\.03") as caught:
            restore(store, frames[: number + 1], header_of(source))
        assert caught.value.place == f"chunk {number}"
    with pytest.raises(Tampered, match=r"snapshot\.03") as caught:
        restore(store, [*frames, frames[-1]], header_of(source))
    assert caught.value.place == "chunk 256"
    with pytest.raises(Tampered, match=r"snapshot\.01") as caught:
        restore(store, frames, next(iter(source.blocks(4))).signed.header)
    assert caught.value.place == "height 5"
    store.close()


def test_a_snapshot_is_the_manifest_and_every_key_in_order(source: Embedded, frames: list[bytes]) -> None:
    with source.machine.store.read() as read:
        rows = [(key, value) for _, key, value in read.records()]
    assert len(frames) == 257
    flat = [part for frame in frames[1:] for part in codec.decode(frame)]
    assert list(zip(flat[::2], flat[1::2], strict=True)) == rows
    for number, frame in enumerate(frames[1:]):
        assert {sha256(key).digest()[0] for key in codec.decode(frame)[::2]} <= {number}
    head = source.machine.head
    fields = codec.decode(frames[0])
    assert {name: fields[name] for name in ("v", "chain", "height", "time", "app_hash", "header")} == {
        "v": 1,
        "chain": CHAIN,
        "height": 5,
        "time": START_S,
        "app_hash": head.app_hash,
        "header": head.header,
    }


@pytest.mark.promise("P6")
@pytest.mark.parametrize("name", ["chain", "height", "time", "header"])
def test_a_manifest_is_of_the_trusted_header(tmp_path: Path, source: Embedded, frames: list[bytes], name: str) -> None:
    changed = {"chain": "other", "height": 6, "time": START_S + 1, "header": bytes(32)}[name]
    manifest = codec.encode({**codec.decode(frames[0]), name: changed})
    store = Store(str(tmp_path), CHAIN)
    with pytest.raises(Tampered, match=r"snapshot\.01"):
        restore(store, [manifest, *frames[1:]], header_of(source))
    store.close()


def test_what_is_restored_is_the_head_that_was_exported(tmp_path: Path, source: Embedded, frames: list[bytes]) -> None:
    store = Store(str(tmp_path), CHAIN)
    assert restore(store, iter(frames), header_of(source)) == source.machine.head
    with store.read() as read:
        assert read.head() == source.machine.head
        assert read.genesis() == sha256(GENESIS).digest()
    store.close()


@pytest.mark.promise("P6")
def test_a_snapshot_is_whole_and_of_the_trusted_header(tmp_path: Path, source: Embedded, frames: list[bytes]) -> None:
    store = Store(str(tmp_path), CHAIN)
    older = next(iter(source.blocks(4))).signed.header
    swapped = [frames[0], frames[2], frames[1], *frames[3:]]
    for wrong, header, code in (
        (frames, older, r"snapshot\.01"),
        (frames[:-1], header_of(source), r"snapshot\.03"),
        ([*frames, b""], header_of(source), r"snapshot\.03"),
        (frames[:1], header_of(source), r"snapshot\.03"),
        (swapped, header_of(source), r"snapshot\.02"),
        ([], header_of(source), r"codec\.01"),
    ):
        with pytest.raises(CareMeshError, match=code):
            restore(store, wrong, header)
    with store.read() as read:
        assert read.head() is None
    store.close()


def test_what_is_gathered_counts_when_all_of_it_is_there(tmp_path: Path, source: Embedded, frames: list[bytes]) -> None:
    store = Store(str(tmp_path), CHAIN)
    made = Restore(store, read_manifest(frames[0]))
    for number in reversed(range(1, CHUNKS)):
        made.put(number, frames[number + 1])
    assert made.missing == 0
    with pytest.raises(Tampered, match=r"snapshot\.03") as caught:
        made.finish()
    assert caught.value.place == "chunk 0"
    with store.read() as read:
        assert read.head() is None
    made.put(0, frames[1])
    assert made.finish(b"s" * 32) == source.machine.head
    with store.read() as read:
        assert read.signers() == b"s" * 32
    store.close()


def test_a_snapshot_is_taken_in_one_pass_and_adds_up(source: Embedded, frames: list[bytes]) -> None:
    taken = list(take(source.machine.store, source.machine.head))
    assert [taken[-1], *taken[:-1]] == frames


def test_a_manifest_adds_up(frames: list[bytes]) -> None:
    manifest = read_manifest(frames[0])
    assert (manifest.height, len(manifest.roots), manifest.genesis) == (5, CHUNKS, sha256(GENESIS).digest())
    fields = codec.decode(frames[0])
    for change in (
        {"roots": fields["roots"][:-1]},
        {"roots": [*fields["roots"][:-1], bytes(32)]},
        {"app_hash": bytes(32)},
    ):
        with pytest.raises(Tampered, match=r"snapshot\.02") as caught:
            read_manifest(codec.encode({**fields, **change}))
        assert caught.value.place == "manifest"
    with pytest.raises(BadInput):
        read_manifest(codec.encode({**fields, "v": 2}))


def test_a_restored_ledger_of_another_genesis_is_refused(tmp_path: Path, source: Embedded, frames: list[bytes]) -> None:
    store = Store(str(tmp_path), CHAIN)
    restore(store, frames, header_of(source))
    with pytest.raises(WrongLedger):
        Machine(store, Kv([MEMBER])).start(START_S, b"another")
    store.close()


def test_there_is_no_snapshot_before_genesis(tmp_path: Path) -> None:
    store = Store(str(tmp_path), CHAIN)
    with pytest.raises(BadInput, match=r"ledger\.11") as caught:
        next(export(store))
    assert caught.value.place == "before genesis"
    store.close()
