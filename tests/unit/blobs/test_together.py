"""Blocks that come at the same time are made durable together, and each who brings some has its own answer."""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from caremesh import codec
from caremesh.blobs.durable import STORAGE_FAILED
from caremesh.blobs.filesystem import FilesystemBlocks
from caremesh.blobs.holding import Holder
from caremesh.blobs.memory import MemoryBlocks
from caremesh.blobs.together import Together
from caremesh.codec import CID
from caremesh.errors import CareMeshError, Refused, StorageFailed
from caremesh.types import Did
from tests.support.holders import ME, OTHER, SOURCE, Copy, holder

ONE, TWO = bytes([1]) * 32, bytes([2]) * 32
WITHIN_S = 60
Blocks = Mapping[CID, bytes]


class PowerLoss(BaseException):
    """Nothing of the process runs any more."""


def block(number: int) -> dict[CID, bytes]:
    data = bytes([number]) * 1_000
    return {codec.cid_of_raw(data): data}


def at_once(together: Together[Any, Any], lock: Any, calls: Sequence[Callable[[], Any]]) -> list[threading.Thread]:
    """Threads that are all waiting for ``lock``, in this order, when it is let go of."""
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    with lock:
        for number, thread in enumerate(threads, 1):
            thread.start()
            end = time.monotonic() + WITHIN_S
            while len(together._waiting) < number and time.monotonic() < end:
                time.sleep(0.001)
        assert len(together._waiting) == len(calls)
    return threads


