"""Seal records into a segment, and open them again, byte for byte or not at all.

    segment key   32 random bytes, drawn afresh for every attempt and never reused
    seal          Umbral, of the segment key, to the stream's reading key of the epoch
    keys          HKDF-SHA256(segment key), info = "blocks" for all blocks, "manifest" for the manifest
    plaintext     records in order, each compressed and padded by itself (see ``frames``); the manifest says where
    blocks        AES-256-GCM, nonce = block ‖ last, AAD = stream (see ``block_cipher``), at most 1 MiB each;
                  a record does not cross a block's end, but that one larger than a block is cut into several chunks

What opening verifies, so that no party between source and reader is trusted with anything:
- the descriptor commits to the segment key;
- every block and the manifest hash to the CIDs of the descriptor, and none is left over;
- the manifest describes exactly the packing that sealing makes: order, offsets, no gaps, no overlaps;
- every block is this stream's, at this place, and the last one says so;
- padding is zeros to the one right length; no record and no segment opens to more than the limits.
That the descriptor is the one on the ledger is for the caller to check, by its CID.

Pure: entropy is passed in, blocks are fetched by a function of the caller's. (Umbral alone draws its own
entropy for a seal.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct, structs

from caremesh import codec
from caremesh.codec import CID
from caremesh.crypto.envelope import KEY_BYTES, TAG_BYTES, open_aead, seal_aead
from caremesh.crypto.keys import derive
from caremesh.crypto.reencryption import Seal, seal_hash, seal_to
from caremesh.errors import BadInput, Tampered
from caremesh.sealing import errors
from caremesh.sealing.block_cipher import BlockCipher
from caremesh.sealing.descriptor import (
    MAX_BLOCK_BYTES,
    MAX_BLOCKS,
    MAX_RECORDS,
    Chunk,
    Descriptor,
    Entry,
    Manifest,
    key_commitment,
    manifest_aad,
    read_descriptor,
    read_manifest,
    size_class,
    write_manifest,
)
from caremesh.sealing.frames import Framer

MAX_SEGMENT_BYTES: Final = 256 * 1024 * 1024
"""Original bytes of all records of one segment: what a reader must be ready to hold."""
MAX_RECORD_BYTES: Final = 64 * 1024 * 1024
_MAX_MANIFEST_BYTES: Final = 8 * 1024 * 1024
_LONGEST_TEXT: Final = 255

Fetch = Callable[[CID], bytes]


class RecordToSeal(Struct, frozen=True, kw_only=True):
    """A record as its source has it. ``data`` are the original bytes, which come out again unchanged."""

    media_type: str = "application/fhir+json"
    resource_type: str
    id: str
    version: str = ""
    last_updated: str = ""
    data: bytes

    def __repr__(self) -> str:
        return "RecordToSeal(…)"


class OpenedRecord(Struct, frozen=True, gc=False):
    """A record as it was sealed; ``index`` is its position in the segment."""

    index: int
    media_type: str
    resource_type: str
    id: str
    version: str
    last_updated: str
    data: bytes

    def __repr__(self) -> str:
        return f"OpenedRecord({self.index}, …)"


class SealedSegment(Struct, frozen=True, kw_only=True):
    """All that a source needs after sealing: what to publish, what to deposit, what to keep."""

    descriptor: bytes
    descriptor_cid: CID
    seal: Seal
    seal_hash: bytes
    blocks: dict[CID, bytes]
    """Ciphertext by name, the manifest's block included."""
    size_class: int
    segment_key: bytes
    """Secret; for the source's own encrypted index only."""

    def __repr__(self) -> str:
        return f"SealedSegment({self.descriptor_cid.encode()})"


