"""The cometbft engine between submission and block, at the moments that a running network seldom meets.

But for one test there is no CometBFT here: its requests are asked of the application by hand.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Semaphore

import pytest
from msgspec.structs import replace

from caremesh.consensus.cometbft import sending
from caremesh.consensus.cometbft.abci_pb2 import Request, RequestCommit, RequestFinalizeBlock, Time
from caremesh.consensus.cometbft.config import Addresses, Pace
from caremesh.consensus.cometbft.engine import CometBft, Local
from caremesh.consensus.cometbft.process import GAVE_UP
from caremesh.consensus.cometbft.rpc import Rpc
from caremesh.errors import BadInput, Refused, StorageFailed, Unavailable
from caremesh.ledger.application import Params
from caremesh.ledger.blocks import Block, Validator
from caremesh.ledger.machine import Machine
from caremesh.ledger.store import NOT_WRITTEN
from caremesh.ledger.transactions import CheckedTx
from tests.support.comet_asked import oldest_block
from tests.support.comet_engine import PATIENT_S, VALIDATOR, comet, genesis_of, now, short_folder, signed
from tests.support.kv import CHAIN, MEMBER, NODE, Fail, Kv, Put, Revoke
from tools.cometbft import cometbft

# CometBFT is built by whichever test asks first: a minute of processor time, once for each machine.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as short:
        yield short


@pytest.fixture
def alone(folder: Path) -> Iterator[CometBft]:
    """An engine that is not started."""
    made = comet(folder, Kv([MEMBER], Params(quota_messages=1)), begun=now())
    yield made
    made.close(0)


def decide(engine: CometBft, *txs: bytes, later_s: int = 0) -> None:
    """A block, as CometBFT would decide it."""
    head = engine.machine.head
    block = RequestFinalizeBlock(
        txs=txs,
        hash=bytes(32),
        next_validators_hash=bytes(32),
        height=head.height + 1,
        time=Time(seconds=head.time + later_s),
    )
    engine.application.answer(Request(finalize_block=block))
    engine.application.answer(Request(commit=RequestCommit()))


def put(key: bytes, lives_s: int = 100) -> bytes:
    return signed(Put(key=key, value=b"1"), lives_s=lives_s)


def checked(engine: CometBft, raw: bytes) -> CheckedTx:
    return engine.machine.codec.decode(raw)


def test_who_waits_hears_of_the_block_that_is_committed_here(alone: CometBft) -> None:
    raw = put(b"a")
    future = alone.submit_soon(raw)
    assert alone.seen_s() == float("inf")
    decide(alone)
    assert not future.done()
    decide(alone, raw)
    assert future.result(PATIENT_S).height == 2
    assert alone.seen_s() < PATIENT_S
    assert alone.wait(2, 0) == 2
    assert alone.header().height == 2


def test_what_no_block_can_hold_any_more_is_given_up(alone: CometBft) -> None:
    future = alone.submit_soon(put(b"a", lives_s=100))
    decide(alone, later_s=50)
    assert not future.done()
    decide(alone, later_s=100)
    with pytest.raises(Refused, match=r"ledger\.07"):
        future.result(PATIENT_S)


def test_a_block_that_comes_while_a_transaction_is_being_submitted_answers_it(
    alone: CometBft, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = put(b"a")
    check = alone.machine.check

    def and_then_a_block(tx: CheckedTx, at: int) -> None:
        check(tx, at)
        decide(alone, raw)

    monkeypatch.setattr(alone.machine, "check", and_then_a_block)
    assert alone.submit_soon(raw).result(PATIENT_S).height == 1


def test_what_became_of_a_transaction_that_was_refused_meanwhile(alone: CometBft) -> None:
    raw, other, free = put(b"a"), put(b"b"), signed(Revoke(key=b"a"))
    assert alone._look(checked(alone, raw)) is None
    decide(alone, raw)
    found = alone._look(checked(alone, raw))
    assert found is not None
    assert found.height == 1
    with pytest.raises(Refused, match=r"ledger\.10"):
        alone._look(checked(alone, other))
    assert alone._look(checked(alone, free)) is None


def test_a_listener_that_fails_stops_the_engine_but_the_block_counts(alone: CometBft) -> None:
    def fail(_: Block) -> None:
        raise ZeroDivisionError

    alone.on_block(fail)
    raw = put(b"a")
    future = alone.submit_soon(raw)
    with pytest.raises(ZeroDivisionError):
        decide(alone, raw)
    assert future.result(PATIENT_S).height == 1
    assert alone.status().height == 1


def test_who_waits_hears_why_the_application_failed(alone: CometBft) -> None:
    future = alone.submit_soon(put(b"a"))
    with pytest.raises(ZeroDivisionError) as caught:
        decide(alone, signed(Fail()))
    alone._stop(caught.value)  # as the server does
    assert isinstance(future.exception(PATIENT_S), ZeroDivisionError)
    assert alone.stopped
    assert not alone.status().running
    with pytest.raises(Unavailable, match=r"consensus\.01"):
        alone.submit_soon(put(b"b"))
    with pytest.raises(Unavailable, match=r"consensus\.01"):
        alone.wait(1, PATIENT_S)


def test_a_header_that_cometbft_cannot_give_now_is_asked_for_again(alone: CometBft) -> None:
    decide(alone)
    with pytest.raises(Unavailable, match=r"consensus\.25"):
        alone.light_block(1)
    with pytest.raises(Unavailable, match=r"consensus\.25"):
        alone.rpc.hand_over([b"x"])


def until_true(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENT_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.slow
def test_what_waited_in_a_mempool_that_is_gone_is_offered_to_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CometBFT takes a transaction and is killed before it makes a block of it."""
    monkeypatch.setattr(sending, "AGAIN_S", 10**6)
    begun = now()
    engine = CometBft(
        folder,
        Kv([MEMBER]),
        Local(cometbft(), VALIDATOR, NODE, Addresses("127.0.0.1:0"), Pace(commit_s=2, idle_s=10)),
        chain=CHAIN,
        genesis=genesis_of(begun),
        genesis_time=begun,
        validators=[Validator(VALIDATOR.public, 10)],
        clock=now,
        monotonic=time.monotonic,
    )
    try:
        engine.start()
        engine.wait(1, PATIENT_S)
        future = engine.submit_soon(put(b"a"))
        rpc = Rpc(folder / "run" / "rpc.sock")
        until_true(lambda: future.done() or json.loads(rpc._get("/num_unconfirmed_txs"))["result"]["total"] == "1")
        pid = engine.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert future.result(PATIENT_S).code == ""
        until_true(lambda: engine.process.starts == 2)
    finally:
        engine.close()


