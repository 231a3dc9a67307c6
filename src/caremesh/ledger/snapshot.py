"""The whole state at one height, equal byte for byte on every replica, in chunks that each prove themselves.

A snapshot is a manifest and 256 chunks. Chunk i holds the keys whose SHA-256 begins with byte i, in order of that
hash, as the DAG-CBOR of [key, value, key, value, …]: one subtree of the authenticated map, whose root is
``manifest.roots[i]``. The 256 roots lead to the app hash, and that is in a header which one must trust already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final, Literal

import msgspec

from caremesh import codec
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, ErrorCode, Tampered
from caremesh.ledger import history
from caremesh.ledger.blocks import Header, header_hash
from caremesh.ledger.past import Past, head_of
from caremesh.ledger.state import read_value
from caremesh.ledger.store import NOT_KEPT, Head, Read, Store
from caremesh.ledger.trie import EMPTY, Entry, bucket_of, leaf_hash, subtree_root, upper_hash
from caremesh.types import Digest, Height, Seconds

CHUNKS: Final = 256
_BUCKETS: Final = 256
"""Buckets of a chunk."""

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
        head, genesis = read.head(), read.genesis()
    if head is None or genesis is None:
        raise BadInput(NOT_KEPT, "before genesis")
    past = Past(head.height)
    roots = [_chunk_root(_rows(store, past, number)) for number in range(CHUNKS)]
    yield codec.encode(Manifest(1, head.chain, genesis, head.height, head.time, head.app_hash, head.header, roots))
    for number in range(CHUNKS):
        yield codec.encode([part for row in _rows(store, past, number) for part in row])


def restore(store: Store, frames: Iterable[bytes], header: bytes) -> Head:
    """Fill an empty store from a manifest and its chunks. ``header``: the bytes of a header that was verified.

    Nothing counts before every chunk has proven itself. Raises Tampered snapshot.NN, which names the chunk, and
    WrongLedger ledger.31, StorageFailed ledger.30.
    """
    parts = iter(frames)
    manifest = _checked(next(parts, b""), header)
    store.begin_restore(manifest.chain)
    log = history.frontier({})
    for number in range(CHUNKS):
        frame = next(parts, None)
        if frame is None:
            raise Tampered(INCOMPLETE, f"chunk {number}")
        rows = _read_chunk(frame, number, manifest.roots[number])
        store.restore_records(rows)
        for key, value in rows:
            if key == history.STATE_KEY:
                log = read_value(value, history.Frontier)
    if next(parts, None) is not None:
        raise Tampered(INCOMPLETE, f"chunk {CHUNKS}")
    head = Head(manifest.chain, manifest.height, manifest.time, manifest.app_hash, manifest.header)
    store.finish_restore(head, manifest.genesis, history.peaks_of(log))
    return head


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


def _rows(store: Store, past: Past, number: int) -> list[tuple[bytes, bytes]]:
    """(key, value) of a chunk at the height of ``past``, in order of the keys' hashes."""
    with store.read() as read:
        past.extend(read, head_of(read))
        rows = {digest: (key, value) for digest, key, value in _records(read, number)}
    for key, value in past.values.items():
        digest = sha256(key)
        if digest[0] != number:
            continue
        if value is None:
            rows.pop(digest, None)
        else:
            rows[digest] = (key, value)
    return [rows[digest] for digest in sorted(rows)]


def _records(read: Read, number: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    for row in read.records(bytes([number])):
        if row[0][0] != number:
            return
        yield row


def _read_chunk(frame: bytes, number: int, root: Digest) -> list[tuple[bytes, bytes]]:
    flat: Any = codec.decode(frame)
    if not isinstance(flat, list) or len(flat) % 2 or not all(isinstance(part, bytes) for part in flat):
        raise Tampered(BAD_CHUNK, f"chunk {number}")
    rows = list(zip(flat[::2], flat[1::2], strict=True))
    digests = [sha256(key) for key, _ in rows]
    in_order = all(one < two for one, two in pairwise(digests))
    if not in_order or any(digest[0] != number for digest in digests) or _chunk_root(rows) != root:
        raise Tampered(BAD_CHUNK, f"chunk {number}")
    return rows


def _chunk_root(rows: list[tuple[bytes, bytes]]) -> Digest:
    """The root of the subtree over a chunk's 256 buckets."""
    buckets: list[list[Entry]] = [[] for _ in range(_BUCKETS)]
    for key, value in rows:
        digest = sha256(key)
        buckets[bucket_of(digest) % _BUCKETS].append((digest, leaf_hash(digest, sha256(value))))
    return _fold([subtree_root(entries) if entries else EMPTY for entries in buckets])


def _fold(level: list[Digest]) -> Digest:
    while len(level) > 1:
        level = [upper_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=True)]
    return level[0]
