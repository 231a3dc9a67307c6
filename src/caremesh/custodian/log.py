"""The release log as this custodian keeps it: one counted hash chain per stream, in an LMDB environment of its own.

Format and checks are in ``sealing/release_log.py``. An entry is durable before anything is released (``custodian.py``).
Beside the log are the heads of the last roots that were made to be anchored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import lmdb
from msgspec import Struct

from caremesh import codec
from caremesh.blobs.durable import STORAGE_FAILED
from caremesh.blobs.pages import check_pages
from caremesh.codec import CID
from caremesh.custodian.errors import LOG_BROKEN
from caremesh.errors import BadInput, CareMeshError, StorageFailed, Tampered
from caremesh.sealing.release_log import START, Anchor, LogEntry, LogHead, check_chain, link_of
from caremesh.types import Count, Digest, ReceiptId, Seconds, StreamId

_HEAD_PREFIX: Final = b"head/"
_ENTRY_PREFIX: Final = b"entry/"
_ANCHORS: Final = (b"anchor/0", b"anchor/1")
_MAP_SIZE_BYTES: Final = 1 << 34
"""Address space reserved, not disk used."""
T = TypeVar("T")


class _Row(Struct, frozen=True):
    stream: StreamId
    head: LogHead


class ToLog(NamedTuple):
    """What one request releases."""

    stream: StreamId
    receipt: ReceiptId
    descriptors: list[CID]


class ReleaseLog:
    """The log of one custodian, in an LMDB environment of its own; one writer."""

    def __init__(self, folder: Path) -> None:
        """Open or create. Raises StorageFailed storage.01, Tampered custodian.21."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._cached: dict[Digest, Anchor] = {}
            check_pages(folder, LOG_BROKEN)
            with _told():
                self._env = lmdb.open(str(folder), map_size=_MAP_SIZE_BYTES)
        except OSError as error:
            raise StorageFailed(STORAGE_FAILED, folder.name) from error

    def append_each(self, asked: Sequence[ToLog], at: Seconds) -> list[list[LogEntry] | CareMeshError]:
        """Log the releases of several requests in one durable step: what each came to, in order, by itself all or none.

        Whatever is logged, is logged here. Raises StorageFailed storage.01: then nothing is.
        """
        answers: list[list[LogEntry] | CareMeshError] = []
        with _told(), self._env.begin(write=True) as txn:
            for each in asked:
                try:
                    with self._env.begin(write=True, parent=txn) as part:
                        answers.append(_append(part, each, at))
                except Tampered as error:
                    answers.append(error)
        return answers

    def entries(self, stream: StreamId) -> tuple[list[LogEntry], LogHead]:
        """All entries of a stream in order, and the head. Raises Tampered custodian.21."""
        with _told(), self._env.begin() as txn:
            head = _head(txn, stream)
            stored = [txn.get(_entry_key(stream, index)) for index in range(head.count)]
        if not all(stored):
            raise Tampered(LOG_BROKEN, f"entry {stored.index(None)}")
        entries = [_read(data, LogEntry, f"entry {number}") for number, data in enumerate(stored) if data is not None]
        check_chain(stream, entries, head)
        return entries, head

    def heads(self) -> dict[StreamId, LogHead]:
        """The head of every stream that has entries. Raises Tampered custodian.21."""
        with _told(), self._env.begin() as txn, txn.cursor() as cursor:
            found = {}
            if cursor.set_range(_HEAD_PREFIX):
                for key, value in cursor:
                    if not key.startswith(_HEAD_PREFIX):
                        break
                    found[bytes(key[len(_HEAD_PREFIX) :])] = _read(bytes(value), LogHead, "head")
            return found

    def anchor(self) -> Anchor:
        """All heads of now, whose root is to be anchored; kept, with those before. Raises StorageFailed storage.01."""
        made = Anchor(self.heads())
        if self._kept(0) != made.heads():
            self._put(
                {
                    _ANCHORS[1]: self._stored(_ANCHORS[0]),
                    _ANCHORS[0]: codec.encode([_Row(*row) for row in sorted(made.heads().items())]),
                }
            )
        return made

    def anchored(self, root: Digest) -> Anchor | None:
        """The heads under a root that was anchored; None when it is not one of the last two made."""
        for number in range(len(_ANCHORS)):
            found = self._cached.get(root) or Anchor(self._kept(number))
            if found.root == root:
                self._cached = {root: found}
                return found
        return None

    def close(self) -> None:
        """Let go of the files."""
        self._env.close()

    def _kept(self, number: int) -> dict[StreamId, LogHead]:
        stored = self._stored(_ANCHORS[number])
        return {row.stream: row.head for row in _read(stored, list[_Row], "anchor")} if stored else {}

    def _stored(self, key: bytes) -> bytes:
        with _told(), self._env.begin() as txn:
            return bytes(txn.get(key, b""))

    def _put(self, values: dict[bytes, bytes]) -> None:
        with _told(), self._env.begin(write=True) as txn:
            for key, value in values.items():
                txn.put(key, value)


def _append(txn: lmdb.Transaction, asked: ToLog, at: Seconds) -> list[LogEntry]:
    head = _head(txn, asked.stream)
    entries = []
    for descriptor in asked.descriptors:
        entry = LogEntry(asked.stream, head.count, head.link, asked.receipt, descriptor, at)
        if not txn.put(_entry_key(asked.stream, head.count), codec.encode(entry), overwrite=False):
            raise Tampered(LOG_BROKEN, f"entry {head.count}")
        head = LogHead(head.count + 1, link_of(entry))
        entries.append(entry)
    txn.put(_HEAD_PREFIX + asked.stream, codec.encode(head))
    return entries


def _entry_key(stream: StreamId, index: Count) -> bytes:
    return _ENTRY_PREFIX + stream + index.to_bytes(8)


def _head(txn: lmdb.Transaction, stream: StreamId) -> LogHead:
    stored = txn.get(_HEAD_PREFIX + stream)
    return LogHead(0, START) if stored is None else _read(bytes(stored), LogHead, "head")


def _read(data: bytes, kind: type[T], place: str) -> T:
    try:
        return codec.decode_as(data, kind)
    except BadInput as error:
        raise Tampered(LOG_BROKEN, place) from error


@contextmanager
def _told() -> Iterator[None]:
    """LMDB's errors as ours: damage is Tampered, all else is the disk's failure."""
    try:
        yield
    except (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.VersionMismatchError) as error:
        raise Tampered(LOG_BROKEN, "data.mdb") from error
    except lmdb.Error as error:
        raise StorageFailed(STORAGE_FAILED, "release log") from error
