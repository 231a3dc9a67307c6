"""The port for ciphertext by CID, and which errors may escape from it.

Every adapter passes ``tests/unit/blobs/test_block_store.py``. What a store promises:
- a block is what its name says: checked before it is kept and whenever it is read;
- ``put`` has happened durably when it returns; when it raises, no block of the call is acknowledged;
- a block is held once for each stream that stored it, and dropped when the last of them lets go;
- any number of threads may call.

    Tampered     blobs.01     bytes do not match their CID; the place is the CID
    Unavailable  blobs.02     no such block here; the place is the CID
    StorageFailed storage.01, blobs.04  the disk, or the service that keeps the blocks, did not do it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from caremesh import codec
from caremesh.codec import CID
from caremesh.errors import ErrorCode, Tampered

WRONG_BLOCK = ErrorCode(
    "blobs.01",
    "The block does not match its name (CID).",
    "Fetch it from another node; this copy is damaged or forged.",
)
NOT_HELD = ErrorCode("blobs.02", "This store does not hold the block.", "Fetch it from another node.")
TOO_LARGE = ErrorCode("blobs.03", "A block has at most 1 MiB.", "Cut it into smaller ones.")
NO_SERVICE = ErrorCode(
    "blobs.04",
    "The service that keeps the blocks did not answer, or refused; what was there before is unchanged.",
    "Look at its address, its keys and its free space, and try again.",
)


_BEFORE_HASH_BYTES: Final = 4
"""Of a CID: version, codec, hash function, and how long the hash is; all CIDs here are of SHA-256."""


class BlockStore(Protocol):
    """Ciphertext blocks by CID, each held for one or more streams (32-byte ids)."""

    def put(self, stream: bytes, cid: CID, data: bytes) -> None:
        """Hold a block for a stream; again is no error. Raises Tampered blobs.01, StorageFailed."""
        ...

    def put_all(self, stream: bytes, blocks: Mapping[CID, bytes]) -> None:
        """Hold all blocks for a stream, or on an error none. Raises Tampered blobs.01, StorageFailed."""
        ...

    def put_many(self, held: Mapping[bytes, Mapping[CID, bytes]]) -> None:
        """As ``put_all`` for several streams at once, all or on an error none. Raises as ``put_all``."""
        ...

    def get(self, cid: CID) -> bytes:
        """A block's bytes. Raises Unavailable blobs.02, Tampered blobs.01, StorageFailed."""
        ...

    def has(self, cid: CID) -> bool:
        """Whether the block is here; it is not read. Raises StorageFailed."""
        ...

    def delete(self, stream: bytes, cid: CID) -> None:
        """Let go of a block for a stream; one that is not held is no error. Raises StorageFailed."""
        ...

    def streams_of(self, cid: CID) -> list[bytes]:
        """The streams for which the block is held, sorted. Raises StorageFailed."""
        ...

    def names(self, after: CID | None, limit: int) -> list[CID]:
        """At most ``limit`` CIDs that are held for a stream, whether or not their bytes are still here.

        In an order of the store's own that does not change; those behind ``after``, which need not be held any more.
        Raises StorageFailed.
        """
        ...


class Gives(Protocol):
    """As much of a ``BlockStore`` as reading takes."""

    def get(self, cid: CID) -> bytes:
        """See ``BlockStore``."""
        ...


class Way(Gives, Protocol):
    """As much of a ``BlockStore`` as reading and bringing take: the way to another member's blocks."""

    def put_many(self, held: Mapping[bytes, Mapping[CID, bytes]]) -> None:
        """See ``BlockStore``."""
        ...


class CheckedBlocks(Mapping[CID, bytes]):
    """Blocks that were found to be what their CIDs name, so that nobody hashes them again. It does not change."""

    def __init__(self, *every: Mapping[CID, bytes]) -> None:
        """All of these, hashed unless they were. Raises Tampered blobs.01."""
        self._blocks: dict[CID, bytes] = {}
        for blocks in every:
            if not isinstance(blocks, CheckedBlocks):
                for cid, data in blocks.items():
                    check_block(cid, data)
            self._blocks.update(blocks)

    @classmethod
    def by_hash(cls, cid: CID, data: bytes, sha256: bytes | None) -> CheckedBlocks:
        """One block. ``sha256``: of these very bytes, where it was just worked out. Raises Tampered blobs.01."""
        if sha256 is None:
            return cls({cid: data})
        if bytes(cid)[_BEFORE_HASH_BYTES:] != sha256:
            raise Tampered(WRONG_BLOCK, cid.encode())
        made = cls()
        made._blocks[cid] = data
        return made

    def __getitem__(self, cid: CID) -> bytes:
        return self._blocks[cid]

    def __iter__(self) -> Iterator[CID]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)


def check_block(cid: CID, data: bytes) -> None:
    """Return when the bytes are those that the CID (raw or dag-cbor, SHA-256) names. Raises Tampered blobs.01."""
    named = codec.cid_of_cbor(data) if cid.is_cidv1_dag_cbor_sha256_32() else codec.cid_of_raw(data)
    if named != cid:
        raise Tampered(WRONG_BLOCK, cid.encode())
