"""Faults over real processes, each node on a host of its own: nothing acknowledged is lost, and work goes on.

Which kind of host it is on this machine (``testing/hosts.py``) stands in the evidence of each test, and in its summary.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.conftest import Evidence
from tests.support.apart import Apart, apart
from tests.support.killing import Work, kill_at_random

KILLS = 20
KILLS_AT_LENGTH = 500


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    with apart(tmp_path_factory.mktemp("f") / "n") as made:
        yield made


def killing(world: Apart, seed: int, times: int, evidence: Evidence) -> None:
    evidence.seed(seed)
    evidence.say(f"hosts are {world.hosts.kind}")
    dice = random.Random(seed)  # noqa: S311 - it chooses what is done, and what dies
    world.wait_ready()
    work = Work(world, random.Random(seed + 1))  # noqa: S311 - see above
    work.round()
    with work:
        for part, count in sorted(kill_at_random(world, dice, times).items()):
            evidence.fault(f"kill -9 of a process ({part})", count)
    world.wait_ready()
    work.round()
    work.check()
    world.one_history()
    for code, count in sorted(work.failed.items()):
        evidence.fault(f"work that was not acknowledged ({code})", count)


@pytest.mark.slow
@pytest.mark.promise("P5", "P10")
def test_twenty_processes_are_killed_and_nothing_acknowledged_is_lost(world: Apart, evidence: Evidence) -> None:
    killing(world, 0, KILLS, evidence)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.promise("P5", "P10")
def test_five_hundred_processes_are_killed_and_nothing_acknowledged_is_lost(world: Apart, evidence: Evidence) -> None:
    killing(world, 1, KILLS_AT_LENGTH, evidence)
