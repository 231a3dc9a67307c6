"""A rate holds for a node, however many of its processes count."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from caremesh.api import shared_rates
from caremesh.api.shared_rates import SharedRates
from caremesh.errors import Refused, StorageFailed


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., SharedRates]]:
    made: list[SharedRates] = []

    def make(burst: int, per_second: float = 0.001, max_callers: int = 64, clock: Clock | None = None) -> SharedRates:
        made.append(SharedRates(tmp_path / "run" / "rates", per_second, burst, max_callers, clock or Clock()))
        return made[-1]

    yield make
    for each in made:
        each.close()


def left(rates: SharedRates, caller: str = "a") -> int:
    for count in range(1_000):
        try:
            if count % 2:
                rates.take(caller)
                continue
            rates.check(caller)
        except Refused:
            return count
        rates.count(caller)
    raise AssertionError("no limit")


def test_rates_come_back_with_time_and_no_further_than_the_burst(opened: Callable[..., SharedRates]) -> None:
    clock = Clock()
    rates = opened(4, 2.0, clock=clock)
    assert left(rates) == 4
    assert left(rates, "b") == 4
    clock.now += 1
    assert left(rates) == 2
    clock.now += 1_000
    assert left(rates) == 4


def test_what_one_counts_the_other_knows(opened: Callable[..., SharedRates]) -> None:
    one, other = opened(6), opened(6)
    for rates in (one, other, one, other):
        rates.count("a")
    assert left(other) == 2
    assert left(one) == 0
    assert left(one, "b") == 6


COUNTS = """
import sys
from pathlib import Path
from caremesh.api.shared_rates import SharedRates
rates = SharedRates(Path(sys.argv[1]), 1e-9, 5_000, 64)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(2_000):
    rates.count("a")
print("counted", flush=True)
"""


@pytest.mark.slow
def test_nothing_is_lost_when_two_processes_count_at_once(tmp_path: Path) -> None:
    file = tmp_path / "rates"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", COUNTS, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert [process.communicate(timeout=60)[0] for process in started] == ["counted\n"] * 2
    finally:
        for process in started:
            process.kill()
            process.communicate()
    rates = SharedRates(file, 1e-9, 5_000, 64)
    assert left_of(rates, "a", 5_000 - 4_000)
    rates.close()


def left_of(rates: SharedRates, caller: str, count: int) -> bool:
    """Whether exactly so many are left."""
    for _ in range(count):
        rates.take(caller)
    with pytest.raises(Refused):
        rates.take(caller)
    return True


def test_who_counts_has_the_lock_from_reading_to_writing(
    opened: Callable[..., SharedRates], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = opened(3)
    other = os.open(tmp_path / "run" / "rates", os.O_RDWR)
    locked: list[str] = []

    def look(name: str) -> Callable[..., Any]:
        whole = getattr(os, name)

        def call(*given: Any) -> Any:
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked.append(name)
            return whole(*given)

        return call

    for name in ("pread", "pwrite"):
        monkeypatch.setattr(shared_rates.os, name, look(name))
    try:
        rates.count("a")
        rates.check("a")
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # and lets go of it
    finally:
        os.close(other)
    assert locked == ["pread", "pwrite", "pread"]


def test_who_was_not_heard_of_for_the_longest_time_is_forgotten_first(opened: Callable[..., SharedRates]) -> None:
    clock = Clock()
    rates = opened(1, max_callers=8, clock=clock)  # one set
    for name in "abcdefghi":
        clock.now += 1
        rates.count(name)
    rates.check("a")
    for name in "bcdefghi":
        with pytest.raises(Refused):
            rates.check(name)


def test_what_was_written_before_the_machine_started_anew_does_not_count(opened: Callable[..., SharedRates]) -> None:
    clock = Clock()
    rates = opened(2, clock=clock)
    assert left(rates) == 2
    clock.now = 5.0
    assert left(rates) == 2


@pytest.mark.promise("P1")
def test_no_name_stands_in_the_file(opened: Callable[..., SharedRates], tmp_path: Path) -> None:
    rates, other = opened(3), tmp_path / "other"
    rates.count("192.0.2.77")
    said = (tmp_path / "run" / "rates").read_bytes()
    assert b"192.0.2.77" not in said
    again = SharedRates(other, 1.0, 3, 64)
    again.count("192.0.2.77")
    again.close()
    assert set(rows(said)).isdisjoint(rows(other.read_bytes()))  # each file has a key of its own


def rows(file: bytes) -> list[bytes]:
    """The names in a file: of rows that are not empty, the first eight bytes."""
    parts = [file[at : at + 24] for at in range(16, len(file), 24)]
    return [part[:8] for part in parts if part != bytes(24)]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed) as error:
        SharedRates(tmp_path / "file" / "rates", 1.0, 1, 8)
    assert error.value.code == "ledger.30"


def test_several_requests_in_one_count_for_as_many(opened: Callable[..., SharedRates]) -> None:
    rates = opened(10)
    rates.take("a", 7)
    with pytest.raises(Refused) as caught:
        rates.take("a", 4)
    assert caught.value.code == "api.13"
    rates.take("a", 3)
    assert left(rates) == 0
    rates.take("b", 11)
    assert left(rates, "b") == 0, "more than the burst: when nothing of it was used"
