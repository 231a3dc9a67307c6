"""The database at its edges: slots, growth, places in errors, restores that were broken off."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

import lmdb
import pytest

from caremesh.errors import BadInput, CareMeshError, StorageFailed, Tampered, WrongLedger
from caremesh.ledger import store as store_module
from caremesh.ledger.past import StateAt
from caremesh.ledger.records import leaf_in, state_record
from caremesh.ledger.store import Head, OneThread, Store, height_key
from caremesh.ledger.trie import SLOTS
from tests.support.blocks import block, machine
from tests.support.kv import CHAIN, VALUES, Put, transaction


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "store").mkdir()
    made = Store(str(tmp_path / "store"), CHAIN)
    yield made
    made.close()


def digest_at(slot: int, rest: int, bits: int) -> bytes:
    """A digest in a slot: so many bits of number, the rest behind."""
    return (slot << 256 - bits | rest).to_bytes(32, "big")


@pytest.mark.parametrize("bits", [17, 20, 24])
@pytest.mark.parametrize("slot", [0, 1, 15, 255, 256, 4095, 65_535, 2**16, 2**17 - 2, 2**17 - 1, -2, -1])
def test_a_slot_is_exactly_its_digests(store: Store, slot: int, bits: int) -> None:
    slot, last = slot % (1 << bits), (1 << 256 - bits) - 1
    numbers = [n for n in (slot - 1, slot, slot + 1) if 0 <= n < 1 << bits]
    digests = [digest_at(number, rest, bits) for number in numbers for rest in (0, 1, last - 1, last)]
    records = {digest: state_record(digest, b"k", b"v") for digest in digests}

    def fill(txn: lmdb.Transaction) -> None:
        for digest, record in records.items():
            txn.put(digest, record, db=store._databases["state"])

    store.write(fill)
    with store.read() as read:
        members = digests[4 * numbers.index(slot) :][:4]
        assert read.slot(slot, bits) == [(digest, leaf_in(records[digest])) for digest in members]
        assert read.entries() == len(digests)
        seen: list[bytes] = []
        assert list(read.leaves(seen.append)) == [(digest, leaf_in(records[digest])) for digest in digests]
        assert list(read.leaves()) == list(read.leaves(seen.append))
        assert seen == [b"k"] * 2 * len(digests)


def test_an_empty_database_has_nothing_anywhere(store: Store) -> None:
    with store.read() as read:
        assert (read.head(), read.genesis(), read.get(b"k"), read.record(bytes(32))) == (None, None, None, None)
        assert [read.slot(number) for number in (0, SLOTS - 1)] == [[], []]
        assert list(read.leaves()) == list(read.records()) == list(read.records(b"\1")) == []
        assert [read.first_height(name) for name in ("blocks", "results", "undo")] == [None] * 3
        assert (read.undo(1), read.block(1), read.results(1), read.place_of(bytes(36))) == (None,) * 4
        assert read.find_subtree(0, 0) is None
        assert read.check_records("blocks") == 0
        with pytest.raises(BadInput, match=r"ledger\.11") as caught:
            read.subtree(3, 7)
        assert caught.value.place == "history 3.7"


def test_records_are_read_from_a_digest_on(tmp_path: Path) -> None:
    ledger = machine(tmp_path)
    block(ledger, transaction(*(Put(key=b"%d" % number, value=b"%d" % number) for number in range(9))))
    with ledger.store.read() as read:
        rows = list(read.records())
        assert [digest for digest, _, _ in rows] == sorted(sha256(key).digest() for _, key, _ in rows)
        for at in (0, 3, len(rows) - 1):
            assert list(read.records(rows[at][0])) == rows[at:]
        assert list(read.records(b"\xff" * 32)) == []
        assert read.record(rows[2][0]) == rows[2][1:]
        assert read.get(rows[2][1]) == rows[2][2]
        assert [read.check_records(name) for name in ("blocks", "results", "undo", "meta")] == [2, 2, 2, 2]
    ledger.store.close()


def test_many_may_read_at_once(store: Store) -> None:
    """More than LMDB would let in by default (126)."""
    with ExitStack() as stack:
        reads = [stack.enter_context(store.read()) for _ in range(200)]
        assert [read.head() for read in reads] == [None] * 200


def test_the_map_grows_up_to_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Store(str(tmp_path), CHAIN, map_bytes=2**17)

    def fill(size: int) -> None:
        made.write(lambda txn: txn.put(b"k", bytes(size), db=made._databases["blocks"]) and None)

    monkeypatch.setattr(store_module, "_MAX_MAP_BYTES", 2**18)
    fill(150_000)
    assert made._env.info()["map_size"] == 2**18
    with pytest.raises(StorageFailed, match=r"ledger\.30"):
        fill(300_000)
    monkeypatch.undo()
    fill(300_000)
    made.close()


def test_what_is_in_use_is_what_the_file_holds(tmp_path: Path) -> None:
    ledger = machine(tmp_path)
    block(ledger, transaction(Put(key=b"a", value=os.urandom(60_000))))
    assert ledger.store.size_bytes() == (tmp_path / "data.mdb").stat().st_size
    ledger.store.close()


def test_a_reader_follows_a_writer_of_another_process_that_grows(tmp_path: Path) -> None:
    ledger = machine(tmp_path)
    block(ledger, transaction(Put(key=b"a", value=b"1")))
    ledger.store.close()
    go, ready = os.pipe()
    writer = os.fork()
    if not writer:  # the child, which must not come back into the tests
        signal.alarm(30)
        try:
            os.read(go, 1)
            grown = machine(tmp_path)
            for number in range(8):
                block(grown, transaction(Put(key=b"%d" % number, value=os.urandom(60_000))))
            grown.store.close()
        finally:
            os._exit(0)
    reader = Store(str(tmp_path), CHAIN, readonly=True, map_bytes=2**18)
    assert VALUES.get(StateAt(reader), b"a") == b"1"
    os.write(ready, b"1")
    os.waitpid(writer, 0)
    now = StateAt(reader)
    assert now.height == 9
    assert len(VALUES.get(now, b"7") or b"") == 60_000
    reader.close()
    for end in (go, ready):
        os.close(end)


def test_a_file_that_is_no_database_is_damage(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"no database" * 1_000)
    with pytest.raises(Tampered, match=r"ledger\.32") as caught:
        Store(str(tmp_path), CHAIN)
    assert caught.value.place == "data.mdb"


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (lmdb.CorruptedError(), Tampered),
        (lmdb.PageNotFoundError(), Tampered),
        (lmdb.InvalidError(), Tampered),
        (lmdb.VersionMismatchError(), Tampered),
        (lmdb.DiskError(), StorageFailed),
        (lmdb.Error(), StorageFailed),
        (OSError(28, "full"), StorageFailed),
    ],
    ids=lambda value: type(value).__name__,
)
def test_faults_of_the_database_are_named(store: Store, raised: Exception, kind: type[CareMeshError]) -> None:
    def fail(_: object) -> None:
        raise raised

    with pytest.raises(kind) as caught:
        store.write(fail)
    damaged = ("ledger.32", "data.mdb")
    assert (caught.value.code, caught.value.place) == (damaged if kind is Tampered else ("ledger.30", ""))
    assert caught.value.__cause__ is raised
    with pytest.raises(kind) as caught, store.read():
        raise raised
    assert (caught.value.code, caught.value.place) == (damaged if kind is Tampered else ("ledger.33", ""))


def test_what_is_no_fault_of_the_database_passes_through(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.read():
        raise ZeroDivisionError


def test_a_copy_that_cannot_be_made_is_a_fault_of_the_disk(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match=r"ledger\.30"):
        store.compact(str(tmp_path / "nowhere"))
    with pytest.raises(StorageFailed, match=r"ledger\.33"):
        Store(str(tmp_path / "nowhere"), CHAIN, readonly=True)


def test_a_copy_holds_nothing_old(tmp_path: Path) -> None:
    """LMDB's free pages keep what was; a copy made without compaction would too."""
    ledger = machine(tmp_path / "a")
    secret = os.urandom(9_000)
    block(ledger, transaction(Put(key=b"a", value=secret)))

    def forget(txn: lmdb.Transaction) -> None:
        for database in ledger.store._databases.values():
            txn.drop(database, delete=False)

    ledger.store.write(forget)
    assert secret[4_000:5_000] in (tmp_path / "a" / "data.mdb").read_bytes()
    (tmp_path / "b").mkdir()
    ledger.store.compact(str(tmp_path / "b"))
    assert secret[4_000:5_000] not in (tmp_path / "b" / "data.mdb").read_bytes()
    ledger.store.close()


