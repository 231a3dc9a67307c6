"""Ed25519 signing keys and the derivation of all other keys. Not for consensus code: it holds secrets."""

from __future__ import annotations

import os
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from caremesh.crypto.hashes import length_prefixed
from caremesh.crypto.signatures import ED25519_PREFIX
from caremesh.errors import BadInput, ErrorCode

_SEED_BYTES: Final = 32
_SHA256: Final = SHA256()

BAD_SEED = ErrorCode("keys.01", "The secret of a signing key is 32 bytes.", "Derive it, or generate a new one.")
BAD_LENGTH = ErrorCode("keys.02", "A derived key has 1 to 8,160 bytes.")


class SigningKey:
    """An Ed25519 key pair (RFC 8032). Signing is deterministic. Its text never shows the secret."""

    __slots__ = ("_private", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        """``seed``: the 32 secret bytes. Raises BadInput keys.01."""
        if len(seed) != _SEED_BYTES:
            raise BadInput(BAD_SEED)
        self.seed: Final = seed
        self._private: Final = Ed25519PrivateKey.from_private_bytes(seed)
        self.public: Final = ED25519_PREFIX + self._private.public_key().public_bytes_raw()
        """The public key as a Multikey: 34 bytes."""

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """The key whose secret is these 32 bytes. Raises BadInput keys.01."""
        return cls(seed)

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key from the operating system's entropy."""
        return cls(os.urandom(_SEED_BYTES))

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the signature."""
        return self._private.sign(message)

    def __repr__(self) -> str:
        return "SigningKey(…)"


def derive(secret: bytes, *info: bytes, length: int = 32) -> bytes:
    """HKDF-SHA256 (RFC 5869) without salt, info = ``length_prefixed(*info)``: ``length`` bytes, 1 to 8,160.

    Raises BadInput keys.02.
    """
    if not 1 <= length <= 255 * 32:
        raise BadInput(BAD_LENGTH)
    return HKDF(_SHA256, length, salt=None, info=length_prefixed(*info)).derive(secret)
