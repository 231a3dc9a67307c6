"""What a source keeps of what it wrote: which record is in which segment, and the segment keys.

The index lives in the node's vault, so it is encrypted under the node's key and an entry can be destroyed. It serves
updates (is this version there already?), history, conditions, and reading back what the source itself wrote. An entry
is written before its segment is registered; it counts once the ledger has the segment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from caremesh import codec
from caremesh.blobs.vault import Vault
from caremesh.codec import CID
from caremesh.contracts.records import queries as records
from caremesh.fhir.references import Condition
from caremesh.ledger.state import Reader
from caremesh.sealing.descriptor import key_commitment, read_descriptor
from caremesh.types import Bytes16, Code, Count, Digest, StreamId

_PREFIX: Final = "index/"


class IndexedRecord(Struct, frozen=True):
    """One record. ``digest``: SHA-256 of its original bytes; ``identifiers``: digests of its business identifiers."""

    digest: Digest
    type: str
    id: str
    version: str
    last_updated: str
    identifiers: list[Bytes16]


class IndexedSegment(Struct, frozen=True):
    """One segment that this source wrote, with its records in the segment's order."""

    stream: StreamId
    category: Code
    descriptor: CID
    key: bytes
    """The segment key; empty when the patient has sealed the segment anew with another."""
    records: list[IndexedRecord]


class SourceIndex:
    """The segments that this source wrote, by patient."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def entries(self, patient: str, segments: list[IndexedSegment]) -> dict[str, bytes]:
        """What to put into the vault to remember segments."""
        return {_name(patient, entry): codec.encode(entry) for entry in segments}

    def segment(self, patient: str, stream: StreamId, descriptor: CID) -> IndexedSegment | None:
        """One segment, registered or not, or None."""
        stored = self._vault.get(f"{_PREFIX}{patient}/{stream.hex()}/{descriptor.encode()}")
        return None if stored is None else codec.decode_as(stored, IndexedSegment)

    def put(self, patient: str, entry: IndexedSegment) -> None:
        """Remember one segment. Raises StorageFailed."""
        self._vault.put({_name(patient, entry): codec.encode(entry)})

    def forget(self, patient: str, stream: StreamId, descriptor: CID) -> None:
        """Destroy what is remembered of one segment, its key with it. Raises StorageFailed."""
        self._vault.destroy([f"{_PREFIX}{patient}/{stream.hex()}/{descriptor.encode()}"])

    def follow(
        self,
        stream: StreamId,
        segment: Count,
        descriptor: CID | None,
        reader: Reader,
        read: Callable[[CID], bytes | None],
    ) -> bool:
        """Let the index be as the ledger has a segment now; whether a key was destroyed.

        Erased: everything goes. Sealed anew with the same key, for a new epoch: the new descriptor takes the old one's
        place. With another key, without some record: the key goes, and the hashes of what was imported stay, so that
        it does not come back by itself. ``read``: a descriptor's bytes, or None. Raises StorageFailed.
        """
        destroyed = False
        for name in self._vault.names(_PREFIX):
            if name.split("/")[2] != stream.hex():
                continue
            entry = codec.decode_as(self._vault.get(name) or b"", IndexedSegment)
            if entry.descriptor == descriptor or records.index_of(reader, stream, entry.descriptor) != segment:
                continue
            if descriptor is not None:
                data = read(descriptor)
                if data is None:
                    continue
                same = bool(entry.key) and key_commitment(entry.key) == read_descriptor(data).commitment
                moved = replace(entry, descriptor=descriptor, key=entry.key if same else b"")
                self._vault.put({_name(name.split("/")[1], moved): codec.encode(moved)})
                destroyed = destroyed or not same
            else:
                destroyed = True
            self._vault.destroy([name])
        return destroyed

    def segments(self, patient: str, reader: Reader) -> list[IndexedSegment]:
        """A patient's registered segments, by stream and in the order of the ledger."""
        found = []
        for name in self._vault.names(f"{_PREFIX}{patient}/"):
            stored = self._vault.get(name)
            if stored is not None:
                entry = codec.decode_as(stored, IndexedSegment)
                number = records.index_of(reader, entry.stream, entry.descriptor)
                if number is not None:
                    found.append((entry.category, number, entry))
        return [entry for _, _, entry in sorted(found, key=lambda row: row[:2])]


class HeldRecords:
    """The records of one patient that are here, to look up."""

    def __init__(self, segments: list[IndexedSegment]) -> None:
        self._digests: set[Digest] = set()
        self._versions: dict[tuple[str, str, str], Digest] = {}
        self._ids: set[tuple[str, str]] = set()
        self._identifiers: dict[tuple[str, bytes], set[str]] = {}
        for segment in segments:
            for record in segment.records:
                self._digests.add(record.digest)
                self._ids.add((record.type, record.id))
                self._versions[record.type, record.id, record.version] = record.digest
                for identifier in record.identifiers:
                    self._identifiers.setdefault((record.type, identifier), set()).add(record.id)

    def holds(self, digest: Digest) -> bool:
        """Whether these very bytes are here already."""
        return digest in self._digests

    def version(self, type_: str, id_: str, version: str) -> Digest | None:
        """The hash of a version of a record."""
        return self._versions.get((type_, id_, version))

    def find(self, condition: Condition) -> set[str]:
        """Ids of the records that a condition fits."""
        if condition.id:
            return {condition.id} if (condition.type, condition.id) in self._ids else set()
        return self._identifiers.get((condition.type, condition.identifier), set())


def _name(patient: str, entry: IndexedSegment) -> str:
    return f"{_PREFIX}{patient}/{entry.stream.hex()}/{entry.descriptor.encode()}"
