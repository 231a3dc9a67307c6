"""A rate holds for a node, however many of its processes count."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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
rates = SharedRates(Path(sys.argv[1]), 1e-9, 100_000, 64)
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
    rates = SharedRates(file, 1e-9, 100_000, 64)
    tag, at = rates._place("a")
    assert 100_000 - 4_000 <= rates._read(at)[tag][0] < 100_000 - 4_000 + 1
    rates.close()


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
    assert again._place("192.0.2.77") != rates._place("192.0.2.77")  # each file has a key of its own
    again.close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed) as error:
        SharedRates(tmp_path / "file" / "rates", 1.0, 1, 8)
    assert error.value.code == "ledger.30"
