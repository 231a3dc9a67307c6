"""What a database holds against everything else in it: records that are whole, each for itself, and do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from caremesh import codec
from caremesh.consensus.embedded import Embedded
from caremesh.errors import BadInput, CareMeshError
from caremesh.ledger.application import Params
from caremesh.ledger.blocks import header_hash
from caremesh.ledger.records import seal, state_record
from caremesh.ledger.snapshot import export, restore
from caremesh.ledger.store import Store, height_key
from caremesh.ledger.trie import leaf_hash
from caremesh.ledger.verify import Verified, check_store
from tests.support.kv import CHAIN, MEMBER, Kv, Put, Refuse, engine, transaction


def put(number: int) -> bytes:
    return transaction(Put(key=b"%d" % number, value=b"1"), salt=b"%08d" % number)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Embedded]:
    """Three blocks: two transactions, one, and none."""
    engine_ = engine(tmp_path)
    futures = engine_.submit_many([put(1), put(2)])
    assert [future.result().height for future in futures] == [1, 1]
    engine_.submit(put(3))
    engine_.make_block()
    yield engine_
    engine_.close()


def write(made: Embedded, database: str, key: bytes, record: bytes | None) -> None:
    def fill(txn: Any) -> None:
        db = made.machine.store._databases[database]
        if record is None:
            assert txn.delete(key, db=db)
        else:
            txn.put(key, record, db=db)

    made.machine.store.write(fill)


def place(made: Embedded) -> str:
    with pytest.raises(CareMeshError, match=r"ledger\.32") as caught:
        check_store(made.machine.store)
    return caught.value.place


def rewrite(made: Embedded, height: int, change: Callable[[dict[str, Any]], None], *, block: bool = True) -> None:
    """Change a block's header, or its results, and seal it again as if it had been written so."""
    database = "blocks" if block else "results"
    with made.machine.store.read() as read:
        stored = read.block(height) if block else read.results(height)
    assert stored is not None
    fields = codec.decode(stored)
    if block:
        header = codec.decode(fields["signed"]["header"])
        fields["header"] = header
    change(fields)
    if block:
        fields["signed"]["header"] = codec.encode(fields.pop("header"))
    write(made, database, height_key(height), seal(database, height_key(height), codec.encode(fields)))


def test_a_sound_database_is_counted(made: Embedded) -> None:
    with made.machine.store.read() as read:
        keys = sum(1 for _ in read.records())
    steps: list[str] = []
    assert check_store(made.machine.store, steps.append) == Verified(height=3, keys=keys, blocks=3)
    assert steps == ["state", "meta", "undo", "blocks", "results", "undo records", "blocks", "history"]
    assert check_store(made.machine.store).height == 3


def test_before_genesis_there_is_nothing_to_check(tmp_path: Path) -> None:
    store = Store(str(tmp_path), CHAIN)
    assert check_store(store) == Verified(height=0, keys=0, blocks=0)
    store.close()


