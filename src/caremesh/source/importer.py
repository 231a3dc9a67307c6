"""Import FHIR records: look at everything, seal, store, deposit, register. Nothing half-imported.

Two passes over a file. The first (``survey``) reads, validates, classifies and resolves every entry, and writes
nothing; a transaction, collection, history or single resource with anything wrong is refused there, whole, with a
report of all that is wrong; entries of a batch and lines of NDJSON stand for themselves. The second seals segment by
segment, so that memory holds the file, the list of its entries and one segment. What is here already, byte for byte, is
left alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from caremesh.blobs.copies import Copies
from caremesh.blobs.interface import BlockStore
from caremesh.blobs.vault import Vault
from caremesh.contracts.network import queries as network
from caremesh.errors import BadInput, ErrorCode, Refused
from caremesh.fhir import errors as fhir_errors
from caremesh.fhir.directory import sign_entry
from caremesh.fhir.entries import ATOMIC_KINDS, DIRECTORY_TYPES, SINGLE, Entry, lines, read_entry, split
from caremesh.ledger.transactions import Signs
from caremesh.sealing import channel
from caremesh.sealing.channel import ProfileEntry, SealingProfile
from caremesh.sealing.segment import RecordToSeal, SealedSegment, seal_segment
from caremesh.source import errors
from caremesh.source.collector import resting
from caremesh.source.correcting import Corrections
from caremesh.source.directory import Directory
from caremesh.source.here import Here, Patients, profile_name
from caremesh.source.index import IndexedRecord, IndexedSegment, SourceIndex
from caremesh.source.parting import batch, parts
from caremesh.source.profiles import Profiles
from caremesh.source.registering import Batch, Ledger, Ready, Registrar, SealCustodian
from caremesh.source.resolving import Found
from caremesh.source.storing import Stored
from caremesh.source.survey import Check, Refusal, Survey, survey
from caremesh.types import Code, Count, Did, Seconds

MAX_LINE_BYTES: Final = 32 * 1024 * 1024
_NAMED: Final = 3

Progress = Callable[[str, int, int], None]
"""(what is being done, how much is done, of how much; 0 when that is not known)"""


class ImportReport(Struct, frozen=True, kw_only=True):
    """What an import did. ``records``: new ones by category; ``unchanged``: those that were here already.

    ``outside``: references to what is neither in the file nor here; they stay as they are.
    """

    records: dict[Code, Count] = {}
    unchanged: Count = 0
    segments: Count = 0
    blocks: Count = 0
    original_bytes: Count = 0
    sealed_bytes: Count = 0
    directory: Count = 0
    outside: Count = 0
    settled: Count = 0
    """Segments of an earlier import that was interrupted, or had to wait, registered now."""
    waiting: Count = 0
    """Segments of this import or of an earlier one that are registered when more members have stored their blocks."""
    refused: list[Refusal] = []
    not_checked: list[str] = []
    """What validation did not look at, in words."""

    def plus(self, other: ImportReport) -> ImportReport:
        """Both together."""
        counts = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        names = sorted({*self.records, *other.records})
        return ImportReport(
            **counts,
            records={name: self.records.get(name, 0) + other.records.get(name, 0) for name in names},
            refused=self.refused + other.refused,
            not_checked=sorted({*self.not_checked, *other.not_checked}),
        )


_COUNTS: Final = (
    "unchanged", "segments", "blocks", "original_bytes", "sealed_bytes", "directory", "outside", "settled", "waiting",
)  # fmt: skip


class NotImported(BadInput):
    """Nothing of a file was imported, since something in it was refused; ``report`` says what.

    Its code is that of the refusal when there is one, else fhir.31.
    """

    def __init__(self, report: ImportReport) -> None:
        self.report = report
        if len(report.refused) == 1:
            only = report.refused[0]
            super().__init__(ErrorCode(only.code, only.sentence, only.cure), only.place)
            return
        named = "; ".join(f"{refusal.place} {refusal.code}" for refusal in report.refused[:_NAMED])
        more = len(report.refused) - _NAMED
        super().__init__(fhir_errors.WITH_THE_REST, f"{named} and {more} more" if more > 0 else named)

    def __reduce__(self) -> Any:
        return NotImported, (self.report,)


class Source:
    """One member in the role of source."""

    def __init__(
        self,
        *,
        chain: str,
        did: Did,
        key: Signs,
        node_key: Signs,
        hpke_private: bytes,
        vault: Vault,
        stores: Mapping[Did, BlockStore],
        custodians: Mapping[Did, SealCustodian],
        ledger: Ledger,
        directory: Directory,
        check: Check,
        clock: Callable[[], Seconds],
    ) -> None:
        """``key``: of the member's DID; ``stores``: of members that hold blocks; ``check``: FHIR validation."""
        self._chain = chain
        self.did = did
        self._node_key = node_key
        self._hpke_private = hpke_private
        self._vault = vault
        self._profiles = Profiles(vault)
        self.index = SourceIndex(vault)
        self.directory = directory
        self._copies = Copies(did, stores, lambda: network.params(ledger.reader()).replicas)
        self._ledger = ledger
        self._check = check
        self._clock = clock
        self._registrar = Registrar(
            chain=chain,
            did=did,
            key=key,
            node_key=node_key,
            vault=vault,
            custodians=custodians,
            copies=self._copies,
            ledger=ledger,
            clock=clock,
        )

        self.corrections = Corrections(
            did=did, index=self.index, copies=self._copies, registrar=self._registrar, reader=ledger.reader
        )

    def enrol(self, patient: str, sealed_profile: bytes) -> None:
        """Keep a patient's sealing profile under the id that the patient has here.

        Raises Tampered custody.NN, Refused source.10.
        """
        profile = channel.hear_profile(self._chain, self.did, self._hpke_private, sealed_profile)
        self._profiles.keep(patient, profile)

    def renew_profile(self, sealed_profile: bytes) -> None:
        """A patient, known by the channel key, sends a profile again.

        Raises Tampered custody.NN, Refused source.01, source.10.
        """
        profile = channel.hear_profile(self._chain, self.did, self._hpke_private, sealed_profile)
        patient = self._profiles.patient_of(profile.channel_key)
        if patient is None:
            raise Refused(errors.NO_PROFILE)
        self._profiles.keep(patient, profile)

    def is_enrolled(self, patient: str) -> bool:
        """Whether a patient has given a sealing profile."""
        return self._vault.has(profile_name(patient))

    def import_bundle(self, data: bytes | bytearray, progress: Progress = lambda *_: None) -> ImportReport:
        """Import a bundle or a single resource.

        Raises BadInput fhir.01 to fhir.05, fhir.08, fhir.21 for a file that cannot be read at all; NotImported
        when an entry of what is imported whole was refused; Refused source.01, source.03, source.04, Unavailable
        source.02.
        """
        with resting():
            file = split(data)
            return self._import(file.entries, file.kind, progress, len(file.entries))

    def import_lines(self, chunks: Iterator[bytes], progress: Progress = lambda *_: None) -> ImportReport:
        """Import NDJSON, a few thousand lines at a time; each line stands for itself. Raises as ``import_bundle``."""
        report = ImportReport()
        rest = lines(chunks, MAX_LINE_BYTES)
        while looked := list(batch(rest)):
            report = report.plus(self._import(looked, "ndjson", progress, 0))
        return report

    def correct(self, data: bytes | bytearray) -> Count:
        """Import one resource in the place of an earlier version of it; the number of the new segment.

        Raises as ``import_bundle``, and Refused source.08, source.09.
        """
        file, known = split(data), Here(Patients(self._vault, self.index, self._ledger), self.directory)
        looked = survey(file.entries, known, self._check, kind=SINGLE, step=lambda: None)
        if looked.refused:
            raise NotImported(ImportReport(refused=looked.refused))
        mine = [item for item in looked.found if item.patient]
        if file.kind != SINGLE or len(mine) != 1:
            raise Refused(errors.NOTHING_TO_CORRECT)
        return self.corrections.correct(mine[0], known.patients.profile(mine[0].patient))

    def finish(self) -> ImportReport:
        """Register what earlier imports have begun, as far as members can be reached; for a node to call now and then.

        Raises as ``import_bundle``.
        """
        known = Patients(self._vault, self.index, self._ledger)
        begun = self._registrar.patients()
        settled = sum(self._registrar.settle(patient, known.profile(patient)) for patient in begun)
        return ImportReport(settled=settled, waiting=sum(len(self._registrar.begun(patient)) for patient in begun))

    def _import(self, entries: Sequence[Entry], kind: str, progress: Progress, total: Count) -> ImportReport:
        counted = itertools.count(1)
        known = Here(Patients(self._vault, self.index, self._ledger), self.directory)
        with resting():
            looked = survey(
                entries, known, self._check, kind=kind, step=lambda: progress("checking", next(counted), total)
            )
            if looked.refused and kind in ATOMIC_KINDS | {SINGLE}:
                raise NotImported(
                    ImportReport(refused=looked.refused, outside=looked.outside, not_checked=looked.not_checked)
                )
            return self._write(looked, known.patients, progress)

    def _write(self, looked: Survey, patients: Patients, progress: Progress) -> ImportReport:
        by_patient: dict[str, list[Found]] = {}
        for item in looked.found:
            if item.patient:
                by_patient.setdefault(item.patient, []).append(item)
        wanted = {patient: self._new(patient, items, patients) for patient, items in by_patient.items()}
        settled = sum(self._registrar.settle(patient, patients.profile(patient)) for patient in wanted)
        waiting = sum(len(self._registrar.begun(patient)) for patient in wanted)
        if settled:
            patients.forget()
            wanted = {patient: self._new(patient, items, patients) for patient, items in by_patient.items()}
        directory = self.directory.put(
            [
                sign_entry(read_entry(item.entry), self.did, self._node_key, self._clock())
                for item in looked.found
                if item.type in DIRECTORY_TYPES
            ]
        )
        report = ImportReport(
            unchanged=len(looked.found) + looked.skipped - directory - sum(map(_count, wanted.values())),
            directory=directory,
            outside=looked.outside,
            settled=settled,
            waiting=waiting,
            refused=looked.refused,
            not_checked=looked.not_checked,
        )
        return report.plus(self._seal_and_register(wanted, patients, progress))

    def _new(self, patient: str, items: list[Found], patients: Patients) -> dict[Code, list[Found]]:
        """What is not here yet, by category. Raises Refused source.01, source.04."""
        held, entries = patients.held(patient), _entries(patients.profile(patient))
        found: dict[Code, list[Found]] = {}
        for item in items:
            if item.category not in entries:
                raise Refused(errors.NO_STREAM, item.category)
            if not held.holds(item.digest):
                found.setdefault(item.category, []).append(item)
        return found

    def _seal_and_register(
        self, wanted: dict[str, dict[Code, list[Found]]], patients: Patients, progress: Progress
    ) -> ImportReport:
        """Segment by segment; then one durable step each for stores, custodians, vault and ledger."""
        total = sum(map(_count, wanted.values()))
        report = ImportReport()
        batches = []
        stored = Stored(self._copies)
        try:
            for patient, by_category in wanted.items():
                mine = Batch(patient, patients.profile(patient), [], {})
                for row in self._sealed(mine.profile, by_category):
                    category, entry, segment, part = row
                    stored.put(entry.stream, {**segment.blocks, segment.descriptor_cid: segment.descriptor})
                    mine.segments.append(_ready(category, entry, segment))
                    mine.index.update(self.index.entries(patient, [_indexed(entry, category, segment, part)]))
                    report = report.plus(_of_segment(category, segment, part))
                    progress("sealing", sum(report.records.values()), total)
                if mine.segments:
                    batches.append(mine)
        finally:
            stored.wait()
        self._registrar.register(batches, stored.short, progress)
        ours = [segment.descriptor_cid for mine in batches for segment in mine.segments]
        return report.plus(ImportReport(waiting=sum(cid in stored.short for cid in ours)))

    def _sealed(
        self, profile: SealingProfile, by_category: dict[Code, list[Found]]
    ) -> Iterator[tuple[Code, ProfileEntry, SealedSegment, list[Found]]]:
        entries = _entries(profile)
        for category, items in sorted(by_category.items()):
            for part in parts(items):
                yield category, entries[category], _seal(entries[category], self.did, part), part


