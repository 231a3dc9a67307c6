"""A custodian that is a moment behind is asked again; one that refuses for another reason, or for too long, is not."""

from __future__ import annotations

from typing import Any

import pytest

from caremesh.custodian import errors
from caremesh.errors import CareMeshError, ErrorCode, Refused
from caremesh.node.lagging import WITHIN_S, Lagging


class Behind:
    """Refuses so many times, then releases."""

    def __init__(self, times: int, error: ErrorCode = errors.NO_RECEIPT) -> None:
        self.left = times
        self.error = error
        self.asked: list[bytes] = []

    def release(self, data: bytes) -> list[bytes]:
        self.asked.append(data)
        self.left -= 1
        if self.left >= 0:
            raise Refused(self.error)
        return [b"released"]

    def __getattr__(self, name: str) -> Any:
        return lambda *given: (name, *given)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def lagging(way: Behind) -> tuple[Lagging, Clock]:
    clock = Clock()
    return Lagging(way, lambda: clock.now, clock.sleep), clock  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [errors.NO_RECEIPT, errors.SEGMENT_UNKNOWN])
def test_what_it_does_not_know_yet_it_is_asked_again(error: ErrorCode) -> None:
    way = Behind(3, error)
    asked, clock = lagging(way)
    assert asked.release(b"request") == [b"released"]
    assert way.asked == [b"request"] * 4
    assert clock.pauses == [0.02, 0.04, 0.08]


def test_it_is_not_asked_for_longer_than_a_block_takes_to_come() -> None:
    way = Behind(10**6)
    asked, clock = lagging(way)
    with pytest.raises(Refused) as refused:
        asked.release(b"request")
    assert refused.value.code == "custodian.03"
    assert WITHIN_S / 2 < clock.now <= WITHIN_S


@pytest.mark.parametrize("error", [errors.CONSENT_NOT_ACTIVE, errors.STALE, errors.REPLAYED, errors.OUT_OF_SCOPE])
def test_any_other_refusal_stands(error: ErrorCode) -> None:
    way = Behind(1, error)
    asked, clock = lagging(way)
    with pytest.raises(Refused) as refused:
        asked.release(b"request")
    assert (refused.value.code, len(way.asked), clock.pauses) == (error.code, 1, [])


@pytest.mark.parametrize("name", ["deposit_fragment", "deposit_seal", "deposit_seals", "deposit_reseal", "seals"])
def test_everything_else_is_passed_on(name: str) -> None:
    asked, _ = lagging(Behind(0))
    assert getattr(asked, name)(b"given") == (name, b"given")
    assert asked.stream_log(b"given") == ("stream_log", b"given")


class EachBehind:
    """Does not know some requests yet, each so many times; another it refuses for good."""

    def __init__(self, left: dict[bytes, int]) -> None:
        self.left = left
        self.asked: list[list[bytes]] = []

    def release_each(self, data: list[bytes]) -> list[list[bytes] | CareMeshError]:
        self.asked.append(list(data))
        return [self._one(each) for each in data]

    def _one(self, data: bytes) -> list[bytes] | CareMeshError:
        if data == b"never":
            return Refused(errors.CONSENT_NOT_ACTIVE)
        self.left[data] -= 1
        return Refused(errors.NO_RECEIPT) if self.left[data] >= 0 else [data]


def test_of_several_only_what_it_does_not_know_yet_is_asked_again() -> None:
    way, clock = EachBehind({b"a": 0, b"b": 2, b"c": 1}), Clock()
    found = Lagging(way, lambda: clock.now, clock.sleep).release_each([b"a", b"b", b"never", b"c"])  # type: ignore[arg-type]
    assert [getattr(each, "code", each) for each in found] == [[b"a"], [b"b"], "custodian.05", [b"c"]]
    assert way.asked == [[b"a", b"b", b"never", b"c"], [b"b", b"c"], [b"b"]]


def test_several_are_not_asked_for_longer_than_a_block_takes_to_come() -> None:
    way, clock = EachBehind({b"a": 0, b"b": 10**6}), Clock()
    found = Lagging(way, lambda: clock.now, clock.sleep).release_each([b"a", b"b"])  # type: ignore[arg-type]
    assert [getattr(each, "code", each) for each in found] == [[b"a"], "custodian.03"]
    assert clock.now <= WITHIN_S
