"""Envelopes: under a key, under a passphrase, to a public key. Not for consensus code: it draws entropy.

Nothing here is an algorithm of our own; each function is one recipe over a library:
- ``seal_aead``: AES-256-GCM (NIST SP 800-38D) with a nonce of 96 zero bits. A key encrypts **once**: every
  caller derives or draws a fresh one, so that no nonce ever meets the same key twice.
- ``ManyAead``: the same under one key for many; the caller's nonces differ.
- ``lock``: Argon2id (RFC 9106) stretches a passphrase into a key for ``seal_aead``.
- ``hpke_seal``: HPKE (RFC 9180), base mode, one message per encapsulation, in the hybrid suite
  MLKEM768-X25519 (draft-ietf-hpke-pq), HKDF-SHA256, AES-256-GCM.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from typing import Annotated, Final, Literal

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from msgspec import Meta, Struct

from caremesh import codec
from caremesh.crypto.hashes import length_prefixed
from caremesh.errors import BadInput, ErrorCode, Locked, Tampered
from caremesh.types import Bytes16

KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
HPKE_PRIVATE_BYTES: Final = 32
HPKE_PUBLIC_BYTES: Final = 1216
"""1,184 bytes of ML-KEM-768 (FIPS 203), then 32 of X25519."""

_NONCE: Final = bytes(12)
_MLKEM_PUBLIC_BYTES: Final = 1184
_MLKEM_SEED_BYTES: Final = 64
_LOCK_DOMAIN: Final = b"caremesh/v1/lock"
_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)

BAD_KEY = ErrorCode("envelope.01", "A key of this envelope has the wrong length or is no key at all.")
NOT_OPENED = ErrorCode("envelope.02", "These sealed bytes were changed, or belong to another key or another place.")
WRONG_PASSPHRASE = ErrorCode(
    "envelope.03", "The passphrase does not open this.", "Type it again; without it, restore from the recovery phrase."
)
NOT_A_LOCK = ErrorCode("envelope.04", "This is not a file locked by a passphrase, or it was changed.", "Use a backup.")
BAD_PASSPHRASE = ErrorCode("envelope.05", "A passphrase is Unicode text of 1 to 1,024 bytes.", "Choose another.")
NOT_FOR_THIS_KEY = ErrorCode("envelope.06", "This message was changed, or was sealed to another key or purpose.")


class _Cost(Struct, frozen=True):
    """Argon2id's parameters. A hostile file cannot ask for more than 1 GiB and 16 passes, nor for a token effort."""

    memory_kib: Annotated[int, Meta(ge=19_456, le=1_048_576)] = 65_536
    passes: Annotated[int, Meta(ge=1, le=16)] = 3
    lanes: Annotated[int, Meta(ge=1, le=16)] = 4


class _Lock(Struct, frozen=True):
    """The header says how to make the key; the ciphertext authenticates the header."""

    kind: Literal["caremesh/v1/lock"]
    stretch: Literal["argon2id"]
    cost: _Cost
    salt: Bytes16
    ciphertext: bytes


_COST: Final = _Cost()
"""RFC 9106, section 4, second recommended option: 64 MiB, 3 passes, 4 lanes."""