def _seal(entry: ProfileEntry, source: Did, part: list[Found]) -> SealedSegment:
    return seal_segment(
        entry.stream,
        source,
        entry.reading_key,
        [
            RecordToSeal(
                resource_type=item.type,
                id=item.id,
                version=item.version,
                last_updated=item.last_updated,
                data=bytes(item.entry.raw),
            )
            for item in part
        ],
    )


def _ready(category: Code, entry: ProfileEntry, segment: SealedSegment) -> Ready:
    return Ready(
        category,
        segment.descriptor,
        segment.descriptor_cid,
        segment.seal,
        segment.seal_hash,
        segment.size_class,
        entry.reading_key,
    )


def _of_segment(category: Code, segment: SealedSegment, part: list[Found]) -> ImportReport:
    return ImportReport(
        records={category: len(part)},
        segments=1,
        blocks=len(segment.blocks),
        original_bytes=sum(item.size_bytes for item in part),
        sealed_bytes=sum(map(len, segment.blocks.values())),
    )


def _indexed(entry: ProfileEntry, category: Code, segment: SealedSegment, part: list[Found]) -> IndexedSegment:
    return IndexedSegment(
        stream=entry.stream,
        category=category,
        descriptor=segment.descriptor_cid,
        key=segment.segment_key,
        records=[
            IndexedRecord(item.digest, item.type, item.id, item.version, item.last_updated, item.identifiers)
            for item in part
        ],
    )


def _entries(profile: SealingProfile) -> dict[Code, ProfileEntry]:
    return {entry.category: entry for entry in profile.entries}


def _count(by_category: dict[Code, list[Found]]) -> Count:
    return sum(map(len, by_category.values()))
