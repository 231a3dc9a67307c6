"""What a member lets go of when the ledger says so, besides fragments and seals: blocks, and a source's segment keys.

A table of its own says which descriptors' blocks this member holds, by stream and segment: the ledger forgets the name
of what was erased. When a segment is erased, all of its blocks go, and what the source's index has of it; when it is
sealed anew, those that the new descriptor does not list. Each is confirmed by signature.

The table is ahead of nothing and behind at most the last blocks; it is caught up from the ledger's events, and when
these have gone, by looking at every row.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import lmdb

from caremesh import codec
from caremesh.blobs.checking import Row
from caremesh.blobs.durable import STORAGE_FAILED
from caremesh.blobs.interface import BlockStore
from caremesh.blobs.pages import check_pages
from caremesh.codec import CID
from caremesh.consensus.interface import Cursor
from caremesh.contracts.records import queries as records
from caremesh.custodian.custodian import OwnCopy
from caremesh.custodian.errors import NOT_ERASED
from caremesh.errors import BadInput, CareMeshError, Refused, StorageFailed, Tampered
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Signs
from caremesh.sealing import custody
from caremesh.sealing.custody import ErasureConfirmation, Kept
from caremesh.sealing.descriptor import read_descriptor
from caremesh.source.index import SourceIndex
from caremesh.types import Count, Did, Seconds, StreamId

_CURSOR: Final = b"cursor"
_ROW: Final = b"held/"
_STREAM_BYTES: Final = 32
_INDEX_BYTES: Final = 8
_MAP_SIZE_BYTES: Final = 1 << 34
_AT_ONCE: Final = 256


class Forgetting:
    """One member's. ``blocks``: its store, or None; ``index``: as a source."""

    def __init__(
        self,
        *,
        folder: Path,
        did: Did,
        key: Signs,
        blocks: BlockStore | None,
        index: SourceIndex,
        ledger: OwnCopy,
        clock: Callable[[], Seconds],
    ) -> None:
        """``key``: the member's node key. Raises StorageFailed storage.01, Tampered storage.03."""
        self._did = did
        self._key = key
        self._blocks = blocks
        self._index = index
        self._ledger = ledger
        self._clock = clock
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            check_pages(folder)
            # Without the last sync of a commit the table may be a few blocks behind after a power cut; never broken.
            self._env = lmdb.open(str(folder), map_size=_MAP_SIZE_BYTES, metasync=False)
        except (OSError, lmdb.Error) as error:
            raise StorageFailed(STORAGE_FAILED, folder.name) from error
        with self._env.begin() as txn:
            self._cursor = bytes(txn.get(_CURSOR, b"")).decode()

    def follow(self) -> list[bytes]:
        """After a block: note what came, let go of what went. Signed ``ErasureConfirmation``s. Raises StorageFailed."""
        reader, height = self._ledger.reader(), self._ledger.header().height
        touched, noted = self._touched(reader)
        said = []
        for stream, segment in touched:
            said += self._settle(reader, stream, segment)
        self._cursor = str(Cursor.after(height))
        if touched or noted:
            self._put({_CURSOR: self._cursor.encode()})
        return said

    def confirm_erased(self, stream: StreamId, segment: Count) -> list[bytes]:
        """Signed ``ErasureConfirmation``s that nothing of an erased segment is here; none of what is never kept here.

        Raises Refused custodian.23 when the ledger does not say that it is erased; StorageFailed.
        """
        reader = self._ledger.reader()
        known = records.segment(reader, stream, segment)
        if known is None or known.status != "erased":
            raise Refused(NOT_ERASED)
        self._settle(reader, stream, segment)
        kept: list[Kept] = [] if self._blocks is None else ["blocks"]
        if known.source == self._did:
            kept.append("keys")
        return [self._confirm(stream, segment, known.version, kept=kind, erased=True) for kind in kept]

    def rows(self, after: bytes, limit: int) -> list[Row]:
        """What the ledger names, for the check of blocks (``blobs.checking.Catalogue``)."""
        found: list[Row] = []
        for key in self._keys(_ROW + after):
            row = Row(key, key[:_STREAM_BYTES], CID(key[_STREAM_BYTES + _INDEX_BYTES :]))
            if key != after and self.stands(row):
                found.append(row)
                if len(found) == limit:
                    break
        return found

    def stands(self, row: Row) -> bool:
        """Whether the ledger still names a segment by this descriptor."""
        number = int.from_bytes(row.place[_STREAM_BYTES : _STREAM_BYTES + _INDEX_BYTES])
        known = records.segment(self._ledger.reader(), row.stream, number)
        return known is not None and known.descriptor == row.descriptor

    def close(self) -> None:
        """Let go of the files."""
        self._env.close()

    def _touched(self, reader: Reader) -> tuple[list[tuple[StreamId, Count]], bool]:
        """Segments that were sealed anew or erased since the last time, and whether new ones were noted."""
        changed: set[tuple[StreamId, Count]] = set()
        rows: dict[bytes, bytes] = {}
        try:
            for _, event in self._ledger.subscribe(self._cursor):
                if event.type not in {"records/registered", "records/resealed", "records/erased"}:
                    continue
                place = event.attributes["stream"], event.attributes["segment"]
                known = records.segment(reader, *place)
                if known is not None and known.descriptor is not None:
                    rows[_row(*place, known.descriptor)] = b""
                if event.type != "records/registered":
                    changed.add(place)
        except BadInput:
            changed = {place for place, _ in self._rows()}
        self._put(rows)
        return sorted(changed), bool(rows)

    def _settle(self, reader: Reader, stream: StreamId, segment: Count) -> list[bytes]:
        """Let go of every version of a segment that is not the ledger's; what is confirmed of it."""
        known = records.segment(reader, stream, segment)
        if known is None:
            return []
        held = [cid for _, cid in self._rows(_row(stream, segment))]
        old = [cid for cid in held if cid != known.descriptor]
        said: list[Kept] = []
        keep = set() if known.descriptor is None else self._listed(known.descriptor)
        if keep is not None and self._blocks is not None:
            for cid in old:
                for name in (self._listed(cid) or {cid}) - keep:
                    self._blocks.delete(stream, name)
            self._delete([_row(stream, segment, cid) for cid in old])
            said += ["blocks"] if old else []
        if known.source == self._did and self._index.follow(stream, segment, known.descriptor, reader, self._read):
            said.append("keys")
        erased = known.status == "erased"
        return [self._confirm(stream, segment, known.version, kept=kind, erased=erased) for kind in said]

    def _listed(self, descriptor: CID) -> set[CID] | None:
        """A descriptor, its manifest and its blocks; None when the descriptor is not here."""
        data = self._read(descriptor)
        if data is None:
            return None
        try:
            table = read_descriptor(data)
        except Tampered:  # whoever registered this registered no descriptor: there are no blocks to find by it
            return None
        return {descriptor, table.manifest, *table.blocks}

    def _read(self, cid: CID) -> bytes | None:
        try:
            return None if self._blocks is None else self._blocks.get(cid)
        except CareMeshError:
            return None

    def _confirm(self, stream: StreamId, segment: Count, version: Count, *, kept: Kept, erased: bool) -> bytes:
        said = ErasureConfirmation(
            stream=stream,
            segment=segment,
            version=version,
            erased=erased,
            member=self._did,
            kept=kept,
            at=max(self._clock(), self._ledger.header().time),
        )
        return codec.encode(custody.sign_payload(custody.ERASURE_CONFIRMATION, said, self._key))

    def _keys(self, start: bytes) -> Iterator[bytes]:
        """Keys of rows from one on, some at a time: no transaction stays open while they are looked at."""
        while True:
            with self._env.begin() as txn, txn.cursor() as cursor:
                some = []
                if cursor.set_range(start):
                    some = [bytes(key) for key in itertools.islice(cursor.iternext(values=False), _AT_ONCE)]
            for key in some:
                if not key.startswith(_ROW):
                    return
                yield key[len(_ROW) :]
            if len(some) < _AT_ONCE:
                return
            start = some[-1] + b"\0"

    def _rows(self, prefix: bytes = _ROW) -> Iterator[tuple[tuple[StreamId, Count], CID]]:
        for key in self._keys(prefix):
            if not (_ROW + key).startswith(prefix):
                return
            segment = int.from_bytes(key[_STREAM_BYTES : _STREAM_BYTES + _INDEX_BYTES])
            yield (key[:_STREAM_BYTES], segment), CID(key[_STREAM_BYTES + _INDEX_BYTES :])

    def _put(self, rows: dict[bytes, bytes]) -> None:
        if rows:
            try:
                with self._env.begin(write=True) as txn:
                    for key, value in rows.items():
                        txn.put(key, value)
            except lmdb.Error as error:
                raise StorageFailed(STORAGE_FAILED, "holdings") from error

    def _delete(self, keys: list[bytes]) -> None:
        try:
            with self._env.begin(write=True) as txn:
                for key in keys:
                    txn.delete(key)
        except lmdb.Error as error:
            raise StorageFailed(STORAGE_FAILED, "holdings") from error


def _row(stream: StreamId, segment: Count, descriptor: CID | None = None) -> bytes:
    name = b"" if descriptor is None else bytes(descriptor)
    return _ROW + stream + segment.to_bytes(_INDEX_BYTES) + name
