"""A custodian's release log, as its keeper writes it and a subject's client checks it. Pure.

    entry = DAG-CBOR {stream, index, previous, receipt, descriptor, at}
    link  = H("caremesh/v1/release-log/entry" ‖ entry)
    head  = count and link of the last entry of a stream

Whoever holds the head of a stream under an anchored root can check every entry before it, and that none is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from caremesh import codec
from caremesh.codec import CID
from caremesh.crypto.hashes import tagged_hash
from caremesh.errors import ErrorCode, Tampered
from caremesh.types import Count, Digest, ReceiptId, Seconds, StreamId

START: Final = bytes(32)
"""What the first entry of a stream has for a link before it."""
_ENTRY_DOMAIN: Final = "caremesh/v1/release-log/entry"

BROKEN_CHAIN = ErrorCode(
    "custody.04", "The release log does not hold together.", "Keep it: the custodian that signed it has to explain it."
)


class LogEntry(Struct, frozen=True):
    """One release. ``previous`` is the link of the entry before it, 32 zero bytes for the first."""

    stream: StreamId
    index: Count
    previous: Digest
    receipt: ReceiptId
    descriptor: CID
    at: Seconds


class LogHead(Struct, frozen=True):
    """Where a stream's chain stands: how many entries, and the link of the last."""

    count: Count
    link: Digest


def link_of(entry: LogEntry) -> Digest:
    """The hash that the next entry, or the head, holds of this one."""
    return tagged_hash(_ENTRY_DOMAIN, codec.encode(entry))


def check_chain(stream: StreamId, entries: Sequence[LogEntry], head: LogHead) -> None:
    """Return when ``entries`` are all of the stream's, in order, up to ``head``.

    The place of an error is ``entry <index>`` or ``head``. Raises Tampered custody.04.
    """
    link = START
    for index, entry in enumerate(entries):
        if entry.stream != stream or entry.index != index or entry.previous != link:
            raise Tampered(BROKEN_CHAIN, f"entry {index}")
        link = link_of(entry)
    if len(entries) != head.count or link != head.link:
        raise Tampered(BROKEN_CHAIN, "head")
