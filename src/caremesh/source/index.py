"""What a source keeps of what it wrote: which record is in which segment, and the segment keys.

The index lives in the node's vault, so it is encrypted under the node's key and an entry can be destroyed. It serves
updates (is this version there already?), history, and reading back what the source itself wrote.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from caremesh import codec
from caremesh.blobs.vault import Vault
from caremesh.codec import CID
from caremesh.crypto.hashes import sha256
from caremesh.types import Count, Digest, StreamId

_PREFIX: Final = "index/"


class IndexedSegment(Struct, frozen=True):
    """One segment that this source wrote. ``records`` are hashes of the original bytes, in the segment's order."""

    stream: StreamId
    segment: Count
    descriptor: CID
    key: bytes
    records: list[Digest]


class SourceIndex:
    """The segments that this source wrote, by stream."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def add(self, segments: list[IndexedSegment]) -> None:
        """Remember segments, all or none; durable when this returns."""
        self._vault.put({_name(entry.stream, entry.segment): codec.encode(entry) for entry in segments})

    def segments(self, stream: StreamId) -> list[IndexedSegment]:
        """The stream's segments in order."""
        found = []
        for name in self._vault.names(_name(stream)):
            stored = self._vault.get(name)
            if stored is not None:
                found.append(codec.decode_as(stored, IndexedSegment))
        return found

    def holds(self, stream: StreamId, record: bytes) -> bool:
        """Whether these very bytes are in the stream already."""
        digest = sha256(record)
        return any(digest in entry.records for entry in self.segments(stream))


def _name(stream: StreamId, segment: Count | None = None) -> str:
    return f"{_PREFIX}{stream.hex()}/" + ("" if segment is None else f"{segment:010d}")
