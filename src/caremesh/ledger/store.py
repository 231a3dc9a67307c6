"""State on disk: one LMDB environment, one writer, many readers, one synced transaction per block.

    state    H(key) → leaf hash, key, value      what the authenticated map is rebuilt from
    undo     height → what keys and buckets held before the block
    blocks   height → block record, as the engine gave it
    results  height → ids, results and events of the block's transactions
    txs      id of a transaction → height and position
    history  level, index → a perfect subtree of the RFC 6962 log
    meta     head, genesis; after a restore the set that signs the next block

LMDB writes whole transactions or none: data pages first, then a synced switch of the root page. Its address space
(``map_bytes``) grows by doubling, for which no transaction may be open in the process: ``Gate`` sees to that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import sha256
from typing import Any, Final, Protocol

import lmdb
import msgspec

from caremesh import codec
from caremesh.errors import BadInput, ErrorCode, StorageFailed, Tampered, WrongLedger
from caremesh.ledger.authenticated_map import Change
from caremesh.ledger.records import DAMAGED, key_in, leaf_in, open_record, seal, state_record, unseal, value_in
from caremesh.ledger.state import read_value
from caremesh.ledger.trie import SLOT_BITS, Entry, leaf_hash
from caremesh.types import Digest, Height, Seconds

MAP_BYTES: Final = 1 << 30
"""Address space to begin with; the file is as large as what it holds."""
_MAX_MAP_BYTES: Final = 1 << 46
DATABASES: Final = ("state", "undo", "blocks", "results", "txs", "history", "meta")
_BY_HEIGHT: Final = ("undo", "blocks", "results")
_HEAD: Final = b"head"
_GENESIS: Final = b"genesis"
_SIGNERS: Final = b"signers"
_MAX_READERS: Final = 1024
_AFTER_ALL: Final = b"\xff" * 33

NOT_WRITTEN = ErrorCode(
    "ledger.30",
    "The ledger's disk did not take the write; the last committed block is unchanged.",
    "Free space, or make the folder writable, and start again.",
)
OTHER_CHAIN = ErrorCode("ledger.31", "This folder holds a ledger of another chain.", "Name the folder of this chain.")
NOT_KEPT = ErrorCode("ledger.11", "This height is not, or no longer, kept.", "Ask for a newer height.")
NOT_READ = ErrorCode(
    "ledger.33", "The ledger's database cannot be opened or read.", "Look at the folder's permissions."
)


class Gate(Protocol):
    """Keeps readers of this process out while the writer must be alone."""

    def shared(self) -> AbstractContextManager[None]:
        """Held while reading; many at a time, and again within itself."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Held while committing; alone."""


class OneThread:
    """The gate of a process in which one thread does everything."""

    def shared(self) -> AbstractContextManager[None]:
        """Nobody to wait for."""
        return nullcontext()

    def exclusive(self) -> AbstractContextManager[None]:
        """Nobody to wait for."""
        return nullcontext()


class Head(msgspec.Struct, frozen=True):
    """The last commit. ``header``: hash of the last header; 32 zero bytes at genesis."""

    chain: str
    height: Height
    time: Seconds
    app_hash: Digest
    header: Digest


class Commit(msgspec.Struct, frozen=True):
    """All that one block writes."""

    head: Head
    changes: list[tuple[bytes, bytes | None, bytes | None]]
    """(key, value before, value now)"""
    leaves: list[Change]
    """For each of them its place in the map, and its leaf hash now."""
    undo: bytes
    block: bytes
    results: bytes
    txs: list[bytes]
    """Ids of its transactions, in order."""
    history: list[tuple[int, int, Digest]]
    undo_from: Height
    """Undo records below this height go."""
    keep_from: Height
    """Blocks, results and the index of transactions below this height go."""


class Results(msgspec.Struct, frozen=True):
    """The part of a results record that pruning reads."""

    txs: list[bytes]


