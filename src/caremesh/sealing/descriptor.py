"""The two tables of a segment: the public descriptor and the encrypted manifest.

descriptor  what the ledger names by CID and everybody may see: whose stream, which blocks, which seal
manifest    what only a reader sees: which records, of which type and version, and where their bytes are
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from caremesh import codec
from caremesh.codec import CID
from caremesh.crypto.hashes import length_prefixed
from caremesh.crypto.keys import derive
from caremesh.errors import BadInput, Tampered
from caremesh.sealing.errors import BAD_DESCRIPTOR, BAD_MANIFEST
from caremesh.types import Did, Digest, StreamId

MAX_BLOCK_BYTES: Final = 1024 * 1024
"""What every IPFS implementation accepts as one block."""
MAX_BLOCKS: Final = 512
MAX_RECORDS: Final = 4096
MANIFEST_MEDIA_TYPE: Final = "application/json"

Text = Annotated[str, Meta(max_length=255)]
Index32 = Annotated[int, Meta(ge=0, lt=2**32)]


class Descriptor(Struct, frozen=True):
    """A segment as everybody may see it. Its CID (dag-cbor) is on the ledger."""

    v: Literal[1]
    stream: StreamId
    source: Did
    seal: Digest
    """``seal_hash`` of the seal, which itself is not public."""
    commitment: Digest
    """``key_commitment`` of the segment key: one descriptor opens with one key only."""
    manifest: CID
    blocks: Annotated[list[CID], Meta(min_length=1, max_length=MAX_BLOCKS)]
    size_class: Annotated[int, Meta(ge=0, le=63)]
    """The exponent of the smallest power of two that is at least the total size of manifest and blocks, in bytes."""


class Chunk(Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """Where a frame is, or a part of one: the block's place in the descriptor, offset and length in its plaintext."""

    block: Index32
    offset: Index32
    length: Index32


class Entry(Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """One record of a segment. Texts are those of the FHIR resource; empty where it has none."""

    media_type: Text
    resource_type: Text
    id: Text
    version: Text
    last_updated: Text
    chunks: Annotated[list[Chunk], Meta(min_length=1)]

    def __repr__(self) -> str:
        return "Entry(…)"


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """The records of a segment in their order. JSON, each row and chunk an array, since thousands are read at once."""

    v: Literal[1]
    records: Annotated[list[Entry], Meta(min_length=1, max_length=MAX_RECORDS)]


_MANIFESTS: Final = msgspec.json.Decoder(Manifest)


def write_manifest(records: list[Entry]) -> bytes:
    """The manifest before compression and encryption."""
    return msgspec.json.encode(Manifest(v=1, records=records))


def read_manifest(data: bytes, place: str) -> Manifest:
    """A manifest from its decrypted, decompressed bytes. Raises Tampered sealing.08."""
    try:
        return _MANIFESTS.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Tampered(BAD_MANIFEST, place) from error


def read_descriptor(data: bytes) -> Descriptor:
    """A descriptor from its one canonical spelling; the place of an error is the CID of the bytes.

    Raises Tampered sealing.06.
    """
    try:
        return codec.decode_as(data, Descriptor)
    except BadInput as error:
        raise Tampered(BAD_DESCRIPTOR, codec.cid_of_cbor(data).encode()) from error


def key_commitment(segment_key: bytes) -> bytes:
    """HKDF(segment key, "commit"): 32 bytes. AES-GCM alone does not bind a ciphertext to one key; this does."""
    return derive(segment_key, b"commit")


def size_class(total_bytes: int) -> int:
    """The exponent of the smallest power of two that is at least ``total_bytes`` (1 or more)."""
    return (total_bytes - 1).bit_length()


def manifest_aad(stream: bytes) -> bytes:
    """AAD of the manifest: stream ‖ "manifest" ‖ chunk 0 ‖ last ‖ media type, length-prefixed."""
    return length_prefixed(stream, b"manifest", bytes(4), b"\x01", MANIFEST_MEDIA_TYPE.encode())
