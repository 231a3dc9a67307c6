"""On the way into a block: handed over until a block holds it, told why when none can, never forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from caremesh.consensus.cometbft import sending
from caremesh.consensus.cometbft.rpc import NO_ANSWER
from caremesh.consensus.cometbft.sending import Sender
from caremesh.consensus.interface import STOPPED, Committed
from caremesh.errors import Refused, Unavailable
from caremesh.ledger.admission import EXPIRED, QUOTA_USED_UP
from caremesh.ledger.application import Result
from caremesh.ledger.transactions import CheckedTx, TransactionCodec
from tests.support.comet_engine import PATIENT_S
from tests.support.kv import START_S, Kv, Put, transaction

CODEC = TransactionCodec(Kv.messages)


def checked(number: int, ahead: int = 300) -> CheckedTx:
    return CODEC.decode(transaction(Put(key=b"%d" % number, value=b"1"), expires_at=START_S + ahead))


def done(tx: CheckedTx) -> Committed:
    return Committed(bytes(tx.id), 5, Result(), [])


class Mempool:
    """What was handed over, and who waits for it; away when told to be."""

    def __init__(self) -> None:
        self.taken: list[list[bytes]] = []
        self.away = False
        self.asked = 0
        self.changed = threading.Condition()
        self.look: Callable[[CheckedTx], Committed | None] = lambda _: None
        self.now = 0.0
        self.sender = Sender(self._take, self._look, lambda: self.now, most=3)

    def _look(self, tx: CheckedTx) -> Committed | None:
        return self.look(tx)

    def _take(self, raws: Sequence[bytes]) -> None:
        with self.changed:
            self.asked += 1
            self.changed.notify_all()
            if self.away:
                raise Unavailable(NO_ANSWER)
            self.taken.append(list(raws))

    def until(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, PATIENT_S)


@pytest.fixture
def mempool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mempool]:
    monkeypatch.setattr(sending, "AGAIN_S", 0.05)
    made = Mempool()
    yield made
    made.sender.close(Unavailable(STOPPED))


def test_what_is_added_is_handed_over_and_answered(mempool: Mempool) -> None:
    mempool.sender.start()
    tx = checked(1)
    future = mempool.sender.add(tx)
    assert mempool.sender.add(tx) is future
    mempool.until(lambda: [tx.signed] in mempool.taken)
    mempool.sender.answer(done(checked(2)))
    assert not future.done()
    mempool.sender.answer(done(tx))
    assert future.result(PATIENT_S) == done(tx)
    assert mempool.sender.add(tx) is not future


def test_all_that_waits_goes_together(mempool: Mempool, monkeypatch: pytest.MonkeyPatch) -> None:
    txs = [checked(number) for number in range(3)]
    for tx in txs:
        mempool.sender.add(tx)
    monkeypatch.setattr(sending, "BATCH", 2)
    mempool.sender.start()
    mempool.until(lambda: len(mempool.taken) >= 2)
    assert mempool.taken[:2] == [[txs[0].signed, txs[1].signed], [txs[2].signed]]


def test_a_batch_has_a_size(mempool: Mempool, monkeypatch: pytest.MonkeyPatch) -> None:
    txs = [checked(number) for number in range(3)]
    for tx in txs:
        mempool.sender.add(tx)
    monkeypatch.setattr(sending, "BATCH_BYTES", len(txs[0].signed) + 1)
    mempool.sender.start()
    mempool.until(lambda: len(mempool.taken) >= 2)
    assert [len(batch) for batch in mempool.taken[:2]] == [2, 1]


def test_while_nobody_answers_it_is_kept_in_its_order(mempool: Mempool) -> None:
    mempool.away = True
    mempool.sender.start()
    first = checked(1)
    mempool.sender.add(first)
    mempool.until(lambda: mempool.asked >= 1)
    second = checked(2)
    mempool.sender.add(second)
    mempool.until(lambda: mempool.asked >= 3)
    mempool.away = False
    mempool.until(lambda: bool(mempool.taken))
    assert mempool.taken[0] == [first.signed, second.signed]


def test_what_waits_is_handed_over_again_when_time_has_passed(mempool: Mempool) -> None:
    tx = checked(1)
    mempool.sender.add(tx)
    mempool.sender.start()
    mempool.until(lambda: len(mempool.taken) == 1)
    mempool.now = 1.0
    mempool.until(lambda: mempool.taken == [[tx.signed], [tx.signed]])


def test_what_waits_is_handed_over_again_after_a_start_of_cometbft(mempool: Mempool) -> None:
    tx = checked(1)
    mempool.sender.add(tx)
    mempool.sender.start()
    mempool.until(lambda: len(mempool.taken) == 1)
    mempool.sender.again()
    mempool.until(lambda: mempool.taken == [[tx.signed], [tx.signed]])


def test_what_is_refused_by_now_is_told_so_and_what_a_block_has_is_answered(mempool: Mempool) -> None:
    gone, held = checked(1), checked(2)

    def look(tx: CheckedTx) -> Committed | None:
        if tx.id == gone.id:
            raise Refused(QUOTA_USED_UP)
        return done(tx)

    mempool.look = look
    futures = [mempool.sender.add(gone), mempool.sender.add(held)]
    mempool.now = 1.0
    mempool.sender.start()
    mempool.now = 2.0
    assert isinstance(futures[0].exception(PATIENT_S), Refused)
    assert futures[1].result(PATIENT_S) == done(held)


def test_nothing_waits_for_longer_than_a_block_could_hold_it(mempool: Mempool) -> None:
    short, long = checked(1, ahead=10), checked(2, ahead=11)
    futures = [mempool.sender.add(short), mempool.sender.add(long)]
    mempool.sender.expire(START_S + 10)
    assert not futures[0].done()
    mempool.sender.expire(START_S + 11)
    error = futures[0].exception(PATIENT_S)
    assert isinstance(error, Refused)
    assert error.error is EXPIRED
    assert not futures[1].done()


def test_only_so_many_wait(mempool: Mempool) -> None:
    txs = [checked(number) for number in range(4)]
    for tx in txs[:3]:
        mempool.sender.add(tx)
    with pytest.raises(Unavailable, match=r"consensus\.04"):
        mempool.sender.add(txs[3])
    mempool.sender.answer(done(txs[0]))
    mempool.sender.add(txs[3])


def test_closing_tells_all_who_wait(mempool: Mempool) -> None:
    mempool.sender.start()
    future = mempool.sender.add(checked(1))
    mempool.sender.finish(0.01)
    mempool.sender.close(Unavailable(STOPPED))
    assert isinstance(future.exception(PATIENT_S), Unavailable)
    with pytest.raises(Unavailable, match=r"consensus\.01"):
        mempool.sender.add(checked(2))


def test_finishing_waits_until_nothing_waits(mempool: Mempool) -> None:
    tx = checked(1)
    mempool.sender.add(tx)
    finished = threading.Event()
    waiter = threading.Thread(target=lambda: (mempool.sender.finish(PATIENT_S), finished.set()))
    waiter.start()
    assert not finished.wait(0.05)
    mempool.sender.answer(done(tx))
    waiter.join(PATIENT_S)
    assert finished.is_set()
