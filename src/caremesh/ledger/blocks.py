"""Headers and blocks as the embedded engine makes them, and who may sign them.

header hash  = SHA-256("caremesh/header/v1\\0" ‖ bytes(Header))
signing input = the same bytes, unhashed
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from caremesh import codec
from caremesh.crypto.hashes import sha256, tagged_hash
from caremesh.ledger import history
from caremesh.types import Count, Digest, Height, Multikey, Seconds, Signature

HEADER_DOMAIN: Final = b"caremesh/header/v1\0"


class Validator(Struct, frozen=True, forbid_unknown_fields=True):
    """A key that signs headers, and its voting power."""

    key: Multikey
    power: Count


class Header(Struct, frozen=True, forbid_unknown_fields=True):
    """What a block commits to. ``app_hash`` is that of the state after the block."""

    chain: str
    height: Height
    time: Seconds
    previous: Digest
    """Hash of the header before; 32 zero bytes for the first."""
    txs: Digest
    """RFC 6962 root of the transactions as they travelled."""
    app_hash: Digest
    validators: Digest
    """Hash of the set that signs this header."""
    next_validators: Digest
    """Hash of the set that signs the next."""


class HeaderSignature(Struct, frozen=True, forbid_unknown_fields=True):
    """One validator's signature of a header."""

    key: Multikey
    signature: Signature


class SignedHeader(Struct, frozen=True, forbid_unknown_fields=True):
    """A header with the signatures that make it count."""

    header: bytes
    signatures: list[HeaderSignature]

    def content(self) -> Header:
        """The header itself, not yet verified. Raises BadInput codec.01 to codec.04."""
        return codec.decode_as(self.header, Header)


class Block(Struct, frozen=True, forbid_unknown_fields=True):
    """A block as it is kept and as replicas follow it."""

    signed: SignedHeader
    txs: list[bytes]


def header_hash(header: bytes) -> Digest:
    """Name of a header."""
    return sha256(HEADER_DOMAIN + header)


def txs_root(txs: Sequence[bytes]) -> Digest:
    """What ``Header.txs`` holds."""
    return history.tree_root([history.leaf_hash(tx) for tx in txs])


def validators_hash(validators: Sequence[Validator]) -> Digest:
    """What ``Header.validators`` holds: of the set sorted by key."""
    return tagged_hash("caremesh/v1/validators", codec.encode(sorted(validators, key=lambda v: v.key)))
