"""The whole state at one height, equal byte for byte on every replica, in chunks that each prove themselves.

A snapshot is a manifest and 256 chunks. Chunk i holds the keys whose SHA-256 begins with byte i, in order of that
hash, as the DAG-CBOR of [key, value, key, value, …]: one subtree of the authenticated map, whose root is
``manifest.roots[i]``. The 256 roots lead to the app hash, and that is in a header which one must trust already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from typing import Any, Final, Literal, TypeAlias

import msgspec

from caremesh import codec
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, ErrorCode, Tampered
from caremesh.ledger import history
from caremesh.ledger.blocks import Header, header_hash
from caremesh.ledger.past import Past, head_of
from caremesh.ledger.records import DAMAGED, state_record
from caremesh.ledger.state import read_value
from caremesh.ledger.store import NOT_KEPT, Head, Read, Store
from caremesh.ledger.trie import EMPTY, Entry, bucket_of, leaf_hash, subtree_root, upper_hash
from caremesh.types import Digest, Height, Seconds

CHUNKS: Final = 256
_BUCKETS: Final = 256
"""Buckets of a chunk."""
Row: TypeAlias = tuple[Digest, Digest, bytes, bytes]
"""(SHA-256 of the key, leaf hash, key, value)"""

OTHER_STATE = ErrorCode(
    "snapshot.01", "This snapshot is not of the state that the trusted header names.", "Get one of that height."
)
BAD_CHUNK = ErrorCode("snapshot.02", "This part of the snapshot is not what its manifest says.", "Get it elsewhere.")
INCOMPLETE = ErrorCode("snapshot.03", "The snapshot ends too early, or does not end.", "Get it again.")


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the chunks add up to. ``genesis``: SHA-256 of the genesis document; ``header``: hash of the header."""

    v: Literal[1]
    chain: str
    genesis: Digest
    height: Height
    time: Seconds
    app_hash: Digest
    header: Digest
    roots: list[Digest]


def export(store: Store) -> Iterator[bytes]:
    """The manifest of the state at the head of now, then its chunks. Blocks may be committed meanwhile.

    Raises BadInput ledger.11 when that takes longer than the height is kept, Tampered ledger.32.
    """
    with store.read() as read:
        head = head_of(read)
    then = _Then(store, head.height)
    yield _manifest(store, head, [_chunk_root(then.rows(number)) for number in range(CHUNKS)])
    for number in range(CHUNKS):
        yield _frame(then.rows(number))


def take(store: Store, head: Head) -> Iterator[bytes]:
    """The chunks of the state at ``head``, then its manifest. Blocks may be committed meanwhile.

    Each chunk is one short read, so that whoever takes one after the other may leave time between them. Raises as
    ``export``, and Tampered ledger.32 when what is stored does not add up to the head's app hash.
    """
    then = _Then(store, head.height)
    roots = []
    for number in range(CHUNKS):
        rows = then.rows(number)
        roots.append(_chunk_root(rows))
        yield _frame(rows)
    if _fold(roots) != head.app_hash:
        raise Tampered(DAMAGED, f"height {head.height}")
    yield _manifest(store, head, roots)


