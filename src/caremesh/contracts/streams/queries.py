"""What anyone may ask of the streams contract."""

from __future__ import annotations

from caremesh.contracts.streams.state import STREAMS, Stream
from caremesh.ledger.state import Reader
from caremesh.types import StreamId


def stream(reader: Reader, stream_id: StreamId) -> Stream | None:
    """A stream, or None when it is not open."""
    return STREAMS.get(reader, stream_id)


def stream_key(stream_id: StreamId) -> bytes:
    """The state key of a stream, for proofs."""
    return STREAMS.key(stream_id)
