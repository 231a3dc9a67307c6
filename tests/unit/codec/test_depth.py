"""Depth is judged before decoding, whatever else is wrong with the bytes: by hand, head by head."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caremesh import codec
from caremesh.codec import MAX_DEPTH
from caremesh.errors import BadInput

ARRAY, MAP, TAG = 4, 5, 6
DEEPER = b"\x81"
"""The head of an array of one."""


def head(major: int, argument: int, width: int = 0) -> bytes:
    """The head of an item, its argument in ``width`` bytes (0: in the head itself)."""
    if not width:
        return bytes([major << 5 | argument])
    return bytes([major << 5 | {1: 24, 2: 25, 4: 26, 8: 27}[width]]) + argument.to_bytes(width, "big")


def code_of(data: bytes) -> str:
    """The code that decoding these bytes ends with, empty when they are a value."""
    try:
        codec.decode(data)
    except BadInput as error:
        return error.code
    return ""


def too_deep(data: bytes) -> bool:
    return code_of(data) == "codec.02"


NEST = DEEPER * MAX_DEPTH
"""As deep as it may be, but for what it holds."""
FITTING = DEEPER * (MAX_DEPTH - 1)
"""As deep as it may be inside of one array."""


@pytest.mark.parametrize("end", [b"\x00", b"\x80", b"\xa0", b"\xf6", b"\x40", b"\x61a"])
def test_sixteen_levels_pass_and_seventeen_do_not(end: bytes) -> None:
    assert code_of(NEST + end) == ""
    assert too_deep(NEST + DEEPER + end)
    assert too_deep(NEST + b"\xa1\x61a" + end)


def test_maps_and_tags_are_levels_too() -> None:
    assert code_of(b"\xa1\x61a" * MAX_DEPTH + b"\x00") == ""
    assert too_deep(b"\xa1\x61a" * (MAX_DEPTH + 1) + b"\x00")
    for tag in (b"\xd8\x2a", b"\xc0"):
        assert code_of(tag * MAX_DEPTH + b"\x00") == "codec.01"
        assert too_deep(tag * (MAX_DEPTH + 1) + b"\x00")


CLOSED = [
    *(head(major, 5) for major in (0, 1)),
    *(head(0, int.from_bytes(DEEPER * width), width) for width in (1, 2, 4, 8)),
    *(head(1, int.from_bytes(DEEPER * width), width) for width in (1, 2, 4, 8)),
    *(head(major, len(text), width) + text for major, (text, width) in product((2, 3), [(DEEPER * 20, 0)])),
    *(head(major, 40, width) + DEEPER * 40 for major, width in product((2, 3), (1, 2, 4, 8))),
    head(2, 300, 2) + DEEPER * 300,
    head(2, 70_000, 4) + DEEPER * 70_000,
    b"\x80",
    b"\xa0",
    b"\x82\x00\x00",
    b"\x83\x81\x80\x05\x81\x81\x00",
    b"\xa1\x61a\x05",
    b"\xa2\x61a\x61b\x61c\x81\x00",
    b"\xd8\x2a\x41\x00",
    b"\xc0\x00",
    b"\xf4",
    b"\xf5",
    b"\xf6",
    b"\xf8\x81",
    b"\xf9\x81\x81",
    b"\xfa\x81\x81\x81\x81",
    b"\xfb\x81\x81\x81\x81\x81\x81\x81\x81",
]


@pytest.mark.parametrize("sibling", CLOSED, ids=lambda data: data[:6].hex())
@pytest.mark.parametrize("times", [1, 20])
def test_what_has_ended_is_not_above_what_follows(sibling: bytes, times: int) -> None:
    many = head(ARRAY, times + 1, 0 if times < 23 else 1)
    assert not too_deep(many + sibling * times + FITTING + b"\x00")
    assert too_deep(many + sibling * times + FITTING + DEEPER + b"\x00")
    assert too_deep(many + FITTING + DEEPER + b"\x00" + sibling * times)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_a_long_head_is_read_whole(width: int) -> None:
    for major, argument in ((ARRAY, 1), (TAG, 1)):
        assert not too_deep(head(major, argument, width) * MAX_DEPTH + b"\x00")
        assert too_deep(head(major, argument, width) * (MAX_DEPTH + 1) + b"\x00")
    assert too_deep((head(MAP, 1, width) + b"\x61a") * (MAX_DEPTH + 1) + b"\x00")


@pytest.mark.parametrize("data", [b"\x82\x1c", b"\x82\x1d", b"\x82\x1f", b"\x9f", b"\xbf", b"\x5f"])
def test_heads_without_a_length_end_the_walk(data: bytes) -> None:
    assert code_of(data + DEEPER * 60 + b"\x00") == "codec.01"


def test_what_comes_after_the_value_is_no_part_of_it() -> None:
    assert code_of(b"\x00" + DEEPER * 40 + b"\x00") == "codec.01"
    assert code_of(b"\x81\x00" + DEEPER * 40 + b"\x00") == "codec.01"


leaves = st.sampled_from(CLOSED)
wraps = st.tuples(st.sampled_from([ARRAY, MAP, TAG]), st.lists(leaves, max_size=2), st.lists(leaves, max_size=2))


@given(st.lists(wraps, min_size=MAX_DEPTH - 2, max_size=MAX_DEPTH + 3), leaves)
def test_the_depth_is_the_number_of_what_is_open(
    around: list[tuple[int, list[bytes], list[bytes]]], end: bytes
) -> None:
    data, inner = end, depth_of_closed(end)
    for level, (major, before, after) in enumerate(around, 1):
        if major == TAG:
            data = head(TAG, 7) + data
        elif major == ARRAY:
            data = head(ARRAY, len(before) + 1 + len(after)) + b"".join(before) + data + b"".join(after)
        else:
            rows = [*before, data, *after]
            data = head(MAP, len(rows)) + b"".join(b"\x61a" + row for row in rows)
        beside = [] if major == TAG else [*before, *after]
        inner = 1 + max([inner, *map(depth_of_closed, beside)])
        assert inner >= level
    assert too_deep(data) == (inner > MAX_DEPTH)


def depth_of_closed(data: bytes) -> int:
    """How deep the examples above are."""
    if data[0] in {0x80, 0xA0}:
        return 0
    if data[:1] == b"\x83" or data == b"\xa2\x61a\x61b\x61c\x81\x00":
        return 3 if data[:1] == b"\x83" else 2
    return int(data[0] >> 5 in {ARRAY, MAP, TAG})
