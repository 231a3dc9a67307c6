"""Plaintext in memory, for as long as a visit holds it, and no longer.

What is overwritten: the bytes of every record, which a visit keeps in buffers of its own and lends as views. A view
that someone kept is dead from then on. Segment keys are not kept at all: they are dropped when the segment is open.
What cannot be: the library's results (a decrypted chunk, a decompressed record, a segment key) are immutable ``bytes``
that Python frees without overwriting; so is whatever a reader made of a record, and what the operating system has put
into swap or a dump. Run a node without swap, or with an encrypted one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from caremesh.errors import Refused
from caremesh.gateway.errors import VISIT_OVER
from caremesh.gateway.opening import Part
from caremesh.types import Code, Count


class HeldRecord:
    """One record of a visit. Its plaintext is lent, read-only, until the visit lets go of it."""

    __slots__ = ("_bytes", "_view", "category", "id", "last_updated", "media_type", "resource_type", "version")

    def __init__(self, category: Code, names: tuple[str, str, str, str, str], data: bytes) -> None:
        """``names``: media type, resource type, id, version, last updated, as they were sealed."""
        self.category: Final = category
        self.media_type, self.resource_type, self.id, self.version, self.last_updated = names
        self._bytes = bytearray(data)
        self._view: memoryview | None = memoryview(self._bytes).toreadonly()

    def __repr__(self) -> str:
        return "HeldRecord(…)"

    @property
    def data(self) -> memoryview:
        """The original bytes, byte for byte. Raises Refused gateway.09 when the visit has let go of them."""
        if self._view is None:
            raise Refused(VISIT_OVER)
        return self._view

    def wipe(self) -> None:
        """Overwrite the plaintext and forget names; twice does no harm."""
        self._bytes[:] = bytes(len(self._bytes))
        view, self._view = self._view, None
        if view is not None:
            with suppress(BufferError):  # someone reads it at this very moment: zeros
                view.release()
        self.media_type = self.resource_type = self.id = self.version = self.last_updated = ""


def hold(category: Code, parts: Sequence[Part]) -> dict[Count, list[HeldRecord]]:
    """Opened records, by the number of their segment, in buffers that can be overwritten."""
    return {
        part.segment: [
            HeldRecord(
                category,
                (record.media_type, record.resource_type, record.id, record.version, record.last_updated),
                record.data,
            )
            for record in part.records
        ]
        for part in parts
    }
