"""The sign of life of a part: only while its loop turns and what it is there for answers."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from caremesh.node.logs import begin
from caremesh.node.pulse import Ear, beating

LOG = begin("test", "critical")
SILENT_S = 0.4


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ear]:
    """An ear whose other end is what this process takes for its standard input."""
    made = Ear()
    monkeypatch.setattr("caremesh.node.pulse._STDIN", made.theirs.fileno())
    yield made
    made.close()


def heard(ear: Ear) -> int:
    return ear._drain()


async def heard_again(ear: Ear) -> bool:
    for _ in range(3_000):
        if heard(ear):
            return True
        await asyncio.sleep(0.01)
    return False


def test_who_works_is_heard_again_and_again(ear: Ear) -> None:
    async def work() -> str:
        for _ in range(3):
            assert await heard_again(ear)
        return "done"

    assert asyncio.run(beating(work(), SILENT_S, LOG)) == "done"


def test_who_holds_up_its_loop_is_not_heard(ear: Ear) -> None:
    async def work() -> None:
        assert await heard_again(ear)
        heard(ear)
        time.sleep(2 * SILENT_S)
        assert not heard(ear)

    asyncio.run(beating(work(), SILENT_S, LOG))


def test_whose_work_hangs_is_not_heard_although_its_loop_turns(ear: Ear) -> None:
    lock = threading.Lock()

    def well() -> bool:
        with lock:
            return True

    async def work() -> None:
        assert await heard_again(ear)
        with lock:
            await asyncio.sleep(SILENT_S / 2)  # what was on its way has come
            heard(ear)
            await asyncio.sleep(2 * SILENT_S)
            assert not heard(ear)
        assert await heard_again(ear)

    asyncio.run(beating(work(), SILENT_S, LOG, well))


@pytest.mark.parametrize("broken", [False, True])
def test_who_cannot_go_on_ends_once_and_is_not_heard_any_more(ear: Ear, *, broken: bool) -> None:
    ended: list[int] = []

    def well() -> bool:
        if broken:
            raise MemoryError
        return False

    async def work() -> None:
        for _ in range(3_000):
            if ended:
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(SILENT_S)
        assert not heard(ear)

    asyncio.run(beating(work(), SILENT_S, LOG, well, lambda: ended.append(1)))
    assert ended == [1]


def test_who_was_started_by_hand_works_without_an_ear(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    monkeypatch.setattr("caremesh.node.pulse._STDIN", descriptor)
    try:
        assert asyncio.run(beating(asyncio.sleep(0.05, "done"), SILENT_S, LOG)) == "done"
    finally:
        os.close(descriptor)


def test_a_supervisor_that_does_not_look_holds_nobody_up(ear: Ear) -> None:
    ear.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    asyncio.run(beating(asyncio.sleep(0.5), 0.001, LOG))
    assert heard(ear) > 1


def test_silence_counts_by_looks() -> None:
    ear = Ear()
    try:
        assert not ear.listen(1_000, 10, 100)  # before its first word there is more time
        assert not ear.listen(1_000, 10, 12)
        assert ear.listen(1_000, 10, 12)
        ear.theirs.send(b".")
        assert not ear.listen(1_000, 10, 12)
        assert not ear.listen(1_000, 10, 12)
        assert not ear.listen(5, 10, 12)
        assert ear.listen(0.1, 10, 12)
        ear.theirs.send(b".")
        assert not ear.listen(0.1, 10, 12)
    finally:
        ear.close()