def outcomes(together: Together[Any, Any], lock: Any, calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each call returned or raised, when they come together."""
    found: list[Any] = [None] * len(calls)

    def keep(number: int, call: Callable[[], Any]) -> None:
        try:
            found[number] = call()
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            found[number] = error

    for thread in at_once(together, lock, [lambda n=n, call=call: keep(n, call) for n, call in enumerate(calls)]):  # type: ignore[misc]
        thread.join(WITHIN_S)
    return found


def brought(mine: Holder, puts: Sequence[tuple[Did, bytes, Blocks]]) -> list[Any]:
    """What becomes of these when they come together."""
    calls = [lambda put=put: mine.put_many(put[0], {put[1]: put[2]}) for put in puts]  # type: ignore[misc]
    return outcomes(mine._puts, mine._lock, calls)


def test_all_who_wait_are_done_in_one_go_and_each_has_its_own_result() -> None:
    lock, groups = threading.Lock(), []

    def work(numbers: Sequence[int]) -> list[int | CareMeshError]:
        groups.append(list(numbers))
        return [StorageFailed(STORAGE_FAILED, str(number)) if number % 3 == 0 else 10 * number for number in numbers]

    together: Together[int, int] = Together(lock, work)
    found = outcomes(together, lock, [lambda number=number: together.do(number) for number in range(1, 6)])  # type: ignore[misc]
    assert groups == [[1, 2, 3, 4, 5]]
    assert [found[0], found[1], found[3], found[4]] == [10, 20, 40, 50]
    assert isinstance(found[2], StorageFailed)
    assert found[2].place == "3"
    assert together.do(7) == 70
    assert groups[1:] == [[7]]


def test_what_nobody_foresaw_is_told_to_all_who_waited_and_to_nobody_else() -> None:
    lock = threading.Lock()

    def work(numbers: Sequence[int]) -> list[int | CareMeshError]:
        if 13 in numbers:
            raise PowerLoss
        return list(numbers)

    together: Together[int, int] = Together(lock, work)
    found = outcomes(together, lock, [lambda number=number: together.do(number) for number in (1, 13, 2)])  # type: ignore[misc]
    assert [type(each) for each in found] == [PowerLoss] * 3
    assert together.do(5) == 5


def test_several_members_share_one_write_and_one_sync(tmp_path: Path) -> None:
    calls: list[Mapping[bytes, Blocks]] = []

    class Counting(MemoryBlocks):
        def put_many(self, held: Mapping[bytes, Blocks]) -> None:
            calls.append(held)
            super().put_many(held)

    mine = holder(tmp_path, Copy(), store=Counting())
    [same, other, third] = map(block, (1, 2, 3))
    found = brought(mine, [(OTHER, ONE, same), (SOURCE, ONE, same), (SOURCE, TWO, same | other), (ME, ONE, third)])
    assert calls == [{ONE: same | third, TWO: same | other}]
    assert [len(added) for added in found] == [1, 0, 2, 1]  # the second one brought what the first had brought
    used = [mine.accounts.used_bytes(did) for did in (OTHER, SOURCE, ME)]
    assert used == [1_000, 2_000, 1_000]


def test_who_is_over_its_quota_is_refused_alone(tmp_path: Path) -> None:
    mine = holder(tmp_path, Copy(), quota_bytes=1_500)
    found = brought(mine, [(OTHER, ONE, block(1)), (OTHER, ONE, block(2)), (SOURCE, ONE, block(3))])
    assert isinstance(found[1], Refused)
    assert found[1].code == "blobs.05"
    assert [len(found[0]), len(found[2])] == [1, 1]
    assert [mine.store.has(cid) for number in (1, 2, 3) for cid in block(number)] == [True, False, True]
    assert [mine.accounts.used_bytes(did) for did in (OTHER, SOURCE)] == [1_000, 1_000]
    for refused in brought(mine, [(OTHER, TWO, block(4)), (OTHER, TWO, block(5))]):
        assert isinstance(refused, Refused)


@pytest.mark.promise("P5")
def test_what_the_disk_does_not_take_fails_for_who_brought_it_alone(tmp_path: Path) -> None:
    [bad] = block(2)

    class Failing(FilesystemBlocks):
        def put_many(self, held: Mapping[bytes, Blocks]) -> None:
            if any(bad in blocks for blocks in held.values()):
                raise StorageFailed(STORAGE_FAILED, bad.encode())
            super().put_many(held)

    mine = holder(tmp_path, Copy(), store=Failing(tmp_path / "blocks"))
    found = brought(mine, [(OTHER, ONE, block(1)), (SOURCE, ONE, block(2)), (OTHER, ONE, block(3))])
    assert isinstance(found[1], StorageFailed)
    assert [len(found[0]), len(found[2])] == [1, 1]
    assert [mine.accounts.used_bytes(did) for did in (OTHER, SOURCE)] == [2_000, 0]
    again = FilesystemBlocks(tmp_path / "blocks")
    for number in (1, 3):
        for cid, data in block(number).items():
            assert again.get(cid) == data
            assert again.streams_of(cid) == [ONE]
    assert not again.has(bad)


@pytest.mark.promise("P5")
def test_nobody_is_answered_before_its_own_block_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = holder(tmp_path, Copy(), store=FilesystemBlocks(tmp_path / "blocks"))
    syncing, go_on, synced, answered = threading.Event(), threading.Event(), set(), []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        syncing.set()
        assert go_on.wait(WITHIN_S)
        real(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def put(number: int) -> None:
        mine.put_many(OTHER, {ONE: block(number)})
        answered.append((number, set(synced)))

    monkeypatch.setattr(os, "fsync", fsync)
    calls = [lambda number=number: put(number) for number in range(4)]  # type: ignore[misc]
    threads = at_once(mine._puts, mine._lock, calls)
    assert syncing.wait(WITHIN_S)
    for thread in threads:
        thread.join(0.1)
        assert thread.is_alive()
    assert answered == []
    go_on.set()
    for thread in threads:
        thread.join(WITHIN_S)
    assert sorted(number for number, _ in answered) == [0, 1, 2, 3]
    for number, before in answered:
        [cid] = block(number)
        name = cid.encode()
        path = tmp_path / "blocks" / name[-2:] / name
        assert {path.stat().st_ino, path.parent.stat().st_ino} <= before


@pytest.mark.promise("P5")
def test_a_crash_at_every_step_of_a_group_loses_nothing_that_was_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for failing_call in range(1, 100):
        folder, calls = tmp_path / str(failing_call), 0
        folder.mkdir()
        mine = holder(folder, Copy(), store=FilesystemBlocks(folder / "blocks"))
        counting = threading.Lock()

        def wrap(real: Callable[..., Any], failing: int = failing_call, counting: Any = counting) -> Callable[..., Any]:
            def counted(*args: Any, **named: Any) -> Any:
                nonlocal calls
                with counting:
                    calls += 1
                    if calls >= failing:
                        raise PowerLoss
                return real(*args, **named)

            return counted

        with monkeypatch.context() as patched:
            for name in ("open", "fsync", "replace", "link", "unlink", "mkdir"):
                patched.setattr(os, name, wrap(getattr(os, name)))
            found = brought(mine, [(OTHER, ONE, block(1)), (SOURCE, TWO, block(2)), (SOURCE, ONE, block(3))])
        mine.accounts.close()
        again = FilesystemBlocks(folder / "blocks")
        accounts = holder(folder, Copy()).accounts
        for number, (stream, answer) in enumerate(zip([ONE, TWO, ONE], found, strict=True), 1):
            for cid, data in block(number).items():
                if isinstance(answer, list):
                    assert again.get(cid) == data
                    assert again.streams_of(cid) == [stream]
                    assert accounts.of((stream, cid)) is not None
        accounts.close()
        if all(isinstance(answer, list) for answer in found):
            assert failing_call > 10
            return
        assert all(isinstance(answer, PowerLoss) for answer in found)
    pytest.fail("the group was never done")
