"""State on disk: one LMDB environment, one writer, many readers, one synced transaction per block.

state    key → value
leaves   H(key) → H(value)        what the authenticated map is rebuilt from
undo     height → what the block changed, to prove at kept heights
blocks   height → block record, as the engine gave it
results  height → results and events of the block
history  index → leaf hash of the RFC 6962 log
meta     chain, height, time, app hash
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import lmdb
from msgspec import Struct

from caremesh import codec
from caremesh.crypto.hashes import sha256
from caremesh.errors import ErrorCode, StorageFailed, Tampered, WrongLedger
from caremesh.ledger.trie import Leaf
from caremesh.types import Digest, Height, Seconds

_MAP_BYTES: Final = 1 << 38
"""Address space reserved; the file is as large as what it holds."""
_DATABASES: Final = ("state", "leaves", "undo", "blocks", "results", "history", "meta")
_HEAD: Final = b"head"
_GENESIS: Final = b"genesis"
_MAX_READERS: Final = 512

NOT_WRITTEN = ErrorCode(
    "ledger.30",
    "The ledger's disk did not take the write; the last committed block is unchanged.",
    "Free space, or make the folder writable, and start again.",
)
OTHER_CHAIN = ErrorCode("ledger.31", "This folder holds a ledger of another chain.", "Name the folder of this chain.")
DAMAGED = ErrorCode(
    "ledger.32", "The ledger's database is damaged.", "Restore it from a snapshot, or let it follow the others anew."
)


class Head(Struct, frozen=True):
    """Where the ledger stands. ``header``: hash of the last header (the engine's), 32 zero bytes before the first."""

    chain: str
    height: Height
    time: Seconds
    app_hash: Digest
    header: Digest


class Commit(Struct, frozen=True):
    """All that one block writes."""

    head: Head
    changes: dict[bytes, bytes | None]
    undo: bytes
    block: bytes
    results: bytes
    leaves: list[Digest]
    """Leaf hashes that the history gains, from ``history_size`` on."""
    history_size: int
    drop_below: Height
    """Blocks, results and undo records below this height go."""


class Snapshot:
    """The state as one reader sees it, for as long as it is open."""

    def __init__(self, store: Store, txn: lmdb.Transaction) -> None:
        self._store = store
        self._txn = txn

    def get(self, key: bytes) -> bytes | None:
        """The value, or None when the key is absent."""
        value = self._txn.get(key, db=self._store.databases["state"])
        return None if value is None else bytes(value)


class Store:
    """The ledger's LMDB environment."""

    def __init__(self, folder: str, chain: str, *, readonly: bool = False) -> None:
        """Open or create. Raises WrongLedger ledger.31, StorageFailed ledger.30, Tampered ledger.32."""
        try:
            self._env = lmdb.open(
                folder, map_size=_MAP_BYTES, max_dbs=len(_DATABASES), max_readers=_MAX_READERS, readonly=readonly
            )
            self.databases = {name: self._env.open_db(name.encode(), create=not readonly) for name in _DATABASES}
        except lmdb.InvalidError as error:
            raise Tampered(DAMAGED, "data.mdb") from error
        except (lmdb.Error, OSError) as error:
            raise StorageFailed(NOT_WRITTEN) from error
        head = self.head()
        if head is not None and head.chain != chain:
            self._env.close()
            raise WrongLedger(OTHER_CHAIN)
        self.chain = chain

    def close(self) -> None:
        """Let go of the files."""
        self._env.close()

    def head(self) -> Head | None:
        """The last commit, or None before genesis."""
        stored = self._get("meta", _HEAD)
        return None if stored is None else codec.decode_as(stored, Head)

    def genesis(self) -> Digest | None:
        """SHA-256 of the genesis document."""
        return self._get("meta", _GENESIS)

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """The committed state, unchanging while the block runs. Open in the thread that uses it."""
        with self._env.begin() as txn:
            yield Snapshot(self, txn)

    def get(self, key: bytes) -> bytes | None:
        """One value of the committed state."""
        return self._get("state", key)

    def scan(self, prefix: bytes, below: bytes) -> list[bytes]:
        """State keys that start with ``prefix`` and sort below ``below``."""
        found = []
        with self._env.begin() as txn, txn.cursor(db=self.databases["state"]) as cursor:
            if cursor.set_range(prefix):
                for key in cursor.iternext(values=False):
                    if not bytes(key).startswith(prefix) or bytes(key) >= below:
                        break
                    found.append(bytes(key))
        return found

    def bucket(self, bucket: int) -> list[Leaf]:
        """The leaves whose hashed key starts with these 16 bits, sorted."""
        prefix = bucket.to_bytes(2)
        found: list[Leaf] = []
        with self._env.begin() as txn, txn.cursor(db=self.databases["leaves"]) as cursor:
            if cursor.set_range(prefix):
                for hashed, value in cursor:
                    if bytes(hashed[:2]) != prefix:
                        break
                    found.append((bytes(hashed), bytes(value)))
        return found

    def leaves(self) -> Iterator[Leaf]:
        """All leaves, sorted."""
        with self._env.begin() as txn, txn.cursor(db=self.databases["leaves"]) as cursor:
            for hashed, value in cursor:
                yield bytes(hashed), bytes(value)

    def commit(self, commit: Commit, *, before_sync: Callable[[], None] = lambda: None) -> None:
        """Write a block, whole and synced, or nothing. Raises StorageFailed ledger.30."""
        height = _height_key(commit.head.height)
        try:
            with self._env.begin(write=True) as txn:
                for key, value in commit.changes.items():
                    hashed = sha256(key)
                    if value is None:
                        txn.delete(key, db=self.databases["state"])
                        txn.delete(hashed, db=self.databases["leaves"])
                    else:
                        txn.put(key, value, db=self.databases["state"])
                        txn.put(hashed, sha256(value), db=self.databases["leaves"])
                for offset, leaf in enumerate(commit.leaves):
                    txn.put((commit.history_size + offset).to_bytes(8), leaf, db=self.databases["history"])
                txn.put(height, commit.undo, db=self.databases["undo"])
                txn.put(height, commit.block, db=self.databases["blocks"])
                txn.put(height, commit.results, db=self.databases["results"])
                txn.put(_HEAD, codec.encode(commit.head), db=self.databases["meta"])
                if commit.head.height == 0:
                    txn.put(_GENESIS, sha256(commit.block), db=self.databases["meta"])
                for name in ("undo", "blocks", "results"):
                    self._drop_below(txn, name, commit.drop_below)
                before_sync()
        except lmdb.Error as error:
            raise StorageFailed(NOT_WRITTEN) from error

    def undo(self, height: Height) -> bytes | None:
        """What the block at this height changed."""
        return self._get("undo", _height_key(height))

    def block(self, height: Height) -> bytes | None:
        """The block record, or None when it is not (or no longer) kept."""
        return self._get("blocks", _height_key(height))

    def results(self, height: Height) -> bytes | None:
        """Results and events of a block."""
        return self._get("results", _height_key(height))

    def history_leaves(self, size: int) -> list[Digest]:
        """The first ``size`` leaf hashes of the history."""
        with self._env.begin() as txn:
            found = [txn.get(index.to_bytes(8), db=self.databases["history"]) for index in range(size)]
        return [bytes(leaf) for leaf in found if leaf is not None]

    def check(self, progress: Callable[[int], None] = lambda _: None) -> int:
        """Compare every value with the leaf of its key. Returns how many. Raises Tampered ledger.32 naming the key."""
        count = 0
        with self._env.begin() as txn:
            leaves = txn.stat(db=self.databases["leaves"])["entries"]
            with txn.cursor(db=self.databases["state"]) as cursor:
                for key, value in cursor:
                    if txn.get(sha256(bytes(key)), db=self.databases["leaves"]) != sha256(bytes(value)):
                        raise Tampered(DAMAGED, f"state key {bytes(key).hex()}")
                    count += 1
                    progress(count)
        if leaves != count:
            raise Tampered(DAMAGED, "a state key is missing")
        return count

    def _get(self, name: str, key: bytes) -> bytes | None:
        try:
            with self._env.begin() as txn:
                value = txn.get(key, db=self.databases[name])
                return None if value is None else bytes(value)
        except lmdb.CorruptedError as error:
            raise Tampered(DAMAGED, name) from error

    def _drop_below(self, txn: lmdb.Transaction, name: str, height: Height) -> None:
        with txn.cursor(db=self.databases[name]) as cursor:
            while cursor.first() and bytes(cursor.key()) < _height_key(height):
                cursor.delete()


def _height_key(height: Height) -> bytes:
    return height.to_bytes(8)
