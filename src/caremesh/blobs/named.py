"""Which blocks of a stream the ledger names: descriptors, and by them manifests and blocks."""

from __future__ import annotations

from collections.abc import Callable

from caremesh.codec import CID
from caremesh.contracts.records import queries as records
from caremesh.errors import Tampered, Unavailable
from caremesh.ledger.state import Reader
from caremesh.sealing.descriptor import read_descriptor
from caremesh.types import StreamId


def listed(descriptor: CID, data: bytes) -> set[CID]:
    """A descriptor, its manifest and its blocks; itself alone when these bytes are no descriptor."""
    try:
        table = read_descriptor(data)
    except Tampered:  # whoever registered this registered no descriptor: there are no blocks to find by it
        return {descriptor}
    return {descriptor, table.manifest, *table.blocks}


def named(reader: Reader, stream: StreamId, read: Callable[[CID], bytes]) -> set[CID] | None:
    """What the ledger names of a stream; None when a descriptor that it names cannot be read, so that it may be more.

    Raises StorageFailed.
    """
    found: set[CID] = set()
    for segment in records.segments(reader, stream):
        if segment.descriptor is not None:
            try:
                found |= listed(segment.descriptor, read(segment.descriptor))
            except (Unavailable, Tampered):
                return None
    return found