class Read:
    """The database as of one moment, for as long as it is open."""

    def __init__(self, txn: lmdb.Transaction, databases: dict[str, Any]) -> None:
        self._txn = txn
        self._databases = databases
        self._slots: lmdb.Cursor | None = None

    def head(self) -> Head | None:
        """The last commit, or None before genesis."""
        stored = self._sealed("meta", _HEAD)
        return None if stored is None else read_value(stored, Head)

    def genesis(self) -> Digest | None:
        """SHA-256 of the genesis document."""
        return self._sealed("meta", _GENESIS)

    def signers(self) -> Digest | None:
        """What was restored last says of who signs the block after it, when it says so."""
        return self._sealed("meta", _SIGNERS)

    def get(self, key: bytes) -> bytes | None:
        """The value of a state key, checked against its leaf. Raises Tampered ledger.32."""
        digest = sha256(key).digest()
        record = self._txn.get(digest, db=self._databases["state"])
        return None if record is None else value_in(digest, key, bytes(record))

    def record(self, digest: Digest) -> tuple[bytes, bytes] | None:
        """(key, value) of the state key with this SHA-256. Raises Tampered ledger.32."""
        record = self._txn.get(digest, db=self._databases["state"])
        return None if record is None else open_record(digest, record)

    def entries(self) -> int:
        """How many keys state has."""
        return int(self._txn.stat(self._databases["state"])["entries"])

    def slot(self, number: int, bits: int = SLOT_BITS) -> list[Entry]:
        """The entries whose first bits are this number, in order of digests; ``bits``: at most 32."""
        end = (number + 1 << 32 - bits).to_bytes(5, "big")[1:] if number + 1 < 1 << bits else _AFTER_ALL
        found: list[Entry] = []
        if self._slots is None:
            self._slots = self._txn.cursor(db=self._databases["state"])
        if self._slots.set_range((number << 32 - bits).to_bytes(4, "big")):
            for digest, record in self._slots.iternext():
                if bytes(digest) >= end:
                    break
                found.append((bytes(digest), leaf_in(record)))
        return found

    def leaves(self, saw: Callable[[bytes], None] = lambda _: None) -> Iterator[Entry]:
        """All entries, in order of digests. ``saw`` is told every key."""
        with self._txn.cursor(db=self._databases["state"]) as cursor:
            for digest, record in cursor:
                saw(key_in(record))
                yield bytes(digest), leaf_in(record)

    def records(self, start: Digest = b"") -> Iterator[tuple[bytes, bytes, bytes]]:
        """(digest, key, value) from a digest on, in order, each checked. Raises Tampered ledger.32."""
        with self._txn.cursor(db=self._databases["state"]) as cursor:
            if cursor.set_range(start):
                for digest, record in cursor:
                    key, value = open_record(bytes(digest), record)
                    yield bytes(digest), key, value

    def undo(self, height: Height) -> bytes | None:
        """What keys and buckets held before the block at this height."""
        return self._sealed("undo", height_key(height))

    def block(self, height: Height) -> bytes | None:
        """The block record, or None when it is not (or no longer) kept."""
        return self._sealed("blocks", height_key(height))

    def results(self, height: Height) -> bytes | None:
        """Results and events of a block."""
        return self._sealed("results", height_key(height))

    def place_of(self, tx_id: bytes) -> tuple[Height, int] | None:
        """(height, position) of a transaction in a kept block."""
        stored = self._txn.get(tx_id, db=self._databases["txs"])
        return None if stored is None else (int.from_bytes(stored[:8], "big"), int.from_bytes(stored[8:], "big"))

    def find_subtree(self, level: int, index: int) -> Digest | None:
        """The hash of a perfect subtree of the history, None for one that was never here."""
        stored = self._txn.get(_subtree_key(level, index), db=self._databases["history"])
        return None if stored is None else bytes(stored)

    def subtree(self, level: int, index: int) -> Digest:
        """The hash of a perfect subtree of the history. Raises BadInput ledger.11 for one that was never here."""
        found = self.find_subtree(level, index)
        if found is None:
            raise BadInput(NOT_KEPT, f"history {level}.{index}")
        return found

    def first_height(self, database: str) -> Height | None:
        """The oldest height kept in ``blocks``, ``results`` or ``undo``."""
        with self._txn.cursor(db=self._databases[database]) as cursor:
            return int.from_bytes(cursor.key(), "big") if cursor.first() else None

    def check_records(self, database: str) -> int:
        """Check every record of a database but state's; how many there are. Raises Tampered ledger.32."""
        count = 0
        with self._txn.cursor(db=self._databases[database]) as cursor:
            for key, record in cursor:
                unseal(database, bytes(key), bytes(record))
                count += 1
        return count

    def _sealed(self, database: str, key: bytes) -> bytes | None:
        record = self._txn.get(key, db=self._databases[database])
        return None if record is None else unseal(database, key, bytes(record))


