"""The embedded engine: order, durability before answers, limits, and stopping."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from caremesh.consensus import embedded
from caremesh.consensus.embedded import Embedded
from caremesh.consensus.interface import Committed
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, CareMeshError, Refused, StorageFailed, Tampered, Unavailable, WrongLedger
from caremesh.ledger.application import Params
from caremesh.ledger.blocks import Block, header_hash, txs_root
from caremesh.ledger.light import LightClient, check_answer
from caremesh.ledger.store import NOT_WRITTEN, Commit
from tests.support.kv import (
    CHAIN,
    GENESIS,
    MEMBER,
    NODE,
    START_S,
    VALUES,
    Append,
    Clock,
    Fail,
    Kv,
    Put,
    Refuse,
    Revoke,
    engine,
    transaction,
)

STRANGER = SigningKey.from_seed(b"stranger".ljust(32, b"."))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def made(tmp_path: Path, clock: Clock) -> Iterator[Embedded]:
    engine_ = engine(tmp_path, clock=clock)
    yield engine_
    engine_.close()


def put(key: bytes, value: bytes = b"1") -> bytes:
    return transaction(Put(key=key, value=value))


def test_what_is_submitted_is_committed_and_read(made: Embedded) -> None:
    done = made.submit(transaction(Put(key=b"a", value=b"1"), Put(key=b"b", value=b"2")))
    assert (done.height, done.code, len(done.tx)) == (1, "", 36)
    assert [event.attributes["key"] for event in done.events] == [b"a", b"b"]
    assert VALUES.get(made.reader(), b"a") == b"1"
    assert made.outcome(done.tx) == done
    assert made.outcome(bytes(36)) is None
    status = made.status()
    assert (status.chain, status.height, status.time, status.oldest, status.running) == (CHAIN, 1, START_S, 1, True)


def test_what_a_contract_refuses_is_committed_with_its_code(made: Embedded) -> None:
    done = made.submit(transaction(Put(key=b"a", value=b"1"), Refuse(key=b"b")))
    assert (done.height, done.code, done.result.place, done.events) == (1, "kv.01", "msgs[1]", [])


def test_what_no_block_may_hold_costs_none(made: Embedded, clock: Clock) -> None:
    good = put(b"a")
    made.submit(good)
    cases: list[tuple[bytes, type[CareMeshError], str]] = [
        (good, Refused, r"ledger\.09"),
        (b"nonsense", BadInput, r"codec"),
        (good[:-1] + bytes([good[-1] ^ 1]), Tampered, r"signatures\.03"),
        (transaction(Put(key=b"a", value=b"1"), chain="other"), Refused, r"ledger\.06"),
        (transaction(Put(key=b"a", value=b"1"), expires_at=START_S - 1), Refused, r"ledger\.07"),
        (transaction(Put(key=b"a", value=b"1"), expires_at=START_S + 601), Refused, r"ledger\.08"),
        (transaction(Put(key=b"a", value=b"1"), key=STRANGER), Refused, r"kv\.02"),
        (put(b"a", bytes(70_000)), Refused, r"ledger\.14"),
    ]
    for raw, kind, code in cases:
        with pytest.raises(kind, match=code):
            made.submit(raw)
    for future, (_, kind, _) in zip(made.submit_many([raw for raw, _, _ in cases]), cases, strict=True):
        assert isinstance(future.exception(), kind)
    assert made.status().height == 1
    clock.now -= 10_000  # a clock that goes back does not take block time with it
    made.submit(put(b"c"))
    assert made.status().time == START_S


def test_a_member_that_is_one_no_longer_is_noticed(tmp_path: Path) -> None:
    app = Kv([MEMBER])
    made = engine(tmp_path, app)
    made.submit(put(b"a"))
    app.members.clear()
    made.make_block()
    with pytest.raises(Refused, match=r"kv\.02"):
        made.submit(put(b"b"))
    made.close()


def test_what_is_over_quota_costs_no_block_but_revocation_goes_on(tmp_path: Path, clock: Clock) -> None:
    made = engine(tmp_path, Kv([MEMBER], Params(quota_messages=2, quota_window_s=3_600)), clock=clock)
    made.submit(put(b"a"))
    with pytest.raises(Refused, match=r"ledger\.10"):
        made.submit(transaction(Put(key=b"b", value=b"1"), Put(key=b"c", value=b"1")))
    assert made.submit(put(b"b")).height == 2
    with pytest.raises(Refused, match=r"ledger\.10"):
        made.submit(put(b"c"))
    assert made.submit(transaction(Revoke(key=b"a"))).code == ""
    assert made.status().height == 3
    clock.now += 3_600
    assert made.submit(transaction(Put(key=b"c", value=b"1"), expires_at=clock.now + 60)).code == "", "a new window"
    made.close()


def test_submitting_many_keeps_order_and_limits(tmp_path: Path) -> None:
    made = engine(tmp_path, max_block_txs=3)
    futures = made.submit_many([transaction(Append(owner=b"o", item=b"%d" % number)) for number in range(8)])
    assert [future.result().height for future in futures] == [1, 1, 1, 2, 2, 2, 3, 3]
    assert [len(block.txs) for block in made.blocks(1)] == [3, 3, 2]
    made.close()


def test_a_block_has_a_size(tmp_path: Path) -> None:
    raws = [put(b"%d" % number, bytes(1_000)) for number in range(5)]
    made = engine(tmp_path, Kv([MEMBER], Params(max_block_bytes=2 * len(raws[0]))))
    assert [future.result().height for future in made.submit_many(raws)] == [1, 1, 2, 2, 3]
    made.close()
    tight = engine(tmp_path / "tight", Kv([MEMBER], Params(max_block_bytes=10)))
    assert [future.result().height for future in tight.submit_many(raws)] == [1, 2, 3, 4, 5]
    tight.close()


def test_too_many_that_wait_are_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "MAX_WAITING", 2)
    made = engine(tmp_path)
    futures = made.submit_many([put(b"%d" % number) for number in range(3)])
    assert [future.exception() is None for future in futures] == [True, True, False]
    assert isinstance(futures[2].exception(), Unavailable)
    made.close()


def test_headers_are_signed_linked_and_lead_to_the_state(made: Embedded) -> None:
    for number in range(3):
        made.submit(put(b"%d" % number))
    made.make_block()
    client = LightClient(CHAIN, made.validators, trusted_at=START_S)
    previous = bytes(32)
    for block in made.blocks(1):
        header = client.verify(made.light_block(block.signed.content().height), START_S)
        assert header.previous == previous
        assert header.txs == txs_root(block.txs)
        previous = header_hash(block.signed.header)
    key = VALUES.key(b"1")
    for height in range(1, 5):
        answer = made.query(key, height)
        value = check_answer(made.light_block(height).signed.content(), answer)
        assert (value is not None) == (height >= 2)
    assert made.query(key) == made.query(key, 4)
    assert made.header() == made.light_block().signed.content()
    with pytest.raises(BadInput, match=r"ledger\.11"):
        made.light_block(5)
    with pytest.raises(BadInput, match=r"ledger\.11"):
        made.block(0)


def test_an_empty_block_leaves_the_app_hash(made: Embedded) -> None:
    made.submit(put(b"a"))
    before = made.status()
    assert made.make_block() == 2
    assert made.status().app_hash == before.app_hash
    assert made.light_block(2).signed.content().txs == txs_root([])


@pytest.mark.promise("P5")
def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    made = engine(tmp_path)
    raw = put(b"a")
    done = made.submit(raw)
    before = made.status()
    made.close()
    again = engine(tmp_path)
    assert again.status() == before
    assert again.outcome(done.tx) == done
    with pytest.raises(Refused, match=r"ledger\.09"):
        again.submit(raw)
    assert again.submit(put(b"b")).height == 2
    assert [block.signed.content().height for block in again.blocks(1)] == [1, 2]
    again.close()


def test_events_resume_without_a_gap_or_a_repeat(made: Embedded) -> None:
    for number in range(1, 5):
        made.submit(transaction(*(Put(key=b"%d.%d" % (number, at), value=b"1") for at in range(number))))
        made.make_block()
    rows = list(made.subscribe())
    assert [event.attributes["key"] for _, event in rows] == [
        b"%d.%d" % (number, at) for number in range(1, 5) for at in range(number)
    ]
    for at, (cursor, _) in enumerate(rows):
        assert list(made.subscribe(cursor)) == rows[at + 1 :]
    made.submit(put(b"late"))
    assert [event.attributes["key"] for _, event in made.subscribe(rows[-1][0])] == [b"late"]


@pytest.mark.parametrize("cursor", ["x", "1", "1.0", "1.0.", ".1.0", "-1.0.0", "1.0.0.0", "1.0.²", " 1.0.0"])
def test_a_cursor_is_used_as_it_was_given(made: Embedded, cursor: str) -> None:
    with pytest.raises(BadInput, match=r"consensus\.05"):
        next(made.subscribe(cursor))


def test_events_that_have_gone_are_not_passed_over(tmp_path: Path) -> None:
    made = engine(tmp_path, Kv([MEMBER], Params(retain_blocks=2)))
    for number in range(5):
        made.submit(put(b"%d" % number))
    assert [cursor for cursor, _ in made.subscribe()] == ["4.3.1", "5.4.1"]
    assert made.status().oldest == 4
    with pytest.raises(BadInput, match=r"ledger\.11"):
        next(made.subscribe("2.1.1"))
    with pytest.raises(BadInput, match=r"ledger\.11"):
        next(made.blocks(1))
    made.close()


def test_a_fault_of_a_contract_stops_the_engine_and_keeps_nothing(tmp_path: Path) -> None:
    made = engine(tmp_path)
    made.submit(put(b"a"))
    with pytest.raises(ZeroDivisionError):
        made.submit(transaction(Put(key=b"a", value=b"2"), Fail()))
    with pytest.raises(Unavailable, match=r"consensus\.01"):
        made.submit(put(b"b"))
    with pytest.raises(Unavailable, match=r"consensus\.01"):
        made.make_block()
    with pytest.raises(Unavailable, match=r"consensus\.01"):
        made.wait(2, 0.0)
    assert not made.status().running
    assert VALUES.get(made.reader(), b"a") == b"1"
    made.close()
    again = engine(tmp_path)
    assert again.submit(put(b"b")).height == 2
    again.close()


def test_all_who_wait_are_told_when_the_engine_stops(tmp_path: Path) -> None:
    made = engine(tmp_path, max_block_txs=1, max_interval_s=60)
    busy, go = threading.Event(), threading.Event()

    def hold(_: Block) -> None:
        busy.set()
        go.wait(10)

    made.on_block(hold)
    made.start()
    first = made.submit_soon(put(b"first"))
    busy.wait(10)
    failing = made.submit_soon(transaction(Fail()))
    others = [made.submit_soon(put(b"%d" % number)) for number in range(3)]
    go.set()
    assert first.result(10).height == 1
    for future in (failing, *others):
        assert isinstance(future.exception(10), ZeroDivisionError)
    made.close()


def test_a_listener_hears_of_each_durable_block_before_the_submitter(made: Embedded) -> None:
    heard: list[Block] = []
    made.on_block(heard.append)
    made.submit(put(b"a"))
    assert [block.signed.content().height for block in heard] == [1]
    assert heard == list(made.blocks(1))


def test_a_listener_that_fails_stops_the_engine_but_the_block_counts(made: Embedded) -> None:
    def fail(_: Block) -> None:
        raise ZeroDivisionError

    made.on_block(fail)
    futures = made.submit_many([])
    assert futures == []
    with pytest.raises(ZeroDivisionError):
        made.submit(put(b"a"))
    assert made.status().height == 1
    with pytest.raises(Unavailable, match=r"consensus\.01"):
        made.submit(put(b"b"))


def test_a_started_engine_makes_blocks_as_transactions_come_and_at_intervals(tmp_path: Path) -> None:
    made = engine(tmp_path, max_interval_s=0.05)
    made.start()
    assert made.wait(2, 10) >= 2
    assert made.submit(put(b"a")).code == ""
    height = made.status().height
    assert made.wait(height + 1, 10) > height
    made.close()
    with pytest.raises(Unavailable, match=r"consensus\.01"):
        made.submit(put(b"b"))


def test_waiting_for_a_block_ends(made: Embedded) -> None:
    with pytest.raises(Unavailable, match=r"consensus\.06"):
        made.wait(1, 0.01)
    made.make_block()
    assert made.wait(1, 0.01) == 1


def test_closing_finishes_what_waits(tmp_path: Path) -> None:
    made = engine(tmp_path, block_wait_s=0.2, max_interval_s=60)
    made.start()
    future = made.submit_soon(put(b"a"))
    made.close()
    assert future.result(1).height == 1


@pytest.mark.slow
def test_many_threads_submit_and_read_at_once(tmp_path: Path) -> None:
    made = engine(tmp_path, block_wait_s=0.002, map_bytes=2**18)
    made.start()
    stop = threading.Event()
    problems: list[BaseException] = []

    def read() -> None:
        while not stop.is_set():
            try:
                reader = made.reader()
                count = [VALUES.get(reader, b"%d.0" % thread) for thread in range(4)]
                answer = made.query(VALUES.key(b"0.0"))
                if made.status().height:
                    check_answer(made.light_block(answer.height).signed.content(), answer)
                assert count == [VALUES.get(reader, b"%d.0" % thread) for thread in range(4)]
            except BadInput as error:
                if error.code != "ledger.11":  # height 0 has no block
                    problems.append(error)
            except BaseException as error:  # noqa: BLE001 - shown by the assertion below
                problems.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()

    def write(thread: int) -> list[Committed]:
        return [made.submit(put(b"%d.%d" % (thread, number), bytes(2_000))) for number in range(40)]

    with ThreadPoolExecutor(4) as pool:
        done = [row for rows in pool.map(write, range(4)) for row in rows]
    stop.set()
    for reader in readers:
        reader.join()
    assert not problems
    assert {row.code for row in done} == {""}
    assert len({row.tx for row in done}) == 160
    assert sum(len(block.txs) for block in made.blocks(1)) == 160
    made.close()


def test_the_same_transaction_at_once_is_committed_once(tmp_path: Path) -> None:
    made = engine(tmp_path, block_wait_s=0.1, max_interval_s=60)
    made.start()
    raw = put(b"a")
    assert made.submit_soon(raw) is made.submit_soon(raw)
    made.close()
    assert [len(block.txs) for block in engine_blocks(tmp_path)] == [1]


def engine_blocks(folder: Path) -> list[Block]:
    made = engine(folder)
    blocks = list(made.blocks(1))
    made.close()
    return blocks


def test_another_ledger_in_the_folder_is_refused(tmp_path: Path) -> None:
    engine(tmp_path).close()
    with pytest.raises(WrongLedger, match=r"ledger\.31"):
        Embedded(tmp_path, Kv([MEMBER]), chain="other", genesis=GENESIS, genesis_time=START_S, key=NODE, clock=Clock())
    with pytest.raises(WrongLedger, match=r"ledger\.31"):
        Embedded(tmp_path, Kv([MEMBER]), chain=CHAIN, genesis=b"x", genesis_time=START_S, key=NODE, clock=Clock())
    engine(tmp_path).close()


def test_a_folder_that_cannot_be_made_is_the_disks_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageFailed, match=r"ledger\.30"):
        engine(tmp_path / "file")


def test_listeners_hear_of_blocks_in_their_order(made: Embedded) -> None:
    heard: list[int] = []
    listening, both = threading.Event(), threading.Event()

    def listen(block: Block) -> None:
        listening.set()
        if block.signed.content().height == 1:
            both.wait(0.3)  # as long as the other would take to make a block, were it not waiting
        heard.append(block.signed.content().height)

    made.on_block(listen)
    first = threading.Thread(target=made.submit, args=[put(b"a")])
    first.start()
    assert listening.wait(30)
    made.submit(put(b"b"))
    both.set()
    first.join(30)
    assert heard == [1, 2]


def test_a_block_that_the_disk_does_not_take_is_told_and_the_next_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = engine(tmp_path)
    try:
        before = made.submit(put(b"a")).height
        made.start()
        with monkeypatch.context() as patch:
            patch.setattr(made.machine.store, "commit", full)
            with pytest.raises(StorageFailed, match=r"ledger\.30"):
                made.submit(put(b"b"))
            assert not made.status().running
            assert not made.stopped
            assert made.status().height == before
        assert made.submit(put(b"c")).height == before + 1
        assert made.status().running
    finally:
        made.close()


def test_a_database_that_holds_something_else_after_a_failure_stops_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write may have come through although the system said that it failed: another process finds out."""
    made = engine(tmp_path)
    try:
        made.submit(put(b"a"))
        commit = made.machine.store.commit

        def comes_through(row: Commit) -> None:
            commit(row)
            full(row)

        monkeypatch.setattr(made.machine.store, "commit", comes_through)
        with pytest.raises(StorageFailed):
            made.submit(put(b"b"))
        assert made.stopped
        with pytest.raises(Unavailable, match=r"consensus\.01"):
            made.submit(put(b"c"))
    finally:
        made.close()


def full(_: object) -> None:
    raise StorageFailed(NOT_WRITTEN)
