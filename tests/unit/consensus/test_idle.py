"""What is said of validators that had nothing to do: every number that may not be is named."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.idle import Idled, Look, judged

LOOKS = [
    Look(minutes=m, height=8 * m, age_s=14.0, not_ready={}, memory_mib=300.0, cometbft_memory_mib=40.0, disk_mib=70.0)
    for m in range(121)
]
FOUND = Idled(
    hosts="network namespaces",
    minutes=120.0,
    blocks=960,
    between_s=[8, 9, 12],
    ask_s=0.3,
    release_s=0.1,
    doctor={"payer": ""},
    heights=970,
    looks=LOOKS,
)


def test_nothing_is_said_of_what_is_as_it_has_to_be() -> None:
    assert judged(FOUND) == []


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"between_s": [8, 11, 12]}, "between blocks"),
        ({"between_s": [8, 9, 31]}, "between blocks"),
        ({"ask_s": 11.0}, "access after 11.0 s"),
        ({"release_s": 11.0}, "a release after 11.0 s"),
        ({"doctor": {"payer": "clock"}}, "doctor at payer: clock"),
    ],
)
def test_what_is_otherwise_is_named(changed: dict[str, Any], says: str) -> None:
    [said] = judged(replace(FOUND, **changed))
    assert says in said


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"not_ready": {"payer": ["fresh"]}}, "not ready after 120 min: {'payer': ['fresh']}"),
        ({"age_s": 31.0}, "a block of 31.0 s after 120 min"),
        ({"memory_mib": 391.0}, "memory_mib"),
        ({"cometbft_memory_mib": 73.0}, "cometbft_memory_mib"),
        ({"disk_mib": 70.0 + 0.05 * 480 + 33.0}, "disk_mib"),
    ],
)
def test_what_a_look_has_seen_is_named(changed: dict[str, Any], says: str) -> None:
    assert judged(replace(FOUND, looks=[*LOOKS[:-1], replace(LOOKS[-1], **changed)])) == [says]