@pytest.mark.promise("P10")
@pytest.mark.slow
def test_a_clock_that_was_before_the_genesis_and_is_set_right_holds_nothing_up(folder: Path) -> None:
    """CometBFT would sleep until then, for as long as it was when it began."""
    begun, behind_s, looks = now(), [3_600], Semaphore(0)

    def clock() -> int:
        looks.release()
        return now() - behind_s[0]

    engine = comet(folder, begun=begun, clock=clock)
    try:
        engine.start()
        assert looks.acquire(timeout=PATIENT_S)
        assert looks.acquire(timeout=PATIENT_S)
        assert engine.process.starts == 0
        behind_s[0] = 0
        assert engine.wait(1, PATIENT_S) >= 1
    finally:
        engine.close(0)


@pytest.mark.promise("P5", "P10")
@pytest.mark.slow
def test_without_room_cometbft_waits_what_is_there_is_read_and_it_goes_on_when_there_is_room(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, commit = Semaphore(0), Machine.commit

    def look() -> bool:
        looks.release()
        return Machine.commit is commit

    def full(*_: object, **__: object) -> None:
        raise StorageFailed(NOT_WRITTEN)

    engine = comet(folder, begun=now())
    monkeypatch.setattr(engine, "_has_room", look)
    try:
        engine.start()
        height = engine.submit(put(b"a")).height
        with monkeypatch.context() as patched:
            patched.setattr(Machine, "commit", full)
            until_true(lambda: engine.process.pid is None)
            starts = engine.process.starts
            while looks.acquire(blocking=False):
                pass
            with pytest.raises(Unavailable, match=r"consensus\.50"):
                engine.submit_soon(put(b"b"))
            assert all(looks.acquire(timeout=PATIENT_S) for _ in range(3))
            assert engine.process.starts == starts, "it would only give up again"
            assert engine.status().running
            assert engine.block(height)
            assert engine.query(b"a").height == engine.machine.head.height
            last = engine.machine.head.height
        assert engine.wait(last + 1, PATIENT_S) > last
        assert not engine.submit(put(b"c")).code
    finally:
        engine.close(0)


@pytest.mark.promise("P5")
@pytest.mark.parametrize(
    ("error", "here", "room", "stops"),
    [
        (Unavailable(GAVE_UP), False, False, False),
        (Unavailable(GAVE_UP), False, True, True),
        (StorageFailed(NOT_WRITTEN), True, False, False),
        (StorageFailed(NOT_WRITTEN), True, True, True),
        (ZeroDivisionError(), True, False, True),
    ],
)
def test_what_is_no_want_of_room_stops_the_engine(
    alone: CometBft, monkeypatch: pytest.MonkeyPatch, error: Exception, here: bool, room: bool, stops: bool
) -> None:
    monkeypatch.setattr(alone, "_has_room", lambda: room)
    alone._went_wrong(error, here=here)
    assert alone.stopped == stops


@pytest.mark.promise("P5")
def test_a_database_that_is_not_as_it_was_after_want_of_room_stops_the_engine(
    alone: CometBft, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(alone)
    monkeypatch.setattr(alone, "_has_room", lambda: False)
    monkeypatch.setattr(alone.machine, "_head", replace(alone.machine.head, height=2))
    alone._went_wrong(StorageFailed(NOT_WRITTEN))
    assert alone.stopped


@pytest.mark.promise("P8")
@pytest.mark.slow
def test_cometbft_lets_go_of_blocks_as_the_ledger_does(folder: Path) -> None:
    """The ledger's last ones stay at both, and nothing before them."""
    retain = 6
    engine = comet(folder, Kv([MEMBER], Params(retain_blocks=retain, kept_heights=2)), begun=now())
    try:
        engine.start()
        first = engine.submit(put(b"first")).height
        while engine.machine.head.height < first + 2 * retain:
            engine.submit(put(b"%d" % engine.machine.head.height))
        until = time.monotonic() + PATIENT_S
        while oldest_block(folder) <= first and time.monotonic() < until:
            time.sleep(0.1)  # it lets go after it has heard of the commit
        head, oldest = engine.machine.head.height, oldest_block(folder)
        assert first < oldest <= engine.machine.head.height - retain + 1
        with pytest.raises(Unavailable, match=r"consensus\.25"):
            engine.light_block(first)
        with pytest.raises(BadInput, match=r"ledger\.11"):
            engine.block(first)
        assert engine.light_block(head).signed.content().height == engine.block(head).signed.own().height
    finally:
        engine.close(0)
