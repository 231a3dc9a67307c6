"""The embedded engine at its limits: what fills a block, who is turned away, what a stop means."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from caremesh import codec
from caremesh.consensus import embedded
from caremesh.consensus.embedded import Embedded
from caremesh.consensus.interface import FULL, STOPPED
from caremesh.errors import Refused, Unavailable
from caremesh.ledger.application import Params
from caremesh.ledger.blocks import HEADER_DOMAIN, Block, Validator
from tests.support.kv import CHAIN, MEMBER, NODE, START_S, Clock, Fail, Kv, Put, engine, transaction


def put(number: int) -> bytes:
    return transaction(Put(key=b"%d" % number, value=b"1"), salt=b"%08d" % number)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def made(tmp_path: Path, clock: Clock) -> Iterator[Embedded]:
    engine_ = engine(tmp_path, clock=clock)
    yield engine_
    engine_.close()


def heights(made: Embedded) -> list[int]:
    """How many transactions each block holds."""
    return [len(block.txs) for block in made.blocks(1)]


def test_a_header_says_all_that_the_block_commits_to(made: Embedded, clock: Clock) -> None:
    clock.now += 5
    done = made.submit(put(1))
    block = made.block(1)
    header = block.signed.content()
    assert made.validators == [Validator(NODE.public, 1)]
    assert (header.chain, header.height, header.time, header.previous) == (CHAIN, 1, START_S + 5, bytes(32))
    assert header.app_hash == made.machine.head.app_hash
    assert header.validators == header.next_validators
    assert [entry.key for entry in block.signed.signatures] == [NODE.public]
    assert block.signed.signatures[0].signature == NODE.sign(HEADER_DOMAIN + codec.encode(header))
    assert block.txs == [put(1)]
    assert done.height == 1
    assert made.light_block().validators == made.validators
    assert made.light_block(1) == made.light_block()


def test_asking_for_a_header_makes_the_first_block_only(made: Embedded) -> None:
    assert made.header().height == 1
    assert made.header().height == 1
    assert made.status().height == 1
    assert made.seen_s() == 0.0


@pytest.mark.parametrize(("limit", "blocks"), [(0, [3]), (1, [2, 1]), (2, [1, 1, 1])])
def test_a_block_is_filled_to_the_last_byte(tmp_path: Path, limit: int, blocks: list[int]) -> None:
    """Three transactions of one length fit exactly; with a byte less two do, and one always does."""
    size = len(put(1))
    allowed = {0: 3 * size, 1: 3 * size - 1, 2: 2 * size - 1}[limit]
    made = engine(tmp_path, Kv([MEMBER], Params(max_block_bytes=allowed)))
    for future in made.submit_many([put(number) for number in range(3)]):
        future.result()
    assert heights(made) == blocks
    made.close()


def test_a_block_holds_so_many_transactions(tmp_path: Path) -> None:
    made = engine(tmp_path, max_block_txs=2)
    made.submit_many([put(number) for number in range(4)])
    assert heights(made) == [2, 2]
    made.close()


def test_so_many_may_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "MAX_WAITING", 2)
    made = engine(tmp_path)
    futures = made.submit_many([put(number) for number in range(3)])
    error = futures[2].exception()
    assert isinstance(error, Unavailable)
    assert error.error is FULL
    assert made.submit(put(2)).height == 2
    made.close()


def test_each_gets_its_own_events(made: Embedded) -> None:
    futures = made.submit_many([put(1), put(2)])
    for number, future in enumerate(futures, 1):
        done = future.result()
        assert [event.attributes["key"] for event in done.events] == [b"%d" % number]
        assert made.outcome(done.tx) == done


def test_what_was_answered_may_not_come_again(made: Embedded) -> None:
    made.submit(put(1))
    assert made._pending == {}
    with pytest.raises(Refused, match=r"ledger\.09"):
        made.submit_soon(put(1))


def test_a_block_waits_for_company_and_no_longer_than_it_is_full(tmp_path: Path) -> None:
    made = engine(tmp_path, block_wait_s=30, max_interval_s=60, max_block_txs=3)
    made.start()
    first = made.submit_soon(put(0))
    threading.Event().wait(0.05)  # by now the maker of blocks waits for company
    assert not first.done()
    futures = [first, *(made.submit_soon(put(number)) for number in (1, 2))]
    assert [future.result(20).height for future in futures] == [1, 1, 1]
    assert heights(made) == [3]
    made.close()


def test_closing_waits_for_no_company(tmp_path: Path) -> None:
    made = engine(tmp_path, block_wait_s=30, max_interval_s=60, max_block_txs=3)
    made.start()
    waiting = made.submit_soon(put(9))
    threading.Event().wait(0.05)
    closer = threading.Thread(target=made.close)
    closer.start()
    closer.join(20)
    assert waiting.result(0).height == 1


def test_company_is_waited_for_only_when_asked(made: Embedded) -> None:
    assert made._block_wait_s == 0


def test_many_are_checked_by_the_pool(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        made = engine(tmp_path, pool=pool)
        made.submit_many([put(number) for number in range(130)])
        assert pool._threads
        assert sum(heights(made)) == 130
        made.close()


def test_a_block_that_nobody_joins_is_made_after_its_wait(tmp_path: Path) -> None:
    made = engine(tmp_path, block_wait_s=0.05, max_interval_s=60)
    made.start()
    assert made.submit_soon(put(1)).result(20).height == 1
    made.close()


def test_waiters_hear_of_a_block_at_once(tmp_path: Path) -> None:
    made = engine(tmp_path, max_interval_s=60)
    made.start()
    assert not made.wait(0, 0)
    heard: list[int] = []
    waiter = threading.Thread(target=lambda: heard.append(made.wait(1, 30)))
    waiter.start()
    made.submit(put(1))
    waiter.join(20)
    assert heard == [1]
    made.submit(put(2))
    assert made.wait(1, 0) == 2
    made.close()


def test_waiters_hear_of_the_end_at_once(tmp_path: Path) -> None:
    made = engine(tmp_path, max_interval_s=60)
    made.start()
    problems: list[BaseException] = []

    def wait() -> None:
        try:
            made.wait(9, 30)
        except Unavailable as error:
            problems.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    made.close()
    waiter.join(20)
    assert [error.error for error in problems if isinstance(error, Unavailable)] == [STOPPED]


def test_a_started_engine_that_fails_says_why_to_whoever_comes_later(tmp_path: Path) -> None:
    made = engine(tmp_path, max_interval_s=60)
    made.start()
    assert isinstance(made.submit_soon(transaction(Fail())).exception(20), ZeroDivisionError)
    for ask in (lambda: made.submit_soon(put(1)), made.make_block, lambda: made.wait(1, 0)):
        with pytest.raises(Unavailable, match=r"consensus\.01"):
            ask()
    with pytest.raises(Unavailable) as caught:
        made.submit_soon(put(1))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert not made.status().running
    made.close()


def test_what_waits_when_a_listener_fails_is_told(tmp_path: Path) -> None:
    made = engine(tmp_path, max_block_txs=1)

    def fail(_: Block) -> None:
        raise ZeroDivisionError

    made.on_block(fail)
    with pytest.raises(ZeroDivisionError):
        made.submit_many([put(1), put(2)])
    assert made.outcome(made.machine.results(1).txs[0]) is not None
    assert len(made._pending) == 1
    (waiting,) = made._pending.values()
    made.close()
    assert isinstance(waiting.exception(1), Unavailable)


def test_the_thread_is_named_and_does_not_keep_the_process_alive(tmp_path: Path) -> None:
    made = engine(tmp_path, max_interval_s=60)
    assert made._thread is None
    made.start()
    assert made._thread is not None
    assert (made._thread.name, made._thread.daemon) == ("ledger", True)
    made.close()
    assert made._thread is None
    made.close()  # a second time there is nothing to do


def test_block_time_is_the_clocks_but_never_goes_back(made: Embedded, clock: Clock) -> None:
    clock.now += 10
    made.submit(put(1))
    clock.now -= 5
    made.submit(put(2))
    clock.now += 6
    made.submit(put(3))
    assert [block.signed.content().time for block in made.blocks(1)] == [START_S + 10, START_S + 10, START_S + 11]


def test_submission_is_judged_by_block_time(made: Embedded, clock: Clock) -> None:
    """When the clock has gone back, what has expired by block time is refused at once."""
    clock.now += 100
    made.submit(put(1))
    clock.now -= 100
    late = transaction(Put(key=b"a", value=b"1"), expires_at=START_S + 99)
    with pytest.raises(Refused, match=r"ledger\.07"):
        made.submit(late)
    assert made.status().height == 1
