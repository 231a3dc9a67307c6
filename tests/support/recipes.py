"""Published recipes of the project's own keys and hashes, written apart from the project's code."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.signing import SigningKey as SodiumKey


def joined(*parts: bytes) -> bytes:
    """Each part after its length, four bytes, big-endian."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def tagged(*parts: bytes) -> bytes:
    """H(tag ‖ …)."""
    return hashlib.sha256(joined(*parts)).digest()


def hkdf(secret: bytes, *info: bytes) -> bytes:
    """RFC 5869 with SHA-256, no salt, one block."""
    key = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(key, joined(*info) + b"\x01", "sha256")


def multikey(seed: bytes) -> bytes:
    """The public Ed25519 key of a seed."""
    return b"\xed\x01" + bytes(SodiumKey(seed).verify_key)


def decrypted(key: bytes, ciphertext: bytes, aad: bytes) -> bytes:
    """AES-256-GCM under a key that encrypts one thing only: its nonce is zero."""
    return AESGCM(key).decrypt(bytes(12), ciphertext, aad)
