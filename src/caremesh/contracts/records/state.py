"""What the records contract keeps."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from caremesh.codec import CID
from caremesh.crypto.hashes import tagged_hash
from caremesh.ledger.state import CountedList, Table
from caremesh.types import Code, Count, Did, Digest, Height, StreamId


class Segment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A segment as the ledger knows it. Erased: descriptor and seal are gone, and only tombstones remain."""

    source: Did
    epoch: Count
    registered: Height
    size_class: Count
    status: Literal["current", "superseded", "retracted", "erased"]
    version: Count = 0
    """How often it was sealed again."""
    successor: Count | None = None
    """The segment that superseded it."""
    duty: Code | None = None
    """Under which legal duty the source erased it; absent when the subject did."""
    descriptor: CID | None = None
    seal: Digest | None = None


class Attestation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A member has verified a segment as sealed in a version."""

    member: Did
    version: Count
    height: Height


SEGMENTS: Final = CountedList(b"records/segment/", Segment)
"""By stream; the index is the segment's number."""
TAKEN: Final = Table(b"records/taken/", int)
"""By stream and tombstone hash of a descriptor's CID or a seal's hash: the segment that has, or had, it."""
ATTESTATIONS: Final = CountedList(b"records/attested/", Attestation)
"""By stream and segment (8 bytes)."""


def tombstone(stream: StreamId, name: bytes) -> Digest:
    """What remains of a name in a stream: not the name, but enough to know it again."""
    return tagged_hash("tomb", stream, name)
