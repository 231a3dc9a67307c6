"""CometBFT's headers: their hash, the name of a set of validators, and what a validator signs.

All of it is byte for byte what CometBFT 0.38 and later compute (its specification, ``spec/core/data_structures.md`` and
``spec/core/encoding.md``):

header hash   = RFC 6962 root of the header's fourteen fields, each encoded as protobuf
set hash      = RFC 6962 root of the validators in their order, each as protobuf ``SimpleValidator``
signing input = protobuf ``CanonicalVote`` of a precommit, after its length

Protobuf does not promise one spelling of a message, and libraries differ in whether they write what is empty. These
few messages are therefore written by hand, in ascending order of fields, in the one spelling that is signed (ADR 0110).

A header holds the root of the state *before* its block: the state of height H stands under the header of H + 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

from caremesh.crypto.hashes import sha256
from caremesh.crypto.signatures import ED25519_PREFIX
from caremesh.ledger import history
from caremesh.types import Count, Digest, Height, Multikey, Seconds

Nanos: TypeAlias = Annotated[int, Meta(ge=0, lt=10**9)]
"""Nanoseconds beyond a whole second."""
Address: TypeAlias = Annotated[bytes, Meta(min_length=20, max_length=20)]
"""A validator's: the first 20 bytes of the SHA-256 of its public key."""
NoDigest: TypeAlias = Annotated[bytes, Meta(max_length=0)]
MaybeDigest: TypeAlias = Annotated[bytes, Meta(max_length=32)]
"""A SHA-256 value, or nothing: what comes before the first block has no hash."""

MAX_ROUND: Final = 2**31
_PRECOMMIT: Final = 2
_VARINT, _FIXED64, _BYTES = 0, 1, 2


class Instant(Struct, frozen=True, forbid_unknown_fields=True):
    """A time to the nanosecond."""

    seconds: Seconds
    nanos: Nanos


class PartSet(Struct, frozen=True, forbid_unknown_fields=True):
    """In how many parts a block travelled, and their root."""

    total: Annotated[int, Meta(ge=0, lt=2**32)]
    hash: MaybeDigest


class BlockId(Struct, frozen=True, forbid_unknown_fields=True):
    """A block by the hash of its header, and its parts."""

    hash: MaybeDigest
    parts: PartSet


class CometHeader(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A header of CometBFT with what its votes say besides: ``round`` and ``parts`` of the block."""

    block_version: Count
    app_version: Count
    chain: Annotated[str, Meta(min_length=1, max_length=50)]
    height: Annotated[int, Meta(ge=1, lt=2**53)]
    time: Seconds
    nanos: Nanos
    previous: BlockId
    last_commit: MaybeDigest
    txs: MaybeDigest
    validators: Digest
    next_validators: Digest
    params: MaybeDigest
    app_hash: Annotated[bytes, Meta(max_length=64)]
    results: MaybeDigest
    evidence: MaybeDigest
    proposer: Address
    round: Annotated[int, Meta(ge=0, lt=MAX_ROUND)]
    parts: PartSet

    @property
    def proves(self) -> Height:
        """The height of the state whose root this header holds: the one before."""
        return self.height - 1

    def hash(self) -> Digest:
        """What the header is named by, and what validators sign."""
        time = _timestamp(self.time, self.nanos)
        fields = [
            _uint(1, self.block_version) + _uint(2, self.app_version),
            _bytes(1, self.chain.encode()),
            _uint(1, self.height),
            time,
            _block_id(self.previous.hash, self.previous.parts),
            _bytes(1, self.last_commit),
            _bytes(1, self.txs),
            _bytes(1, self.validators),
            _bytes(1, self.next_validators),
            _bytes(1, self.params),
            _bytes(1, self.app_hash),
            _bytes(1, self.results),
            _bytes(1, self.evidence),
            _bytes(1, self.proposer),
        ]
        return history.tree_root([history.leaf_hash(field) for field in fields])

    def signing_input(self, at: Instant, name: Digest) -> bytes:
        """What a validator has signed that voted at a time for this header, whose hash is ``name``."""
        vote = (
            _uint(1, _PRECOMMIT)
            + _fixed64(2, self.height)
            + _fixed64(3, self.round)
            + _message(4, _block_id(name, self.parts))
            + _message(5, _timestamp(at.seconds, at.nanos))
            + _bytes(6, self.chain.encode())
        )
        return varint(len(vote)) + vote


def set_hash(validators: Iterable[tuple[Multikey, Count]]) -> Digest:
    """What a header calls these validators, (key, power) each, in their order: the strongest first, then by address."""
    leaves = [
        history.leaf_hash(_message(1, _bytes(1, key.removeprefix(ED25519_PREFIX))) + _uint(2, power))
        for key, power in validators
    ]
    return history.tree_root(leaves)


def address_of(key: Multikey) -> Address:
    """What CometBFT calls the validator with this Ed25519 key."""
    return sha256(key.removeprefix(ED25519_PREFIX))[:20]


def _block_id(name: bytes, parts: PartSet) -> bytes:
    """``BlockID`` and ``CanonicalBlockID``: parts are written even when they are empty."""
    return _bytes(1, name) + _message(2, _uint(1, parts.total) + _bytes(2, parts.hash))


def _timestamp(seconds: int, nanos: int) -> bytes:
    return _uint(1, seconds) + _uint(2, nanos)


def varint(number: int) -> bytes:
    """A number from 0 on, seven bits a byte, the lowest first."""
    if number < 0x80:
        return bytes((number,))
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _uint(field: int, number: int) -> bytes:
    """A field with a number from 0 on; nothing for 0, as proto3 has it."""
    return varint(field << 3 | _VARINT) + varint(number) if number else b""


def _fixed64(field: int, number: int) -> bytes:
    return varint(field << 3 | _FIXED64) + number.to_bytes(8, "little") if number else b""


def _bytes(field: int, value: bytes) -> bytes:
    """A field with bytes or a text; nothing where it is empty, as proto3 has it."""
    return _message(field, value) if value else b""


def _message(field: int, value: bytes) -> bytes:
    """A field with a message, written even when it is empty."""
    return varint(field << 3 | _BYTES) + varint(len(value)) + value
