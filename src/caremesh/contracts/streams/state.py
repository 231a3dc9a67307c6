"""What the streams contract keeps."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from caremesh.contracts.streams.messages import Power
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


class Controller(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that acts in the subject's place, within its powers, until a day."""

    key: Multikey
    powers: list[Power]
    until: Seconds


class Controllers(Struct, frozen=True, forbid_unknown_fields=True):
    """All controllers of a stream, those whose time is over too, in ascending order of keys."""

    controllers: list[Controller]


STREAMS: Final = Table(b"streams/stream/", Stream)
"""By id."""
CONTROLLERS: Final = Table(b"streams/controllers/", Controllers)
"""By stream; one record, so that one proof shows them all."""
READING_KEYS: Final = Table(b"streams/reading/", int)
"""By stream and reading key of a past epoch: that epoch."""
KEYS: Final = Table(b"streams/key/", bytes)
"""By key that a stream was given later on: that stream. A first key is known by the stream's id."""
