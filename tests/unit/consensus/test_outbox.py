"""The outbox: nothing of one subject alone, nothing in the order of coming, nothing for longer than the limit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from itertools import pairwise
from pathlib import Path

import pytest

from caremesh.consensus import outbox as module
from caremesh.consensus.embedded import Embedded
from caremesh.consensus.interface import Committed
from caremesh.consensus.outbox import Batching, Outbox
from caremesh.errors import BadInput, Unavailable
from tests.support.kv import Clock, Put, engine, transaction

SUBJECTS = 8


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Embedded]:
    engine_ = engine(tmp_path, clock=Clock())
    yield engine_
    engine_.close()


def put(subject: int, number: int) -> bytes:
    return transaction(Put(key=b"%d.%d" % (subject, number), value=b"1"))


def rules(min_subjects: int, wait_s: int) -> Callable[[], Batching]:
    return lambda: Batching(min_subjects, wait_s)


def order(made: Embedded, height: int) -> list[str]:
    return [event.attributes["key"].decode() for event in made.machine.results(height).events]


@pytest.mark.promise("P1")
def test_a_batch_waits_for_company_and_leaves_shuffled(made: Embedded) -> None:
    box = Outbox(made.submit_many, rules(SUBJECTS, 3_600))
    futures: list[Future[Committed]] = []
    for subject in range(SUBJECTS):
        assert made.status().height == 0, "sent before there was company"
        futures += box.put(b"%d" % subject, [put(subject, number) for number in range(10)])
    assert [future.result().code for future in futures] == [""] * (10 * SUBJECTS)
    sent = order(made, 1)
    came = [f"{subject}.{number}" for subject in range(SUBJECTS) for number in range(10)]
    assert sorted(sent) == sorted(came)
    neighbours = sum(one[0] == two[0] for one, two in pairwise(sent))
    assert neighbours < 40, "of 79 pairs of neighbours 72 are of one subject unshuffled, 9 when shuffled"
    assert made.status().height == 1
    box.close()


@pytest.mark.promise("P1")
def test_many_transactions_of_one_subject_are_not_company(made: Embedded) -> None:
    box = Outbox(made.submit_many, rules(2, 3_600))
    box.put(b"one", [put(1, number) for number in range(50)])
    box.put(b"one", [put(1, number) for number in range(50, 100)])
    assert made.status().height == 0
    box.close()
    assert len(order(made, 1)) == 100, "what waits is sent when the outbox closes"


@pytest.mark.promise("P10")
def test_nobody_waits_longer_than_the_limit(made: Embedded) -> None:
    made.start()
    box = Outbox(made.submit_many, rules(SUBJECTS, 1))
    first = box.put(b"one", [put(1, 1)])
    second = box.put(b"two", [put(2, 1)])
    done = [future.result(timeout=30) for future in [*first, *second]]
    assert [committed.code for committed in done] == ["", ""]
    third = box.put(b"one", [put(1, 2)])
    assert third[0].result(timeout=30).height > done[0].height
    box.close()


def test_with_no_time_to_wait_everything_goes_at_once(made: Embedded) -> None:
    box = Outbox(made.submit_many, rules(SUBJECTS, 0))
    assert [future.result().height for future in box.put(b"one", [put(1, 1), put(1, 2)])] == [1, 1]
    box.close()


def test_each_is_answered_for_itself(made: Embedded) -> None:
    box = Outbox(made.submit_many, rules(1, 60))
    good, bad = box.put(b"one", [put(1, 1), b"nonsense"])
    assert good.result().code == ""
    with pytest.raises(BadInput, match="codec"):
        bad.result()
    box.close()


def test_when_the_engine_takes_nothing_every_one_is_told() -> None:
    def broken(_: Sequence[bytes]) -> list[Future[Committed]]:
        raise Unavailable(module.STOPPED)

    box = Outbox(broken, rules(SUBJECTS, 1))
    futures = box.put(b"one", [put(1, 1), put(1, 2)])
    wait_for(futures, timeout=30)
    assert [type(future.exception()) for future in futures] == [Unavailable, Unavailable]
    again = box.put(b"one", [put(1, 3)])
    assert isinstance(again[0].exception(timeout=30), Unavailable), "the thread goes on after a failure"
    box.close()


def test_closed_or_full_it_takes_nothing(made: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    box = Outbox(made.submit_many, rules(SUBJECTS, 3_600))
    box.put(b"one", [put(1, 1), put(1, 2)])
    with pytest.raises(Unavailable, match=r"consensus\.04"):
        box.put(b"two", [put(2, 1), put(2, 2)])
    box.close()
    assert sorted(order(made, 1)) == ["1.1", "1.2"]
    with pytest.raises(Unavailable, match=r"consensus\.01"):
        box.put(b"two", [put(2, 1)])
    assert not [thread for thread in threading.enumerate() if thread.name == "outbox"]


def test_many_threads_put_and_nothing_is_lost(made: Embedded) -> None:
    made.start()
    box = Outbox(made.submit_many, rules(4, 1))

    def work(subject: int) -> list[Committed]:
        futures = [future for number in range(20) for future in box.put(b"%d" % subject, [put(subject, number)])]
        return [future.result(timeout=60) for future in futures]

    with ThreadPoolExecutor(SUBJECTS) as pool:
        done = [committed for part in pool.map(work, range(SUBJECTS)) for committed in part]
    assert len({committed.tx for committed in done}) == 20 * SUBJECTS
    assert {committed.code for committed in done} == {""}
    box.close()
