"""One value has one spelling, and one spelling has one value."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caremesh import codec
from caremesh.errors import BadInput

INTEGERS = st.integers(min_value=-(2**63), max_value=2**63 - 1)
PLAIN = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.text(max_size=20) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    number: int
    optional: bytes | None = None


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    text: str
    inner: list[Inner]


OUTERS = st.builds(
    Outer,
    text=st.text(max_size=10),
    inner=st.lists(st.builds(Inner, number=INTEGERS, optional=st.none() | st.binary(max_size=8)), max_size=4),
)


@given(PLAIN)
def test_plain_values_round_trip(value: object) -> None:
    assert codec.decode(codec.encode(value)) == value


@given(OUTERS)
def test_typed_values_round_trip(value: Outer) -> None:
    assert codec.decode_as(codec.encode(value), Outer) == value


@given(st.binary(max_size=200))
def test_any_bytes_decode_to_one_value_or_are_refused(data: bytes) -> None:
    try:
        value = codec.decode(data)
    except BadInput as error:
        assert error.code in ("codec.01", "codec.02")  # noqa: PT017 - either outcome is allowed
    else:
        if not _has_float(value):
            assert codec.encode(value) == data


@given(OUTERS, st.data())
def test_a_changed_byte_is_another_value_or_refused(value: Outer, data: st.DataObject) -> None:
    spelled = codec.encode(value)
    position = data.draw(st.integers(0, len(spelled) - 1))
    flipped = bytearray(spelled)
    flipped[position] ^= data.draw(st.integers(1, 255))
    try:
        other = codec.decode_as(bytes(flipped), Outer)
    except BadInput:
        return
    assert other != value


@given(st.integers(min_value=1, max_value=200), st.booleans())
def test_depth_is_bounded(depth: int, maps: bool) -> None:
    nested = (b"\xa1\x61a" if maps else b"\x81") * depth + b"\x00"
    if depth <= codec.MAX_DEPTH:
        codec.decode(nested)
    else:
        with pytest.raises(BadInput, match=r"codec\.02"):
            codec.decode(nested)


def _has_float(value: object) -> bool:
    if isinstance(value, list):
        return any(_has_float(item) for item in value)
    if isinstance(value, dict):
        return any(_has_float(item) for item in value.values())
    return isinstance(value, float)