def seal_segment(
    stream: bytes,
    source: str,
    reading_public: bytes,
    records: Sequence[RecordToSeal],
    entropy: Callable[[int], bytes] = os.urandom,
) -> SealedSegment:
    """Seal 1 to 4,096 records of a stream (32-byte id) to its reading key (33 bytes).

    ``entropy(n)`` gives n secret random bytes, other ones each time. Raises BadInput sealing.01 to sealing.04,
    reencryption.02, codec.03.
    """
    _check_records(records)
    segment_key = entropy(KEY_BYTES)
    if len(segment_key) != KEY_BYTES:
        raise BadInput(errors.BAD_ENTROPY)
    seal = seal_to(reading_public, segment_key)
    cipher, framer, packer = BlockCipher(segment_key, stream), Framer(), _Packer()
    entries = [
        Entry(
            record.media_type,
            record.resource_type,
            record.id,
            record.version,
            record.last_updated,
            packer.add(framer.frame(record.data)),
        )
        for record in records
    ]
    packed = packer.finish()
    blocks = [cipher.seal(number, block, last=number == len(packed) - 1) for number, block in enumerate(packed)]
    table = write_manifest(entries)
    manifest = seal_aead(derive(segment_key, b"manifest"), framer.frame(table), manifest_aad(stream))
    if len(blocks) > MAX_BLOCKS or len(table) > _MAX_MANIFEST_BYTES or len(manifest) > MAX_BLOCK_BYTES:
        raise BadInput(errors.TOO_MUCH)
    named = {codec.cid_of_raw(block): block for block in blocks}
    manifest_cid = codec.cid_of_raw(manifest)
    descriptor = codec.encode(
        Descriptor(
            v=1,
            stream=stream,
            source=source,
            seal=seal_hash(seal),
            commitment=key_commitment(segment_key),
            manifest=manifest_cid,
            blocks=list(named),
            size_class=size_class(len(manifest) + sum(map(len, blocks))),
        )
    )
    return SealedSegment(
        descriptor=descriptor,
        descriptor_cid=codec.cid_of_cbor(descriptor),
        seal=seal,
        seal_hash=seal_hash(seal),
        blocks=named | {manifest_cid: manifest},
        size_class=codec.decode_as(descriptor, Descriptor).size_class,
        segment_key=segment_key,
    )


def seal_anew(segment_key: bytes, descriptor: bytes, reading_public: bytes) -> tuple[bytes, CID, Seal]:
    """The same segment for a new epoch: the same key sealed to another reading key, blocks untouched.

    Gives the new descriptor, its CID and the new seal. Raises Tampered sealing.05, sealing.06, BadInput
    reencryption.02.
    """
    before = read_descriptor(descriptor)
    _check_key(segment_key, before, codec.cid_of_cbor(descriptor).encode())
    seal = seal_to(reading_public, segment_key)
    after = codec.encode(structs.replace(before, seal=seal_hash(seal)))
    return after, codec.cid_of_cbor(after), seal


def open_segment(segment_key: bytes, descriptor: bytes, fetch: Fetch) -> list[OpenedRecord]:
    """All records of a segment in their order, verified as this module says; all or none.

    ``fetch(cid)`` gives a block's bytes, from anywhere: it is not trusted, and its own errors pass through.
    Raises Tampered sealing.05 to sealing.10, envelope.02; the place names the CID.
    """
    table = read_descriptor(descriptor)
    name = codec.cid_of_cbor(descriptor).encode()
    _check_key(segment_key, table, name)
    manifest_block = _fetch_verified(table.manifest, fetch)
    blocks = [_fetch_verified(cid, fetch) for cid in table.blocks]
    if size_class(len(manifest_block) + sum(map(len, blocks))) != table.size_class:
        raise Tampered(errors.TOO_LARGE, name)
    framer = Framer()
    manifest = _open_manifest(segment_key, table, manifest_block, framer)
    reader = _Reader(BlockCipher(segment_key, table.stream), table, blocks)
    left_bytes, limit, read = MAX_SEGMENT_BYTES, MAX_RECORD_BYTES, reader.read
    records = []
    for i, entry in enumerate(manifest.records):
        try:
            data = framer.unframe(read(entry), limit)
        except Tampered as error:
            raise Tampered(error.error, f"{reader.block_name()} record {i}") from error
        left_bytes -= len(data)
        limit = min(left_bytes, MAX_RECORD_BYTES)
        records.append(
            OpenedRecord(i, entry.media_type, entry.resource_type, entry.id, entry.version, entry.last_updated, data)
        )
    if not reader.is_at_end():
        raise Tampered(errors.BAD_MANIFEST, table.manifest.encode())
    return records


