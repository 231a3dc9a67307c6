"""Holders of blocks without a mesh: a ledger that says which descriptors there are, and a clock that is set."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from caremesh.blobs.accounts import Accounts
from caremesh.blobs.holding import Holder
from caremesh.blobs.interface import BlockStore
from caremesh.blobs.memory import MemoryBlocks
from caremesh.codec import CID
from caremesh.contracts.records.state import SEGMENTS, TAKEN, Segment, tombstone
from caremesh.crypto.reencryption import ReadingKey
from caremesh.ledger.state import Reader, View
from caremesh.sealing.segment import RecordToSeal, SealedSegment, seal_segment

DAY_S = 86_400
SOURCE = "did:caremesh:demo:" + "s" * 32
ME = "did:caremesh:demo:" + "m" * 32
OTHER = "did:caremesh:demo:" + "o" * 32
READING = ReadingKey.from_secret(bytes([1]) * 32).public


class _Nothing:
    def get(self, key: bytes, /) -> bytes | None:  # noqa: ARG002 - as a reader
        return None


class Copy:
    """A copy of the ledger. ``time``: of its newest header."""

    def __init__(self, time: int = DAY_S) -> None:
        self.view = View(_Nothing())
        self.time = time

    def header(self) -> Any:
        """All that is asked of it is the time."""
        return SimpleNamespace(time=self.time)

    def reader(self) -> Reader:
        """What was registered."""
        return self.view

    def register(self, stream: bytes, descriptor: CID) -> int:
        """As the records contract keeps it; the segment's number."""
        row = Segment(
            source=SOURCE, epoch=0, registered=1, size_class=1, status="current", descriptor=descriptor, seal=bytes(32)
        )
        number = SEGMENTS.append(self.view, row, stream)
        TAKEN.put(self.view, number, stream, tombstone(stream, bytes(descriptor)))
        return number


def segment(stream: bytes, data: bytes = b"{}") -> SealedSegment:
    """A sealed segment of one record."""
    return seal_segment(stream, SOURCE, READING, [RecordToSeal(resource_type="Observation", id="a", data=data)])


def every(sealed: SealedSegment) -> dict[CID, bytes]:
    """All blocks of a segment, its descriptor with them."""
    return {**sealed.blocks, sealed.descriptor_cid: sealed.descriptor}


def holder(folder: Path, ledger: Copy, *, store: BlockStore | None = None, **more: Any) -> Holder:
    """A holder by the clock of its ledger, unless another ``clock`` is given."""
    more.setdefault("clock", lambda: ledger.time)
    return Holder(did=ME, store=store or MemoryBlocks(), accounts=Accounts(folder), ledger=ledger, **more)
