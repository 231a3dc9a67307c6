"""Many readers or one committer."""

from __future__ import annotations

import threading

import pytest

from caremesh.consensus.gate import ReadersGate


def test_readers_share_and_a_committer_is_alone() -> None:
    gate = ReadersGate()
    inside: list[str] = []
    both, leave, committed = threading.Barrier(3, timeout=10), threading.Event(), threading.Event()

    def read() -> None:
        with gate.shared(), gate.shared():
            both.wait()
            leave.wait(10)
            inside.append("read")

    def commit() -> None:
        with gate.exclusive(), gate.shared():  # a committer may read
            inside.append("commit")
        committed.set()

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    both.wait()  # two readers are in at once
    committer = threading.Thread(target=commit)
    committer.start()
    assert not committed.wait(0.05)
    leave.set()
    for thread in (*readers, committer):
        thread.join(10)
    assert inside == ["read", "read", "commit"]


def test_a_waiting_committer_goes_before_later_readers_but_not_before_one_inside() -> None:
    gate = ReadersGate()
    order: list[str] = []
    waiting = threading.Event()

    def commit() -> None:
        waiting.set()
        with gate.exclusive():
            order.append("commit")

    def late() -> None:
        with gate.shared():
            order.append("late")

    with gate.shared():
        committer = threading.Thread(target=commit)
        committer.start()
        waiting.wait(10)
        while not gate._waiting:
            pass
        later = threading.Thread(target=late)
        later.start()
        later.join(0.05)
        assert order == []
        with gate.shared():  # the reader that is in reads again
            order.append("inner")
    committer.join(10)
    later.join(10)
    assert order == ["inner", "commit", "late"]


def test_a_gate_opens_again_after_an_error() -> None:
    gate = ReadersGate()
    with pytest.raises(ZeroDivisionError), gate.shared():
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), gate.exclusive():
        raise ZeroDivisionError
    with gate.exclusive():
        pass
    with gate.shared():
        pass


def test_leaving_the_inner_read_does_not_leave_the_outer() -> None:
    gate = ReadersGate()
    committed = threading.Event()

    def commit() -> None:
        with gate.exclusive():
            committed.set()

    with gate.shared():
        for _ in range(2):
            with gate.shared(), gate.shared():
                pass
        committer = threading.Thread(target=commit)
        committer.start()
        assert not committed.wait(0.05)
    committer.join(10)
    assert committed.is_set()


def test_what_a_committer_reads_counts_as_no_reader() -> None:
    gate = ReadersGate()
    done: list[int] = []

    def take_turns(number: int) -> None:
        for _ in range(20):
            with gate.exclusive(), gate.shared(), gate.shared():
                done.append(number)
            with gate.shared():
                done.append(number)

    threads = [threading.Thread(target=take_turns, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(done) == sorted([0, 1, 2] * 40)
    assert (gate._readers, gate._waiting, gate._owner) == (0, 0, None)


def test_committers_go_one_after_another() -> None:
    gate = ReadersGate()
    inside, most = 0, 0

    def commit() -> None:
        nonlocal inside, most
        for _ in range(10):
            with gate.exclusive():
                inside += 1
                most = max(most, inside)
                threading.Event().wait(0.0005)
                inside -= 1

    threads = [threading.Thread(target=commit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == 1