class Store:
    """The ledger's database in one folder."""

    def __init__(
        self,
        folder: str,
        chain: str,
        *,
        readonly: bool = False,
        gate: Gate | None = None,
        map_bytes: int = MAP_BYTES,
        moved: Callable[[], bool] = lambda: False,
    ) -> None:
        """Open or create. ``moved``: whether another file is in the place of the one that was opened.

        Raises WrongLedger ledger.31, StorageFailed ledger.30 and 33, Tampered ledger.32.
        """
        self.chain: Final = chain
        self.gate: Final[Gate] = gate or OneThread()
        self._folder: Final = folder
        self._readonly: Final = readonly
        self._moved: Final = moved
        self._databases: dict[str, Any] = {}
        self._open(map_bytes)
        with self.read() as read:
            head = read.head()
        if head is not None and head.chain != chain:
            self._env.close()
            raise WrongLedger(OTHER_CHAIN)

    def close(self) -> None:
        """Let go of the files."""
        with self.gate.exclusive():
            self._env.close()

    @contextmanager
    def read(self) -> Iterator[Read]:
        """The database as of now. Keep it short: a reader pins pages, and growth waits for it."""
        with self.gate.shared(), _translated(StorageFailed(NOT_READ)):
            if self._moved():
                self.reopen()
            try:
                txn = self._env.begin()
            except lmdb.MapResizedError:  # the writer of another process has grown the map
                self._env.set_mapsize(0)
                txn = self._env.begin()
            with txn:
                yield Read(txn, self._databases)

    def commit(self, commit: Commit) -> None:
        """Write a block, whole and synced, or nothing; the caller holds the gate. Raises StorageFailed ledger.30."""
        self.write(lambda txn: self._put_block(txn, commit))

    def write(self, fill: Callable[[lmdb.Transaction], None]) -> None:
        """One synced transaction; ``fill`` may run again after the map has grown. Raises StorageFailed ledger.30."""
        with _translated(StorageFailed(NOT_WRITTEN)):
            while True:
                try:
                    with self._env.begin(write=True) as txn:
                        fill(txn)
                    return
                except (lmdb.MapFullError, lmdb.MapResizedError):
                    size = 2 * self._env.info()["map_size"]
                    if size > _MAX_MAP_BYTES:
                        raise
                    self._env.set_mapsize(size)

    def begin_restore(self, chain: str) -> None:
        """Empty a store that holds no ledger yet. Raises WrongLedger ledger.31 when it holds one."""
        with self.read() as read:
            if read.head() is not None or chain != self.chain:
                raise WrongLedger(OTHER_CHAIN)
        self.write(lambda txn: txn.drop(self._databases["state"], delete=False))

    def restore_records(self, rows: list[tuple[bytes, bytes]]) -> None:
        """Write (key, value) rows of a snapshot; nothing counts before ``finish_restore``."""
        found = []
        for key, value in rows:
            digest = sha256(key).digest()
            found.append((digest, state_record(leaf_hash(digest, sha256(value).digest()), key, value)))
        self.restore_digests(found)

    def restore_digests(self, rows: list[tuple[Digest, bytes]]) -> None:
        """Write rows that are (SHA-256 of the key, its record) already; fastest in order of the first."""
        self.write(lambda txn: _put_many(txn, self._databases["state"], rows))

    def finish_restore(
        self, head: Head, genesis: Digest, history: list[tuple[int, int, Digest]], signers: Digest | None = None
    ) -> None:
        """Make restored records the state at ``head``. ``signers``: the set that signs the next block, by its hash."""

        def fill(txn: lmdb.Transaction) -> None:
            self._put_subtrees(txn, history)
            self._put(txn, "meta", _GENESIS, genesis)
            self._put(txn, "meta", _HEAD, codec.encode(head))
            if signers is not None:
                self._put(txn, "meta", _SIGNERS, signers)

        self.write(fill)

    def compact(self, folder: str) -> None:
        """Copy the database into an empty folder without its free pages, in which old values may still lie."""
        with self.gate.shared(), _translated(StorageFailed(NOT_WRITTEN)):
            self._env.copy(folder, compact=True)

    def reopen(self, between: Callable[[], None] = lambda: None) -> None:
        """Let go of the files, do what ``between`` does to them, and open them again; the caller holds the gate."""
        map_bytes = self._env.info()["map_size"]
        self._env.close()
        try:
            between()
        finally:
            self._open(map_bytes)

    def size_bytes(self) -> int:
        """How much of the map is in use."""
        return int((self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"])

    def _open(self, map_bytes: int) -> None:
        with _translated(StorageFailed(NOT_READ)):
            self._env = lmdb.open(
                self._folder,
                map_size=map_bytes,
                max_dbs=len(DATABASES),
                max_readers=_MAX_READERS,
                readonly=self._readonly,
            )
            try:
                self._databases.update(
                    (name, self._env.open_db(name.encode(), create=not self._readonly)) for name in DATABASES
                )
            except lmdb.Error:
                self._env.close()  # a process opens a folder once: what is left open could not be opened again
                raise

    def _put_block(self, txn: lmdb.Transaction, commit: Commit) -> None:
        height = height_key(commit.head.height)
        state = self._databases["state"]
        rows: list[tuple[bytes, bytes]] = []
        for (key, _, value), (digest, leaf) in zip(commit.changes, commit.leaves, strict=True):
            if value is None or leaf is None:
                txn.delete(digest, db=state)
            else:
                rows.append((digest, state_record(leaf, key, value)))
        _put_many(txn, state, sorted(rows))
        self._put_subtrees(txn, commit.history)
        places = [(tx_id, height + position.to_bytes(4, "big")) for position, tx_id in enumerate(commit.txs)]
        _put_many(txn, self._databases["txs"], places, overwrite=False)
        for name, payload in (("undo", commit.undo), ("blocks", commit.block), ("results", commit.results)):
            self._put(txn, name, height, payload)
        if not commit.head.height:
            self._put(txn, "meta", _GENESIS, sha256(commit.block).digest())
        self._put(txn, "meta", _HEAD, codec.encode(commit.head))
        self._prune(txn, commit)

    def _prune(self, txn: lmdb.Transaction, commit: Commit) -> None:
        for height in self._below(txn, "results", commit.keep_from):
            stored = txn.get(height, db=self._databases["results"])
            for tx_id in read_value(unseal("results", height, bytes(stored or b"")), Results).txs:
                place = txn.get(tx_id, db=self._databases["txs"])
                if place is not None and bytes(place[:8]) == height:
                    txn.delete(tx_id, db=self._databases["txs"])
        for name in _BY_HEIGHT:
            bound = commit.undo_from if name == "undo" else commit.keep_from
            for height in self._below(txn, name, bound):
                txn.delete(height, db=self._databases[name])

    def _below(self, txn: lmdb.Transaction, name: str, bound: Height) -> list[bytes]:
        found = []
        with txn.cursor(db=self._databases[name]) as cursor:
            for key in cursor.iternext(keys=True, values=False):
                if bytes(key) >= height_key(bound):
                    break
                found.append(bytes(key))
        return found

    def _put_subtrees(self, txn: lmdb.Transaction, subtrees: list[tuple[int, int, Digest]]) -> None:
        rows = [(_subtree_key(level, index), digest) for level, index, digest in subtrees]
        _put_many(txn, self._databases["history"], rows)

    def _put(self, txn: lmdb.Transaction, name: str, key: bytes, payload: bytes) -> None:
        txn.put(key, seal(name, key, payload), db=self._databases[name])


def height_key(height: Height) -> bytes:
    """A height as a key: 8 bytes, in order."""
    return height.to_bytes(8, "big")


def _put_many(txn: lmdb.Transaction, database: Any, rows: list[tuple[bytes, bytes]], *, overwrite: bool = True) -> None:
    with txn.cursor(db=database) as cursor:
        cursor.putmulti(rows, overwrite=overwrite)


def _subtree_key(level: int, index: int) -> bytes:
    return bytes([level]) + index.to_bytes(8, "big")


@contextmanager
def _translated(failure: StorageFailed) -> Iterator[None]:
    """LMDB's errors as ours: damage is Tampered, all else is the disk's failure."""
    try:
        yield
    except (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.VersionMismatchError) as error:
        raise Tampered(DAMAGED, "data.mdb") from error
    except (lmdb.Error, OSError) as error:
        raise failure from error
