"""What a source does to segments that it wrote: corrects one, retracts it, erases it under a legal duty.

A correction is a segment of its own: all records of the old one, with the corrected record in its place. The old one
stays, and is readable only where a consent names it. Retracting says that a whole segment was entered in error.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from caremesh.blobs.copies import Copies
from caremesh.contracts.records import queries as records
from caremesh.contracts.records.messages import Erase, Retract
from caremesh.errors import Refused
from caremesh.ledger.state import Reader
from caremesh.sealing.channel import SealingProfile
from caremesh.sealing.segment import OpenedRecord, RecordToSeal, open_segment, seal_segment
from caremesh.source import errors
from caremesh.source.index import IndexedRecord, IndexedSegment, SourceIndex
from caremesh.source.registering import Batch, Ready, Registrar
from caremesh.source.resolving import Found
from caremesh.types import Code, Count, Did, StreamId


class Corrections:
    """One source's."""

    def __init__(
        self,
        *,
        did: Did,
        index: SourceIndex,
        copies: Copies,
        registrar: Registrar,
        reader: Callable[[], Reader],
    ) -> None:
        """``reader``: the state that this member has verified."""
        self._did = did
        self._index = index
        self._copies = copies
        self._registrar = registrar
        self._reader = reader

    def correct(self, found: Found, profile: SealingProfile) -> Count:
        """Supersede the segment that has an earlier version of this record; the number of the new one.

        Raises Refused source.08 when there is none that can be read, source.09 when it would be of another category,
        blobs.08 when too few members take it,
        and what ``Registrar.register`` raises.
        """
        reader = self._reader()
        old, number = self._current(found.patient, found.type, found.id, reader)
        if old.category != found.category:
            raise Refused(errors.OTHER_CATEGORY, found.category)
        [entry] = [entry for entry in profile.entries if entry.category == old.category]
        opened = open_segment(
            old.key, self._copies.get(old.stream, old.descriptor), lambda cid: self._copies.get(old.stream, cid)
        )
        kept = [_corrected(record, found) for record in opened]
        sealed = seal_segment(old.stream, self._did, entry.reading_key, kept)
        self._copies.put(old.stream, {**sealed.blocks, sealed.descriptor_cid: sealed.descriptor})
        ready = Ready(
            category=old.category,
            descriptor=sealed.descriptor,
            descriptor_cid=sealed.descriptor_cid,
            seal=sealed.seal,
            seal_hash=sealed.seal_hash,
            size_class=sealed.size_class,
            reading_key=entry.reading_key,
            supersedes=number,
        )
        rows = [_indexed(row, found) for row in old.records]
        new = IndexedSegment(
            stream=old.stream,
            category=old.category,
            descriptor=sealed.descriptor_cid,
            key=sealed.segment_key,
            records=rows,
        )
        self._registrar.register(
            [Batch(found.patient, profile, [ready], self._index.entries(found.patient, [new]))], {}, lambda *_: None
        )
        reached = records.index_of(self._reader(), old.stream, sealed.descriptor_cid)
        if reached is None:
            raise Refused(errors.NOT_REGISTERED, sealed.descriptor_cid.encode())
        return reached

    def retract(self, patient: str, category: Code, segment: Count) -> None:
        """Say that a segment was entered in error. Raises Refused source.03 with the ledger's code, source.08."""
        self._registrar.send(patient, Retract(stream=self._stream(patient, category), segment=segment))

    def erase(self, patient: str, category: Code, segment: Count, duty: Code) -> None:
        """Erase a segment under a legal duty, by its code. Raises as ``retract``."""
        self._registrar.send(patient, Erase(stream=self._stream(patient, category), segment=segment, duty=duty))

    def _current(self, patient: str, type_: str, id_: str, reader: Reader) -> tuple[IndexedSegment, Count]:
        for entry in self._index.segments(patient, reader):
            number = records.index_of(reader, entry.stream, entry.descriptor)
            segment = None if number is None else records.segment(reader, entry.stream, number)
            named = any((record.type, record.id) == (type_, id_) for record in entry.records)
            if number is not None and segment is not None and named and segment.status == "current" and entry.key:
                return entry, number
        raise Refused(errors.NOTHING_TO_CORRECT)

    def _stream(self, patient: str, category: Code) -> StreamId:
        for entry in self._index.segments(patient, self._reader()):
            if entry.category == category:
                return entry.stream
        raise Refused(errors.NOTHING_TO_CORRECT, category)


def _corrected(record: OpenedRecord, found: Found) -> RecordToSeal:
    kept = RecordToSeal(
        media_type=record.media_type,
        resource_type=record.resource_type,
        id=record.id,
        version=record.version,
        last_updated=record.last_updated,
        data=record.data,
    )
    if (record.resource_type, record.id) != (found.type, found.id):
        return kept
    return replace(kept, version=found.version, last_updated=found.last_updated, data=bytes(found.entry.raw))


def _indexed(row: IndexedRecord, found: Found) -> IndexedRecord:
    if (row.type, row.id) != (found.type, found.id):
        return row
    return IndexedRecord(found.digest, row.type, row.id, found.version, found.last_updated, found.identifiers)