class Restore:
    """An empty store that is filled from a snapshot, chunk by chunk in any order; nothing counts before ``finish``."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        """``manifest``: from ``read_manifest``, and of a header that is trusted. Raises WrongLedger ledger.31."""
        self.manifest: Final = manifest
        self._store: Final = store
        self._left: Final = set(range(CHUNKS))
        self._log = history.frontier({})
        store.begin_restore(manifest.chain)

    @property
    def missing(self) -> int | None:
        """The first chunk that is not there yet, None when all are."""
        return min(self._left, default=None)

    def put(self, number: int, frame: bytes) -> None:
        """Take in a chunk, once it has proven itself; it may come again.

        Raises Tampered snapshot.02, BadInput codec.NN, StorageFailed ledger.30.
        """
        if not 0 <= number < CHUNKS:
            raise Tampered(BAD_CHUNK, f"chunk {number}")
        rows = _read_chunk(frame, number, self.manifest.roots[number])
        if number not in self._left:
            return
        self._store.restore_digests([(digest, state_record(leaf, key, value)) for digest, leaf, key, value in rows])
        for _, _, key, value in rows:
            if key == history.STATE_KEY:
                self._log = read_value(value, history.Frontier)
        self._left.discard(number)

    def finish(self, signers: Digest | None = None) -> Head:
        """Make it the state of the store. ``signers``: see ``Store.finish_restore``. Raises Tampered snapshot.03."""
        if self.missing is not None:
            raise Tampered(INCOMPLETE, f"chunk {self.missing}")
        manifest = self.manifest
        head = Head(manifest.chain, manifest.height, manifest.time, manifest.app_hash, manifest.header)
        self._store.finish_restore(head, manifest.genesis, history.peaks_of(self._log), signers)
        return head


def restore(store: Store, frames: Iterable[bytes], header: bytes) -> Head:
    """Fill an empty store from a manifest and its chunks. ``header``: the bytes of a header that was verified.

    Nothing counts before every chunk has proven itself. Raises Tampered snapshot.NN, which names the chunk, and
    WrongLedger ledger.31, StorageFailed ledger.30.
    """
    parts = iter(frames)
    made = Restore(store, _checked(next(parts, b""), header))
    for number in range(CHUNKS):
        frame = next(parts, None)
        if frame is None:
            raise Tampered(INCOMPLETE, f"chunk {number}")
        made.put(number, frame)
    if next(parts, None) is not None:
        raise Tampered(INCOMPLETE, f"chunk {CHUNKS}")
    return made.finish()


def read_manifest(frame: bytes) -> Manifest:
    """A manifest whose roots lead to its app hash. Raises Tampered snapshot.02, BadInput codec.NN."""
    manifest = codec.decode_as(frame, Manifest)
    if len(manifest.roots) != CHUNKS or _fold(manifest.roots) != manifest.app_hash:
        raise Tampered(BAD_CHUNK, "manifest")
    return manifest


def _checked(frame: bytes, header: bytes) -> Manifest:
    trusted = codec.decode_as(header, Header)
    manifest = read_manifest(frame)
    named = (trusted.chain, trusted.height, trusted.time, trusted.app_hash, header_hash(header))
    if named != (manifest.chain, manifest.height, manifest.time, manifest.app_hash, manifest.header):
        raise Tampered(OTHER_STATE, f"height {manifest.height}")
    return manifest


class _Then:
    """The state at one height, chunk by chunk, while blocks are committed."""

    def __init__(self, store: Store, height: Height) -> None:
        self._store: Final = store
        self._past: Final = Past(height)
        self._changed: Final[list[dict[Digest, tuple[bytes, bytes | None]]]] = [{} for _ in range(CHUNKS)]
        self._seen = 0

    def rows(self, number: int) -> list[Row]:
        """Those of a chunk, in order. Raises BadInput ledger.11, Tampered ledger.32."""
        with self._store.read() as read:
            self._past.extend(read, head_of(read))
            rows = {digest: (key, value) for digest, key, value in _records(read, number)}
        values = self._past.values  # what is in it once stays as it is
        for key, value in islice(values.items(), self._seen, None):
            digest = sha256(key)
            self._changed[digest[0]][digest] = key, value
        self._seen = len(values)
        for digest, (key, before) in self._changed[number].items():
            if before is None:
                rows.pop(digest, None)
            else:
                rows[digest] = key, before
        return [_row(digest, *rows[digest]) for digest in sorted(rows)]


def _row(digest: Digest, key: bytes, value: bytes) -> Row:
    return digest, leaf_hash(digest, sha256(value)), key, value


def _manifest(store: Store, head: Head, roots: list[Digest]) -> bytes:
    with store.read() as read:
        genesis = read.genesis()
    if genesis is None:
        raise BadInput(NOT_KEPT, "before genesis")
    return codec.encode(Manifest(1, head.chain, genesis, head.height, head.time, head.app_hash, head.header, roots))


def _frame(rows: list[Row]) -> bytes:
    return codec.encode([part for _, _, key, value in rows for part in (key, value)])


def _records(read: Read, number: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    for row in read.records(bytes([number])):
        if row[0][0] != number:
            return
        yield row


def _read_chunk(frame: bytes, number: int, root: Digest) -> list[Row]:
    flat: Any = codec.decode(frame)
    if not isinstance(flat, list) or len(flat) % 2 or not all(isinstance(part, bytes) for part in flat):
        raise Tampered(BAD_CHUNK, f"chunk {number}")
    rows = [_row(sha256(key), key, value) for key, value in zip(flat[::2], flat[1::2], strict=True)]
    in_order = all(one[0] < two[0] for one, two in pairwise(rows))
    if not in_order or any(row[0][0] != number for row in rows) or _chunk_root(rows) != root:
        raise Tampered(BAD_CHUNK, f"chunk {number}")
    return rows


def _chunk_root(rows: list[Row]) -> Digest:
    """The root of the subtree over a chunk's 256 buckets."""
    buckets: list[list[Entry]] = [[] for _ in range(_BUCKETS)]
    for digest, leaf, _, _ in rows:
        buckets[bucket_of(digest) % _BUCKETS].append((digest, leaf))
    return _fold([subtree_root(entries) if entries else EMPTY for entries in buckets])


def _fold(level: list[Digest]) -> Digest:
    while len(level) > 1:
        level = [upper_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=True)]
    return level[0]