class _Packer:
    """Fills blocks with frames in order; what does not fit begins the next, and is cut when no block could hold it."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._open: list[bytes] = []
        self._length = 0

    def add(self, frame: bytes) -> list[Chunk]:
        room = MAX_BLOCK_BYTES - TAG_BYTES
        if len(frame) <= room:  # nearly every one
            return [self._add(frame, room)]
        return [self._add(frame[at : at + room], room) for at in range(0, len(frame), room)]

    def _add(self, piece: bytes, room: int) -> Chunk:
        if self._length + len(piece) > room:
            self._close()
        chunk = Chunk(len(self._blocks), self._length, len(piece))
        self._open.append(piece)
        self._length += len(piece)
        return chunk

    def finish(self) -> list[bytes]:
        self._close()
        return self._blocks

    def _close(self) -> None:
        self._blocks.append(b"".join(self._open))
        self._open, self._length = [], 0


class _Reader:
    """Opens the blocks once, in order, and walks them chunk after chunk without gaps."""

    _block: int
    _offset: int
    _frames: bytes

    def __init__(self, cipher: BlockCipher, table: Descriptor, blocks: list[bytes]) -> None:
        """Raises Tampered envelope.02."""
        self._cipher = cipher
        self._table = table
        self._blocks = blocks
        self._go_to(0)

    def read(self, entry: Entry) -> bytes:
        """The frame of a record. Raises Tampered sealing.08, envelope.02; the caller names block and record."""
        chunks = entry.chunks
        return self._next(chunks[0]) if len(chunks) == 1 else b"".join(map(self._next, chunks))

    def block_name(self) -> str:
        """The CID of the block where the walk is."""
        return self._table.blocks[self._block].encode()

    def is_at_end(self) -> bool:
        """Whether every byte of every block was read."""
        return self._block == len(self._blocks) - 1 and self._offset == len(self._frames)

    def _next(self, chunk: Chunk) -> bytes:
        if self._offset == len(self._frames) and self._block + 1 < len(self._blocks):
            self._go_to(self._block + 1)
        end = chunk.offset + chunk.length
        if chunk.offset != self._offset or chunk.block != self._block:
            raise Tampered(errors.BAD_MANIFEST)
        self._offset = end  # beyond the block's end, no later chunk and no end of the walk can match
        return self._frames[chunk.offset : end]

    def _go_to(self, block: int) -> None:
        self._block, self._offset = block, 0
        try:
            self._frames = self._cipher.open(block, self._blocks[block], last=block == len(self._blocks) - 1)
        except Tampered as error:
            raise Tampered(error.error, self.block_name()) from error


def _check_records(records: Sequence[RecordToSeal]) -> None:
    if not records:
        raise BadInput(errors.NOTHING_TO_SEAL)
    if len(records) > MAX_RECORDS or sum(len(record.data) for record in records) > MAX_SEGMENT_BYTES:
        raise BadInput(errors.TOO_MUCH)
    for i, record in enumerate(records):
        if len(record.data) > MAX_RECORD_BYTES:
            raise BadInput(errors.TOO_MUCH, f"record {i}")
        texts = (record.media_type, record.resource_type, record.id, record.version, record.last_updated)
        whole = "".join(texts)
        if (len(whole) > _LONGEST_TEXT and max(map(len, texts)) > _LONGEST_TEXT) or not _is_unicode(whole):
            raise BadInput(errors.BAD_RECORD, f"record {i}")


def _is_unicode(text: str) -> bool:
    """Whether UTF-8 can spell it: JSON can smuggle lone surrogates into a Python string."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_key(segment_key: bytes, table: Descriptor, name: str) -> None:
    if key_commitment(segment_key) != table.commitment:
        raise Tampered(errors.BAD_SEGMENT_KEY, name)


def _fetch_verified(cid: CID, fetch: Fetch) -> bytes:
    block = fetch(cid)
    if len(block) > MAX_BLOCK_BYTES or codec.cid_of_raw(block) != cid:
        raise Tampered(errors.BAD_BLOCK, cid.encode())
    return block


def _open_manifest(segment_key: bytes, table: Descriptor, block: bytes, framer: Framer) -> Manifest:
    place = table.manifest.encode()
    frame = open_aead(derive(segment_key, b"manifest"), block, manifest_aad(table.stream), place)
    try:
        data = framer.unframe(frame, _MAX_MANIFEST_BYTES)
    except Tampered as error:
        raise Tampered(error.error, place) from error
    return read_manifest(data, place)
