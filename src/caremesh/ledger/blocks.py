"""Headers and blocks as the embedded engine makes them, who may sign them, and signed headers of either engine.

header hash  = SHA-256("caremesh/header/v1\\0" ‖ bytes(Header))
signing input = the same bytes, unhashed

What CometBFT signs is in ``ledger/comet.py``; a header's bytes say of which engine it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from caremesh import codec
from caremesh.crypto.hashes import sha256, tagged_hash
from caremesh.ledger import history
from caremesh.ledger.comet import Address, CometHeader, Instant, address_of
from caremesh.types import Count, Digest, Height, Multikey, Seconds, Signature

HEADER_DOMAIN: Final = b"caremesh/header/v1\0"
_COMET: Final = bytes((0xA0 | len(CometHeader.__struct_fields__),))
"""How the bytes of a header of CometBFT begin: a map of so many entries. Ours has eight."""


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

    @property
    def proves(self) -> Height:
        """The height of the state whose root this header holds."""
        return self.height

    def hash(self) -> Digest:
        """Name of the header."""
        return header_hash(codec.encode(self))


BlockHeader: TypeAlias = Header | CometHeader
"""Of either engine: ``chain``, ``height``, ``time``, ``app_hash``, ``proves``, ``validators``, ``next_validators``."""


class HeaderSignature(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One validator's signature of a header. ``at``: when it voted, where CometBFT's validators sign that too."""

    key: Multikey
    signature: Signature
    at: Instant | None = None


class SignedHeader(Struct, frozen=True, forbid_unknown_fields=True):
    """A header with the signatures that make it count."""

    header: bytes
    signatures: list[HeaderSignature]

    def content(self) -> BlockHeader:
        """The header itself, not yet verified. Raises BadInput codec.01 to codec.04."""
        if self.header.startswith(_COMET):
            return codec.decode_as(self.header, CometHeader)
        return codec.decode_as(self.header, Header)

    def own(self) -> Header:
        """The header of a block that the embedded engine made. Raises BadInput codec.01 to codec.04."""
        return codec.decode_as(self.header, Header)


class Misbehaviour(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an engine has proof of: a validator signed two things of which an honest one signs one."""

    kind: Literal["two-votes", "false-header"]
    """``two-votes`` in one round; ``false-header``: signed for light clients, and not of this chain."""
    validator: Address
    """See ``comet.address_of``."""
    height: Height
    """The block that it voted on."""
    time: Seconds
    """Of that block."""


class Block(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A block as it is kept and as replicas follow it."""

    signed: SignedHeader
    txs: list[bytes]
    misbehaviour: list[Misbehaviour] = []
    """What the block tells the application of before its transactions. No header of ours commits to it."""


def header_hash(header: bytes) -> Digest:
    """Name of a header."""
    return sha256(HEADER_DOMAIN + header)


def txs_root(txs: Sequence[bytes]) -> Digest:
    """What ``Header.txs`` holds."""
    return history.tree_root([history.leaf_hash(tx) for tx in txs])


def validators_hash(validators: Sequence[Validator]) -> Digest:
    """What ``Header.validators`` holds: of the set sorted by key."""
    return tagged_hash("caremesh/v1/validators", codec.encode(sorted(validators, key=lambda v: v.key)))


def in_comets_order(validator: Validator) -> tuple[int, Address]:
    """By this key CometBFT sorts a set of validators: the strongest first, then by address."""
    return -validator.power, address_of(validator.key)
