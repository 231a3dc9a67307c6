"""What anyone may ask of the records contract."""

from __future__ import annotations

from caremesh.codec import CID
from caremesh.contracts.records.state import ATTESTATIONS, SEGMENTS, TAKEN, Attestation, Segment, tombstone
from caremesh.ledger.state import Reader
from caremesh.types import Count, StreamId


def segment(reader: Reader, stream: StreamId, index: Count) -> Segment | None:
    """One segment, erased ones too, or None."""
    return SEGMENTS.get(reader, index, stream)


def segments(reader: Reader, stream: StreamId) -> list[Segment]:
    """All segments of a stream, erased ones too; the position is the number."""
    return SEGMENTS.items(reader, stream)


def index_of(reader: Reader, stream: StreamId, descriptor: CID) -> Count | None:
    """The number of the segment that has, or had, this descriptor."""
    return TAKEN.get(reader, stream, tombstone(stream, bytes(descriptor)))


def named(reader: Reader, stream: StreamId, descriptor: CID) -> tuple[Count, Segment] | None:
    """The segment that has, or had, this descriptor, and its number before it; None when there is none."""
    index = index_of(reader, stream, descriptor)
    found = None if index is None else segment(reader, stream, index)
    return None if index is None or found is None else (index, found)


def count(reader: Reader, stream: StreamId) -> Count:
    """How many segments a stream has ever had."""
    return SEGMENTS.bounds(reader, stream)[1]


def attestations(reader: Reader, stream: StreamId, index: Count) -> list[Attestation]:
    """Who has verified a segment, and as sealed in which version, oldest first."""
    return ATTESTATIONS.items(reader, stream, index.to_bytes(8))


def segment_key(stream: StreamId, index: Count) -> bytes:
    """The state key of a segment, for proofs."""
    return SEGMENTS.key(index, stream)


def count_key(stream: StreamId) -> bytes:
    """The state key of how many segments a stream has ever had, for proofs that a list is complete."""
    return SEGMENTS.count_key(stream)
