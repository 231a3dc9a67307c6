"""Events as they travel: server-sent events, whose data is DAG-JSON (bytes have a spelling there) and whose id is the
cursor that resumes after them.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from caremesh.client.wire import NOT_UNDERSTOOD
from caremesh.errors import BadInput
from caremesh.ledger.application import Event

MAX_LINE_BYTES: Final = 2**20


class _Line(Struct, frozen=True, kw_only=True):
    type: str
    height: int
    tx: Any
    attributes: dict[str, Any]


def spell(cursor: str, event: Event) -> bytes:
    """One event of the stream."""
    value = {
        "type": event.type,
        "height": event.height,
        "tx": _out(event.tx),
        "attributes": {name: _out(value) for name, value in event.attributes.items()},
    }
    return b"id: %b\ndata: %b\n\n" % (cursor.encode(), msgspec.json.encode(value))


async def read(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, Event | None]]:
    """(cursor, event) out of the bytes of a stream; (cursor, None) where only the cursor moves on.

    Raises BadInput client.01.
    """
    left = b""
    cursor = data = ""
    async for chunk in chunks:
        *lines, left = (left + chunk).split(b"\n")
        if len(left) > MAX_LINE_BYTES:
            raise BadInput(NOT_UNDERSTOOD, "event")
        for line in lines:
            name, _, value = line.decode("utf-8", "replace").partition(": ")
            if name == "id":
                cursor = value
            elif name == "data":
                data = value
            elif not line and cursor:
                yield cursor, _event(data) if data else None
                data = ""


def _event(data: str) -> Event:
    try:
        line = msgspec.json.decode(data, type=_Line)
        attributes = {name: _in(value) for name, value in line.attributes.items()}
        return Event(type=line.type, height=line.height, tx=_in(line.tx), attributes=attributes)
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError) as error:
        raise BadInput(NOT_UNDERSTOOD, "event") from error


def _out(value: Any) -> Any:
    """DAG-JSON: bytes as {"/": {"bytes": base64 without padding}}."""
    if isinstance(value, bytes):
        return {"/": {"bytes": base64.b64encode(value).rstrip(b"=").decode()}}
    return value


def _in(value: Any) -> Any:
    if isinstance(value, dict):
        text = value["/"]["bytes"]
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    return value
