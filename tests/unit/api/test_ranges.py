"""Byte ranges and conditions: what they say of a body, against a slow reading of the rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from caremesh.api.ranges import NOTHING, Part, is_known, wanted

TAG = '"tag"'


def slowly(first: int | None, last: int | None, size: int) -> Part | None:
    """RFC 9110, section 14.1.2, byte by byte."""
    if first is None:
        assert last is not None
        there = list(range(max(size - last, 0), size))
    elif last is not None and last < first:
        return None
    else:
        there = [place for place in range(size) if place >= first and (last is None or place <= last)]
    return Part(there[0], there[-1] + 1) if there else NOTHING


@given(
    some.tuples(some.none() | some.integers(0, 30), some.none() | some.integers(0, 30)).filter(
        lambda r: r != (None, None)
    ),
    some.integers(0, 25),
)
def test_a_range_is_what_the_rules_say(row: tuple[int | None, int | None], size: int) -> None:
    first, last = row
    text = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    assert wanted({"range": text}, TAG, size) == slowly(first, last, size)


@given(some.text(max_size=30))
def test_what_is_no_range_counts_as_none(text: str) -> None:
    found = wanted({"range": text}, TAG, 10)
    assert found is None or text.startswith("bytes=")


@pytest.mark.parametrize(
    "text", ["", "bytes=-", "bytes=0-1,4-5", "lines=0-1", "bytes=1-0", "bytes=a-b", "0-1", "bytes=٣-٤"]
)
def test_everything_is_sent_for_these(text: str) -> None:
    assert wanted({"range": text}, TAG, 10) is None


def test_a_range_counts_only_for_the_version_that_it_was_meant_for() -> None:
    assert wanted({"range": "bytes=0-1", "if-range": TAG}, TAG, 10) == Part(0, 2)
    assert wanted({"range": "bytes=0-1", "if-range": '"other"'}, TAG, 10) is None
    assert wanted({"range": "bytes=0-1", "if-range": 'W/"tag"'}, TAG, 10) is None


def test_conditions_compare_weakly() -> None:
    for text in (TAG, 'W/"tag"', '"a", "tag"', "*", ' "tag" '):
        assert is_known({"if-none-match": text}, TAG)
        assert is_known({"if-none-match": text}, f"W/{TAG}")
    for text in ("", '"a"', "tag"):
        assert not is_known({"if-none-match": text}, TAG)
    assert not is_known({}, TAG)
