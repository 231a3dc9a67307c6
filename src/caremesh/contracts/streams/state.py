"""What the streams contract keeps."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from caremesh.ledger.state import Table
from caremesh.types import Count, Did, Digest, Height, Multikey, ReencryptionKey, Seconds, StreamId


class Stream(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stream with the newest permit that the ledger has seen."""

    id: StreamId
    key: Multikey
    rotation: Count
    source: Did
    epoch: Count
    reading_key: ReencryptionKey
    custodians: list[Did]
    threshold: Count
    serial: Count
    permit: Digest
    """SHA-256 of the newest permit's bytes."""
    permit_until: Seconds
    segments_left: Count
    permit_revoked: bool
    opened: Height
    closed: bool


STREAMS: Final = Table(b"streams/stream/", Stream)
"""By id."""
