"""What anyone may ask of the streams contract."""

from __future__ import annotations

from caremesh.contracts.streams.messages import Power
from caremesh.contracts.streams.state import CONTROLLERS, KEYS, STREAMS, Controller, Stream
from caremesh.crypto.signatures import stream_of
from caremesh.ledger.state import Reader
from caremesh.types import Multikey, Seconds, StreamId


def stream(reader: Reader, stream_id: StreamId) -> Stream | None:
    """A stream, or None when it is not open."""
    return STREAMS.get(reader, stream_id)


def of_key(reader: Reader, key: Multikey) -> StreamId | None:
    """The stream that a key serves or has served, as its own or as a controller's; None when there is none."""
    first = stream_of(key)
    return KEYS.get(reader, key) if STREAMS.get(reader, first) is None else first


def stream_key(stream_id: StreamId) -> bytes:
    """The state key of a stream, for proofs."""
    return STREAMS.key(stream_id)


def controllers(reader: Reader, stream_id: StreamId) -> list[Controller]:
    """All controllers of a stream, those whose time is over too."""
    found = CONTROLLERS.get(reader, stream_id)
    return [] if found is None else found.controllers


def may_sign(reader: Reader, of: Stream, key: Multikey, power: Power, at: Seconds) -> bool:
    """Whether a key has a power over a stream at a time: the stream's own has every one, a controller's its own."""
    return key == of.key or any(
        entry.key == key and power in entry.powers and at < entry.until for entry in controllers(reader, of.id)
    )


def controllers_key(stream_id: StreamId) -> bytes:
    """The state key of a stream's controllers, for proofs."""
    return CONTROLLERS.key(stream_id)