def seal_aead(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Ciphertext and 16 bytes of tag under a key (32 bytes) that encrypts nothing else, ever.

    Raises BadInput envelope.01.
    """
    if len(key) != KEY_BYTES:
        raise BadInput(BAD_KEY)
    return AESGCM(key).encrypt(_NONCE, plaintext, aad)


def open_aead(key: bytes, ciphertext: bytes, aad: bytes, place: str) -> bytes:
    """The plaintext; ``place`` names the object. Raises Tampered envelope.02, BadInput envelope.01."""
    if len(key) != KEY_BYTES:
        raise BadInput(BAD_KEY)
    try:
        return AESGCM(key).decrypt(_NONCE, ciphertext, aad)
    except InvalidTag as error:
        raise Tampered(NOT_OPENED, place) from error


class ManyAead:
    """AES-256-GCM under one key for many ciphertexts: each has a nonce that this key never meets again."""

    def __init__(self, key: bytes) -> None:
        """``key``: 32 bytes. Raises BadInput envelope.01."""
        if len(key) != KEY_BYTES:
            raise BadInput(BAD_KEY)
        aead = AESGCM(key)
        self.seal: Final = aead.encrypt
        """Of a nonce of 12 bytes, plaintext and associated data: ciphertext and tag."""
        self._open: Final = aead.decrypt

    def open(self, nonce: bytes, ciphertext: bytes, aad: bytes) -> bytes:
        """The plaintext. Raises Tampered envelope.02; the caller names the object."""
        try:
            return self._open(nonce, ciphertext, aad)
        except InvalidTag as error:
            raise Tampered(NOT_OPENED) from error


def lock(passphrase: str, plaintext: bytes) -> bytes:
    """Bytes that open only with the passphrase; they carry their salt and costs. About 0.1 s and 64 MiB.

    Raises BadInput envelope.05.
    """
    salt = os.urandom(16)
    key = _stretch(passphrase, salt, _COST)
    ciphertext = seal_aead(key, plaintext, _lock_header(_COST, salt))
    return codec.encode(_Lock("caremesh/v1/lock", "argon2id", _COST, salt, ciphertext))


def unlock(passphrase: str, locked: bytes) -> bytes:
    """What was locked. Raises Locked envelope.03, Tampered envelope.04, BadInput envelope.05.

    A wrong passphrase and a changed ciphertext are the same to AES-GCM: both are reported as Locked.
    """
    try:
        parsed = codec.decode_as(locked, _Lock)
    except BadInput as error:
        raise Tampered(NOT_A_LOCK, error.place) from error
    key = _stretch(passphrase, parsed.salt, parsed.cost)
    try:
        return AESGCM(key).decrypt(_NONCE, parsed.ciphertext, _lock_header(parsed.cost, parsed.salt))
    except InvalidTag as error:
        raise Locked(WRONG_PASSPHRASE) from error


def hpke_from_seed(seed: bytes) -> tuple[bytes, bytes]:
    """The (private, public) pair of a 32-byte seed: 32 and 1,216 bytes. Raises BadInput envelope.01.

    The seed is expanded as MLKEM768-X25519 does (draft-connolly-cfrg-xwing-kem, section 5.2).
    """
    mlkem, x25519 = _expand_seed(seed)
    return seed, mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()


def hpke_generate() -> tuple[bytes, bytes]:
    """A fresh (private, public) pair from the operating system's entropy: 32 and 1,216 bytes."""
    return hpke_from_seed(os.urandom(HPKE_PRIVATE_BYTES))


def hpke_seal(public: bytes, plaintext: bytes, info: bytes, aad: bytes) -> bytes:
    """Encapsulation and ciphertext for the holder of the private key. Raises BadInput envelope.01.

    ``info`` names protocol and parties, ``aad`` what the message belongs to. Since each message has a key
    schedule of its own, both are bound through HPKE's info, as ``length_prefixed(info, aad)``.
    """
    try:
        recipient = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC_BYTES]),
            X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC_BYTES:]),
        )
        return _SUITE.encrypt(plaintext, recipient, info=length_prefixed(info, aad))
    except ValueError as error:
        raise BadInput(BAD_KEY) from error


def hpke_open(private: bytes, sealed: bytes, info: bytes, aad: bytes) -> bytes:
    """The plaintext. Raises Tampered envelope.06, BadInput envelope.01."""
    recipient = MLKEM768X25519PrivateKey(*_expand_seed(private))
    try:
        return _SUITE.decrypt(sealed, recipient, info=length_prefixed(info, aad))
    except (InvalidTag, ValueError) as error:
        raise Tampered(NOT_FOR_THIS_KEY) from error


def _stretch(passphrase: str, salt: bytes, cost: _Cost) -> bytes:
    """The key of a passphrase, normalised as RFC 8265, section 4.2 (OpaqueString: NFC) so that all keyboards agree."""
    try:
        secret = unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError as error:
        raise BadInput(BAD_PASSPHRASE) from error
    if not 1 <= len(secret) <= 1024:
        raise BadInput(BAD_PASSPHRASE)
    return hash_secret_raw(secret, salt, cost.passes, cost.memory_kib, cost.lanes, KEY_BYTES, Type.ID)


def _lock_header(cost: _Cost, salt: bytes) -> bytes:
    return length_prefixed(_LOCK_DOMAIN, codec.encode(cost), salt)


def _expand_seed(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    if len(seed) != HPKE_PRIVATE_BYTES:
        raise BadInput(BAD_KEY)
    expanded = hashlib.shake_256(seed).digest(_MLKEM_SEED_BYTES + 32)
    return (
        MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED_BYTES]),
        X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED_BYTES:]),
    )