def change_header(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields["header"].update({name: value})


@pytest.mark.promise("P6")
@pytest.mark.parametrize("height", [1, 2, 3])
@pytest.mark.parametrize(
    "change",
    [
        change_header("height", 9),
        change_header("chain", "other"),
        change_header("txs", bytes(32)),
        lambda fields: fields["txs"].append(b"one more"),
        lambda fields: fields["txs"].clear() if fields["txs"] else fields["txs"].append(b""),
    ],
)
def test_a_block_is_what_its_header_says(made: Embedded, height: int, change: Callable[[dict[str, Any]], None]) -> None:
    rewrite(made, height, change)
    assert place(made) == f"block {height}"


@pytest.mark.parametrize("height", [2, 3])
def test_a_header_follows_the_one_before(made: Embedded, height: int) -> None:
    rewrite(made, height, change_header("previous", bytes(32)))
    assert place(made) == f"block {height}"


def test_the_first_kept_header_may_follow_anything(made: Embedded) -> None:
    """But the second names it, so a change of the first is noticed there."""
    rewrite(made, 1, change_header("previous", b"\1" * 32))
    assert place(made) == "block 2"


def test_the_last_header_is_that_of_the_head(made: Embedded) -> None:
    rewrite(made, 3, change_header("time", 5))
    assert place(made) == "block 3"


def test_the_last_header_leads_to_the_state(made: Embedded) -> None:
    """Even when the head names that header."""
    rewrite(made, 3, change_header("app_hash", bytes(32)))
    name = header_hash(made.block(3).signed.header)
    head = msgspec.structs.replace(made.machine.head, header=name)
    write(made, "meta", b"head", seal("meta", b"head", codec.encode(head)))
    assert place(made) == "block 3"


@pytest.mark.parametrize("change", [lambda rows: rows["txs"].pop(), lambda rows: rows["results"].pop()])
def test_every_transaction_has_a_result(made: Embedded, change: Callable[[dict[str, Any]], None]) -> None:
    rewrite(made, 1, change, block=False)
    assert place(made) == "block 1"


def test_every_transaction_has_its_own_result(made: Embedded) -> None:
    def both(fields: dict[str, Any]) -> None:
        fields["txs"].pop()
        fields["results"].pop()

    rewrite(made, 1, both, block=False)
    assert place(made) == "block 1"


@pytest.mark.promise("P6")
@pytest.mark.parametrize("database", ["blocks", "results"])
def test_a_block_that_is_missing_is_named(made: Embedded, database: str) -> None:
    write(made, database, height_key(2), None)
    assert place(made) == "block 2 is missing"


@pytest.mark.parametrize("place_", [None, (1, 1), (2, 0), (0, 0)])
def test_the_index_leads_to_each_transaction(made: Embedded, place_: tuple[int, int] | None) -> None:
    first = made.machine.results(1).txs[0]
    record = None if place_ is None else height_key(place_[0]) + place_[1].to_bytes(4, "big")
    write(made, "txs", first, record)
    assert place(made) == "index of transactions, block 1"


@pytest.fixture
def replayed(tmp_path: Path) -> Iterator[Embedded]:
    """A transaction in block 1, and refused, as a copy, in block 2."""
    engine_ = engine(tmp_path)
    raw = put(1)
    engine_.submit(raw)
    engine_._commit([engine_.machine.codec.decode(raw)])
    assert engine_.machine.results(2).results[0].code == "ledger.09"
    yield engine_
    engine_.close()


def test_what_was_refused_again_is_listed_where_it_was_first(replayed: Embedded) -> None:
    assert check_store(replayed.machine.store).blocks == 2
    tx = replayed.machine.results(1).txs[0]
    write(replayed, "txs", tx, height_key(2) + bytes(4))
    assert place(replayed) == "index of transactions, block 1"


def test_what_was_refused_is_listed_nowhere_later(made: Embedded) -> None:
    refused = made.submit(transaction(Refuse(key=b"x")))
    assert refused.code == "kv.01"
    assert check_store(made.machine.store).blocks == 4
    for record in (height_key(4) + (1).to_bytes(4, "big"), height_key(5) + bytes(4)):
        write(made, "txs", refused.tx, record)
        assert place(made) == "index of transactions, block 4"
    for sound in (None, height_key(3) + bytes(4)):  # gone with a first that is no longer kept, or still there
        write(made, "txs", refused.tx, sound)
        assert check_store(made.machine.store).blocks == 4


@pytest.mark.promise("P6")
@pytest.mark.parametrize("gone", [True, False])
def test_a_key_too_few_or_too_many_is_noticed(made: Embedded, gone: bool) -> None:
    key = b"kv/value/\x00\x011" if gone else b"kv/value/\x00\x019"
    digest = sha256(key).digest()
    write(made, "state", digest, None if gone else state_record(leaf_hash(digest, sha256(b"v").digest()), key, b"v"))
    assert place(made) == "state: a key is missing, or one too many"


def test_a_gap_in_the_undo_records_is_noticed(made: Embedded) -> None:
    write(made, "undo", height_key(2), None)
    with pytest.raises(BadInput, match=r"ledger\.11"):
        check_store(made.machine.store)


@pytest.mark.promise("P6")
@pytest.mark.parametrize(("level", "index"), [(1, 0), (0, 0), (0, 1), (0, 2)])
def test_the_history_adds_up(made: Embedded, level: int, index: int) -> None:
    write(made, "history", bytes([level]) + index.to_bytes(8, "big"), b"\1" * 32)
    assert place(made) == ("history 0.2" if index == 2 else "history 1.0")


@pytest.mark.parametrize("index", [0, 1])
def test_of_two_halves_of_the_history_none_or_both_are_kept(made: Embedded, index: int) -> None:
    write(made, "history", bytes([0]) + index.to_bytes(8, "big"), None)
    assert place(made) == "history 1.0"
    write(made, "history", bytes([0]) + (1 - index).to_bytes(8, "big"), None)
    assert check_store(made.machine.store).blocks == 3


def test_a_change_deep_in_the_history_is_noticed(tmp_path: Path) -> None:
    made = engine(tmp_path)
    for future in made.submit_many([put(number) for number in range(8)]):
        future.result()
    check_store(made.machine.store)
    for level, index in ((0, 5), (1, 1), (2, 1)):
        with made.machine.store.read() as read:
            before = read.subtree(level, index)
        key = bytes([level]) + index.to_bytes(8, "big")
        write(made, "history", key, b"\1" * 32)
        assert place(made) == "history 3.0"
        write(made, "history", key, before)
    check_store(made.machine.store)
    made.close()


def test_pruned_and_restored_databases_are_sound(tmp_path: Path) -> None:
    made = engine(tmp_path / "a", Kv([MEMBER], Params(retain_blocks=2, kept_heights=1)))
    for number in range(6):
        made.submit(put(number))
    assert check_store(made.machine.store).blocks == 2
    header = made.block(6).signed.header
    (tmp_path / "b").mkdir()
    store = Store(str(tmp_path / "b"), CHAIN)
    restore(store, export(made.machine.store), header)
    done = check_store(store)
    assert (done.height, done.blocks, done.keys) == (6, 0, check_store(made.machine.store).keys)
    store.close()
    made.close()