def test_a_store_opens_again_as_large_as_it_was(tmp_path: Path) -> None:
    ledger = machine(tmp_path)
    block(ledger, transaction(Put(key=b"a", value=b"1")))
    before = ledger.store._env.info()["map_size"]
    done: list[bool] = []
    ledger.store.reopen(lambda: done.append(True))
    assert done == [True]
    assert ledger.store._env.info()["map_size"] == before
    assert VALUES.get(ledger.reader(), b"a") == b"1"

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ledger.store.reopen(fail)
    assert VALUES.get(ledger.reader(), b"a") == b"1"
    ledger.store.close()


HEAD = Head(CHAIN, 4, 5, bytes(32), bytes(32))


def test_a_restore_that_was_broken_off_leaves_nothing(store: Store) -> None:
    store.begin_restore(CHAIN)
    store.restore_records([(b"old", b"1")])
    store.begin_restore(CHAIN)
    store.restore_records([(b"new", b"2")])
    store.finish_restore(HEAD, sha256(b"g").digest(), [(1, 0, b"\1" * 32), (0, 2, b"\2" * 32)])
    with store.read() as read:
        assert [(key, value) for _, key, value in read.records()] == [(b"new", b"2")]
        assert (read.head(), read.genesis()) == (HEAD, sha256(b"g").digest())
        assert (read.subtree(1, 0), read.subtree(0, 2)) == (b"\1" * 32, b"\2" * 32)
        assert read.check_records("meta") == 2


def test_only_an_empty_store_of_the_chain_is_restored(store: Store) -> None:
    with pytest.raises(WrongLedger, match=r"ledger\.31"):
        store.begin_restore("other")
    store.finish_restore(HEAD, bytes(32), [])
    with pytest.raises(WrongLedger, match=r"ledger\.31"):
        store.begin_restore(CHAIN)


def test_heights_are_in_order_as_keys() -> None:
    heights = [0, 1, 255, 256, 2**32, 2**40]
    assert sorted(map(height_key, reversed(heights))) == [height.to_bytes(8, "big") for height in heights]


def test_one_thread_waits_for_nobody() -> None:
    gate = OneThread()
    with gate.shared(), gate.exclusive(), gate.shared():
        pass


def test_a_ledger_of_another_chain_is_let_go_of(tmp_path: Path) -> None:
    """LMDB opens a folder once in a process: the right name works afterwards."""
    machine(tmp_path).store.close()
    for _ in range(2):
        with pytest.raises(WrongLedger, match=r"ledger\.31"):
            Store(str(tmp_path), "other")
    Store(str(tmp_path), CHAIN).close()
