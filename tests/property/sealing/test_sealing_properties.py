"""For all records: what is sealed comes back, sizes say little, and changed plaintext never opens quietly."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caremesh.crypto.reencryption import ReadingKey
from caremesh.errors import Tampered
from caremesh.sealing.descriptor import read_descriptor, size_class
from caremesh.sealing.frames import Framer, padded_length
from caremesh.sealing.segment import RecordToSeal, open_segment, seal_segment

READING = ReadingKey.from_secret(bytes([1]) * 32)
SOURCE = "did:caremesh:demo:" + "a" * 32
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
records = st.builds(
    RecordToSeal,
    media_type=texts,
    resource_type=texts,
    id=texts,
    version=texts,
    last_updated=texts,
    data=st.one_of(st.binary(max_size=2000), st.integers(0, 300_000).map(bytes)),
)


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.lists(records, min_size=1, max_size=6))
def test_what_is_sealed_comes_back(stream: bytes, sealed_records: list[RecordToSeal]) -> None:
    sealed = seal_segment(stream, SOURCE, READING.public, sealed_records)
    opened = open_segment(sealed.segment_key, sealed.descriptor, sealed.blocks.__getitem__)
    names = ("media_type", "resource_type", "id", "version", "last_updated", "data")
    assert [[getattr(item, name) for name in names] for item in opened] == [
        [getattr(item, name) for name in names] for item in sealed_records
    ]
    assert read_descriptor(sealed.descriptor).stream == stream
    assert 2 ** (sealed.size_class - 1) < sum(map(len, sealed.blocks.values())) <= 2**sealed.size_class


@given(st.integers(2, 2**40))
def test_padme(length: int) -> None:
    padded = padded_length(length)
    assert length <= padded <= length * 1.12
    assert padded_length(padded) == padded
    assert padded_length(length + 1) >= padded
    significant = len(f"{padded:b}".rstrip("0"))
    assert significant <= (length.bit_length() - 1).bit_length() + 1


@given(st.integers(1, 2**50))
def test_a_size_class_is_the_least_power_of_two(total: int) -> None:
    exponent = size_class(total)
    assert total <= 2**exponent
    assert exponent == 0 or total > 2 ** (exponent - 1)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.data())
def test_a_changed_frame_is_refused_or_is_another_frame(data: bytes, draw: st.DataObject) -> None:
    """Frames are encrypted, so nobody changes one; a source that writes odd ones must still not crash a reader."""
    frame = bytearray(Framer().frame(data))
    frame[draw.draw(st.integers(0, len(frame) - 1))] ^= draw.draw(st.integers(1, 255))
    try:
        out = Framer().unframe(bytes(frame), 1000)
    except Tampered as error:
        assert error.code in {"sealing.09", "sealing.10"}  # noqa: PT017 -- either outcome is right
    else:
        assert len(out) <= 1000


@pytest.mark.parametrize("data", [b"", b"x", bytes(100_000)])
def test_frames_come_back(data: bytes) -> None:
    assert Framer().unframe(Framer().frame(data), len(data)) == data
    if data:
        with pytest.raises(Tampered, match=r"sealing\.10"):
            Framer().unframe(Framer().frame(data), len(data) - 1)
