"""Names for the values that cross package borders. Sizes and units are part of the name's meaning."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

Bytes32: TypeAlias = Annotated[bytes, Meta(min_length=32, max_length=32)]
Bytes16: TypeAlias = Annotated[bytes, Meta(min_length=16, max_length=16)]
Bytes8: TypeAlias = Annotated[bytes, Meta(min_length=8, max_length=8)]

Height: TypeAlias = Annotated[int, Meta(ge=0, lt=2**53)]
"""Number of a block; the genesis state is height 0."""
Seconds: TypeAlias = Annotated[int, Meta(ge=0, lt=2**40)]
"""Whole seconds since 1970-01-01 UTC, or a length in seconds."""
Count: TypeAlias = Annotated[int, Meta(ge=0, lt=2**53)]

StreamId: TypeAlias = Bytes32
"""SHA-256 under ``caremesh/v1/stream`` of the stream's first signing key (a Multikey)."""
ConsentId: TypeAlias = Bytes32
ReceiptId: TypeAlias = Bytes32
Digest: TypeAlias = Bytes32
"""A SHA-256 value."""

Did: TypeAlias = Annotated[str, Meta(pattern=r"^did:caremesh:[a-z0-9-]{1,32}:[a-z2-7]{32}$")]
"""``did:caremesh:<network>:<id>``; id = base32 of the first 20 bytes of a hash of the first key."""
Multikey: TypeAlias = Annotated[bytes, Meta(min_length=34, max_length=34)]
"""A public signing key: multicodec prefix (Ed25519: 0xed 0x01) and 32 bytes (W3C Multikey, binary)."""
Signature: TypeAlias = Annotated[bytes, Meta(min_length=64, max_length=64)]
ReencryptionKey: TypeAlias = Annotated[bytes, Meta(min_length=33, max_length=33)]
"""A compressed secp256k1 point: an Umbral public key."""
CountryCode: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Z]{2}$")]
"""ISO 3166-1 alpha-2."""
Code: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9./:_-]{0,63}$")]
"""A short code of a terminology: a purpose of use, a role, an action, a legal basis."""

DAY_S: Final = 86_400


class SignedPermit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The bytes of a write permit (``contracts/streams/messages.py``) and the stream key's signature over them."""

    permit: Annotated[bytes, Meta(max_length=4_096)]
    signature: Signature
