"""A replica believes nothing: each lie of a block raises, and leaves it where it was."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from caremesh import codec
from caremesh.consensus.embedded import Embedded
from caremesh.consensus.replica import Replica
from caremesh.consensus.verification import Verifier
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, CareMeshError, Refused, StorageFailed, Tampered, WrongLedger
from caremesh.ledger.application import Params
from caremesh.ledger.blocks import HEADER_DOMAIN, Block, HeaderSignature, Misbehaviour, SignedHeader, txs_root
from caremesh.ledger.light import check_answer
from caremesh.ledger.store import NOT_WRITTEN, Commit
from caremesh.ledger.transactions import TransactionCodec
from tests.support.kv import GENESIS, MEMBER, NODE, START_S, VALUES, Kv, Put, Refuse, engine, replica, transaction


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Embedded]:
    made = engine(tmp_path / "source")
    for number in range(3):
        made.submit(transaction(Put(key=b"%d" % number, value=b"1"), Put(key=b"n", value=b"%d" % number)))
    made.submit(transaction(Refuse(key=b"x")))
    made.make_block()
    yield made
    made.close()


@pytest.fixture
def follower(tmp_path: Path, source: Embedded) -> Iterator[Replica]:
    made = replica(tmp_path / "follower", source)
    yield made
    made.close()


@pytest.mark.promise("P7")
def test_a_replica_ends_where_the_engine_is(source: Embedded, follower: Replica) -> None:
    assert follower.seen_s() == float("inf")
    with pytest.raises(BadInput, match=r"ledger\.11"):
        follower.header()
    for block in source.blocks(1):
        follower.apply(block)
    assert follower.status() == source.status()
    assert follower.header() == source.header()
    assert follower.height() == 5
    assert follower.seen_s() == 0.0
    assert list(follower.blocks(1)) == list(source.blocks(1))
    assert list(follower.subscribe()) == list(source.subscribe())
    assert VALUES.get(follower.reader(), b"n") == b"2"
    assert VALUES.get(follower.reader(1), b"n") == b"0"
    assert follower.query(VALUES.key(b"n")) == source.query(VALUES.key(b"n"))
    assert check_answer(follower.light_block().signed.content(), follower.query(VALUES.key(b"9"))) is None
    tx_id = follower.machine.results(4).txs[0]
    assert follower.outcome(tx_id) == source.outcome(tx_id)


def signed(block: Block, key: SigningKey = NODE, **changes: Any) -> Block:
    """A block whose header says something else, properly signed."""
    header = codec.encode(msgspec.structs.replace(block.signed.content(), **changes))
    signature = HeaderSignature(key.public, key.sign(HEADER_DOMAIN + header))
    return Block(SignedHeader(header, [signature]), block.txs)


@pytest.mark.promise("P6")
def test_lies_are_noticed_and_nothing_is_applied(source: Embedded, follower: Replica) -> None:
    first, second, third = list(source.blocks(1))[:3]
    follower.apply(first)
    before = follower.status()
    stranger = SigningKey.from_seed(b"stranger".ljust(32, b"."))
    extra = transaction(Put(key=b"evil", value=b"1"))
    claim = Misbehaviour(kind="two-votes", validator=bytes(20), height=1, time=START_S)
    lies: list[tuple[Block, type[CareMeshError], str]] = [
        (first, Refused, r"consensus\.02"),
        (third, Refused, r"consensus\.02"),
        (signed(second, previous=bytes(32)), Refused, r"consensus\.02"),
        (signed(second, chain="other"), WrongLedger, r"light\.06"),
        (signed(second, key=stranger), Tampered, r"light\.01"),
        (Block(SignedHeader(second.signed.header, []), second.txs), Tampered, r"light\.01"),
        (signed(second, validators=bytes(32)), Tampered, r"light\.0[29]"),
        (signed(second, app_hash=bytes(32)), Tampered, r"consensus\.03"),
        (signed(second, txs=txs_root([])), Tampered, r"consensus\.07"),
        (Block(second.signed, []), Tampered, r"consensus\.07"),
        (Block(second.signed, [*second.txs, extra]), Tampered, r"consensus\.07"),
        (Block(second.signed, [extra]), Tampered, r"consensus\.07"),
        (Block(second.signed, second.txs, [claim]), Tampered, r"consensus\.07"),
        (signed(second, time=START_S - 1), Refused, r"light\.05"),
    ]
    for lie, kind, code in lies:
        with pytest.raises(kind, match=code) as caught:
            follower.apply(lie)
        assert caught.value.place == ("" if kind is WrongLedger else f"height {lie.signed.content().height}")
        assert follower.status() == before
    follower.apply(second)
    assert follower.height() == 2


def test_a_replica_answers_for_any_kept_height(source: Embedded, follower: Replica) -> None:
    for block in source.blocks(1):
        follower.apply(block)
    key = VALUES.key(b"1")
    for height in range(1, 6):
        assert follower.query(key, height) == source.query(key, height)
        assert follower.light_block(height) == source.light_block(height)
        assert VALUES.get(source.reader(height), b"n") == VALUES.get(follower.reader(height), b"n")
    assert follower.query(key, 1) != follower.query(key)
    assert follower.light_block().validators == source.validators
    cursor = next(iter(source.subscribe()))[0]
    assert list(follower.subscribe(cursor)) == list(source.subscribe(cursor)) != list(source.subscribe())


def test_a_replica_knows_how_old_its_last_block_is(tmp_path: Path, source: Embedded) -> None:
    now = 100.0
    made = Replica(
        tmp_path / "aging",
        Kv([MEMBER]),
        chain=source.status().chain,
        genesis=GENESIS,
        genesis_time=START_S,
        validators=source.validators,
        clock=lambda: START_S,
        monotonic=lambda: now,
    )
    assert made.seen_s() == float("inf")
    made.apply(next(iter(source.blocks(1))))
    now = 107.5
    assert made.seen_s() == 7.5
    made.close()


def test_a_replica_may_have_been_away_for_any_time(tmp_path: Path, source: Embedded) -> None:
    """It has executed every block itself: no key that has changed hands can lead it astray."""
    made = replica(tmp_path / "late", source)
    made._clock = lambda: START_S + 2**35
    for block in source.blocks(1):
        made.apply(block)
    assert made.status() == source.status()
    made.close()


def test_a_replica_lets_its_pool_verify(tmp_path: Path) -> None:
    source = engine(tmp_path / "many")
    source.submit_many([transaction(Put(key=b"%d" % number, value=b"1")) for number in range(130)])
    with ThreadPoolExecutor(1) as pool:
        made = replica(tmp_path / "pooled", source, pool=pool)
        for block in source.blocks(1):
            made.apply(block)
        assert pool._threads
        assert made.status() == source.status()
        made.close()
    source.close()


def test_a_replica_goes_on_after_a_restart(tmp_path: Path, source: Embedded) -> None:
    made = replica(tmp_path / "r", source)
    blocks = list(source.blocks(1))
    for block in blocks[:2]:
        made.apply(block)
    made.close()
    again = replica(tmp_path / "r", source)
    assert again.seen_s() == float("inf")
    for block in blocks[2:]:
        again.apply(block)
    assert again.status() == source.status()
    again.close()


@pytest.mark.slow
def test_workers_verify_with_the_same_outcome(tmp_path: Path) -> None:
    good = [transaction(Put(key=b"%d" % number, value=b"1")) for number in range(200)]
    mixed = [
        raw[:-1] + bytes([raw[-1] ^ 1]) if number % 7 == 0 else b"\xff" if number % 11 == 0 else raw
        for number, raw in enumerate(good)
    ]
    reader = TransactionCodec(Kv([MEMBER]).messages)
    expected = []
    for raw in mixed:
        try:
            expected.append(reader.decode(raw).id.encode())
        except CareMeshError as error:
            expected.append(error.code)
    with (
        ThreadPoolExecutor(2) as threads,
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes,
    ):
        for pool in (None, threads, processes):
            verifier = Verifier(reader, pool)
            found = [
                row.code if isinstance(row, CareMeshError) else row.id.encode() for row in verifier.decode_all(mixed)
            ]
            assert found == expected
            kept = verifier.decode_or_keep(mixed)
            assert [row if isinstance(row, bytes) else row.signed for row in kept] == mixed
        made = engine(tmp_path / "a", pool=threads)
        codes = [future.exception() for future in made.submit_many(mixed)]
        assert [code is None for code in codes] == [not isinstance(row, bytes) for row in kept]
        follower = replica(tmp_path / "b", made, pool=threads)
        for block in made.blocks(1):
            follower.apply(block)
        assert follower.status() == made.status()
        made.close()
        follower.close()


@pytest.mark.promise("P7")
def test_a_block_larger_than_the_ledger_allows_is_not_applied(tmp_path: Path) -> None:
    """The engine that made it followed no limit; every replica does."""
    source = engine(tmp_path / "source", Kv([MEMBER], Params(max_block_bytes=2**20)))
    source.submit_many([transaction(Put(key=b"%d" % number, value=bytes(30_000))) for number in range(3)])
    [block] = source.blocks(1)
    total = sum(map(len, block.txs))
    for limit, refused in ((total, False), (total - 1, True)):
        made = replica(tmp_path / str(limit), source, Kv([MEMBER], Params(max_block_bytes=limit)))
        if refused:
            with pytest.raises(Tampered, match=r"consensus\.08"):
                made.apply(block)
        else:
            made.apply(block)
        made.close()
    source.close()


@pytest.mark.parametrize("through", [False, True])
def test_a_block_that_the_disk_does_not_take_is_taken_later(
    source: Embedded, follower: Replica, monkeypatch: pytest.MonkeyPatch, *, through: bool
) -> None:
    """``through``: the block is there although the system said that it failed. Then another process finds out."""
    blocks = list(source.blocks(1))
    commit = follower.machine.store.commit

    def full(row: Commit) -> None:
        if through:
            commit(row)
        raise StorageFailed(NOT_WRITTEN)

    with monkeypatch.context() as patch:
        patch.setattr(follower.machine.store, "commit", full)
        with pytest.raises(StorageFailed):
            follower.apply(blocks[0])
    assert follower.height() == 0
    assert follower.stopped is through
    assert follower.status().running is not through
    if not through:
        follower.apply(blocks[0])
        assert follower.height() == 1
