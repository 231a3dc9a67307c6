"""Where a member keeps its directory: LMDB, every version of every entry, found by id or identifier.

    e/<type>/<id>/<n>              the n-th version, signed (n: 4 bytes, big-endian; the highest is the newest)
    i/<type>/<identifier>/<id>     16 bytes stand for an identifier; the value is empty

One writing process. What ``put`` has returned for is durable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import lmdb

from caremesh import codec
from caremesh.blobs.pages import check_pages
from caremesh.errors import Refused, StorageFailed
from caremesh.fhir.directory import (
    MAX_ANSWER_BYTES,
    MAX_FITTING,
    TOO_MUCH,
    DirectoryAnswer,
    DirectoryEntry,
    open_entry,
    read_query,
)
from caremesh.fhir.references import Condition
from caremesh.source import errors
from caremesh.types import Count, Did, Multikey

_MAP_BYTES: Final = 1024**3


class Directory:
    """A member's signed directory on disk. Close it."""

    def __init__(self, folder: Path, member: Did, node_key: Multikey) -> None:
        """Open or create. Entries are checked against ``node_key`` whenever they are read.

        Raises StorageFailed source.05, Tampered storage.03.
        """
        self._member = member
        self._node_key = node_key
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            check_pages(folder)
            self._env = lmdb.open(str(folder), map_size=_MAP_BYTES, max_dbs=0)
        except (OSError, lmdb.Error) as error:
            raise StorageFailed(errors.DIRECTORY_FAILED, folder.name) from error

    def close(self) -> None:
        """Let go of the folder."""
        self._env.close()

    def put(self, signed: Sequence[bytes]) -> Count:
        """Keep signed entries, all or none; how many were new. The same resource again changes nothing.

        Raises Tampered as ``open_entry``, StorageFailed source.05.
        """
        entries = [(self._open(data), data) for data in signed]
        new = 0
        try:
            with self._env.begin(write=True) as txn:
                for entry, data in entries:
                    name = _name("e", entry.type, entry.id)
                    versions = [self._open(value).data for _, value in _under(txn, name)]
                    if entry.data in versions:
                        continue
                    txn.put(name + len(versions).to_bytes(4), data)
                    for identifier in entry.identifiers:
                        txn.put(_name("i", entry.type, identifier) + entry.id.encode(), b"")
                    new += 1
        except lmdb.Error as error:
            raise StorageFailed(errors.DIRECTORY_FAILED) from error
        return new

    def versions(self, type_: str, id_: str) -> list[bytes]:
        """All signed versions of a resource, the oldest first; empty when there is none."""
        with self._env.begin() as txn:
            return [value for _, value in _under(txn, _name("e", type_, id_))]

    def get(self, type_: str, id_: str) -> DirectoryEntry | None:
        """The newest version of a resource. Raises Tampered custody.NN, fhir.34."""
        found = self.versions(type_, id_)
        return self._open(found[-1]) if found else None

    def find(self, condition: Condition) -> list[str]:
        """Ids of the resources of the condition's type that fit it now, sorted."""
        if condition.id:
            return [condition.id] if self.versions(condition.type, condition.id) else []
        prefix = _name("i", condition.type, condition.identifier)
        with self._env.begin() as txn:
            ids = [rest.decode() for rest, _ in _under(txn, prefix)]
        return [
            id_ for id_ in ids if (entry := self.get(condition.type, id_)) and condition.identifier in entry.identifiers
        ]

    def answer(self, query: bytes) -> bytes:
        """A ``DirectoryAnswer`` to another member's ``DirectoryQuery``.

        Raises BadInput codec.NN, fhir.46 for what is none; Refused fhir.47 when less has to be asked for at a time.
        """
        found, size = [], 0
        wanted = read_query(query).wanted
        for one in wanted:
            fitting = [self.versions(one.type, id_)[-1] for id_ in self.find(one)[:MAX_FITTING]]
            found.append(fitting)
            size += sum(map(len, fitting))
            if size > MAX_ANSWER_BYTES:
                raise Refused(TOO_MUCH)
        return codec.encode(DirectoryAnswer(found=found))

    def entries(self) -> Iterator[bytes]:
        """The newest signed version of everything, in order of type and id."""
        newest: dict[bytes, bytes] = {}
        with self._env.begin() as txn:
            for rest, value in _under(txn, b"e/"):
                newest[rest[:-4]] = value
        yield from newest.values()

    def _open(self, data: bytes) -> DirectoryEntry:
        return open_entry(data, self._member, self._node_key)


def _name(kind: str, type_: str, rest: str | bytes) -> bytes:
    return f"{kind}/{type_}/".encode() + (rest.encode() if isinstance(rest, str) else rest) + b"/"


def _under(txn: lmdb.Transaction, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(rest of the key, value) of everything that begins with a prefix, in order."""
    cursor = txn.cursor()
    for key, value in cursor.iternext() if cursor.set_range(prefix) else ():
        if not bytes(key).startswith(prefix):
            break
        yield bytes(key[len(prefix) :]), bytes(value)
