"""Ed25519 verification, public keys, and the names made from them. Consensus code.

Which signatures verify is a rule of the ledger, so it must be one library's rule, the same on every
replica: libsodium's, through PyNaCl. Beyond RFC 8032, section 5.1.7, libsodium refuses a scalar S that
is not canonical, a public key that is not canonical, and a public key or R of small order; it checks
without the cofactor. ``check_key`` refuses, when a key is first registered, all keys under which
signatures could be ambiguous: not canonical, of small order, or outside the prime-order subgroup.

Pure functions of their arguments: no clock, no entropy, no operating system.
"""

from __future__ import annotations

import base64
from typing import Final

from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_sign_open
from nacl.exceptions import CryptoError

from caremesh.crypto import base58
from caremesh.crypto.hashes import tagged_hash
from caremesh.errors import BadInput, ErrorCode, Refused, Tampered

MULTIKEY_BYTES: Final = 34
ED25519_PREFIX: Final = b"\xed\x01"
"""Multicodec ``ed25519-pub`` (0xed) as an unsigned varint."""

_SIGNATURE_BYTES: Final = 64
_DID_ID_BYTES: Final = 20
_BASE58BTC: Final = "z"

UNKNOWN_ALGORITHM = ErrorCode("signatures.01", "This is not an Ed25519 public key.", "Give an Ed25519 Multikey.")
UNSAFE_KEY = ErrorCode(
    "signatures.02",
    "This public key is not a canonical point of the prime-order group.",
    "Generate another key.",
)
BAD_SIGNATURE = ErrorCode("signatures.03", "This signature does not belong to this key and message.")
NOT_MULTIKEY_TEXT = ErrorCode(
    "signatures.04", "This is not the text of an Ed25519 Multikey.", "Copy it again, whole; it starts with z6Mk."
)


def check_key(key: bytes) -> None:
    """Refuse a Multikey (34 bytes) that must never be registered.

    Raises Refused signatures.01 (length or algorithm), signatures.02 (not canonical, small order, or not
    in the prime-order subgroup).
    """
    if len(key) != MULTIKEY_BYTES or not key.startswith(ED25519_PREFIX):
        raise Refused(UNKNOWN_ALGORITHM)
    if not crypto_core_ed25519_is_valid_point(key[2:]):
        raise Refused(UNSAFE_KEY)


def verify(key: bytes, message: bytes, signature: bytes) -> None:
    """Return when ``signature`` (64 bytes) is that of ``message`` under the Multikey ``key``; about 60 µs.

    Raises Tampered signatures.03 otherwise, whatever is wrong with any of the three.
    """
    if len(key) != MULTIKEY_BYTES or not key.startswith(ED25519_PREFIX) or len(signature) != _SIGNATURE_BYTES:
        raise Tampered(BAD_SIGNATURE)
    try:
        crypto_sign_open(signature + message, key[2:])
    except CryptoError as error:
        raise Tampered(BAD_SIGNATURE) from error


def multikey_text(key: bytes) -> str:
    """The text of a Multikey: multibase base58btc, ``z6Mk…`` (W3C Controlled Identifiers 1.0, section 2.2.2).

    Raises BadInput signatures.04.
    """
    if len(key) != MULTIKEY_BYTES or not key.startswith(ED25519_PREFIX):
        raise BadInput(NOT_MULTIKEY_TEXT)
    return _BASE58BTC + base58.encode(key)


def parse_multikey(text: str) -> bytes:
    """The 34 bytes of a Multikey's text. Raises BadInput signatures.04, base58.01."""
    if not text.startswith(_BASE58BTC):
        raise BadInput(NOT_MULTIKEY_TEXT)
    key = base58.decode(text[1:])
    if len(key) != MULTIKEY_BYTES or not key.startswith(ED25519_PREFIX):
        raise BadInput(NOT_MULTIKEY_TEXT)
    return key


def did_of(network: str, first_key: bytes) -> str:
    """The lasting DID of the one whose first key is this Multikey: ``did:caremesh:<network>:<32 characters>``."""
    identifier = tagged_hash("caremesh/v1/did", first_key)[:_DID_ID_BYTES]
    return f"did:caremesh:{network}:{base64.b32encode(identifier).decode().lower()}"


def stream_of(first_key: bytes) -> bytes:
    """The id (32 bytes) of the stream whose first signing key is this Multikey."""
    return tagged_hash("caremesh/v1/stream", first_key)
