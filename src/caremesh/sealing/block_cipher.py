"""The ciphertexts of the blocks of one segment: one key, a nonce for each, as STREAM numbers its pieces.

    key    HKDF-SHA256(segment key, no salt, info = "blocks")
    nonce  number of the block, uint64 ‖ last flag, uint32
    AAD    stream ‖ "blocks", length-prefixed

A segment key is drawn afresh for every attempt to seal, so no nonce meets a key twice; what is moved, cut short or
joined meets another nonce and does not open (Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and
its Nonce-Reuse Misuse-Resistance", CRYPTO 2015, section 7). Which bytes of a block are whose record, and of which media
type, is for the manifest to say, which only who has the segment key can have made.
"""

from __future__ import annotations

import struct
from typing import Final

from caremesh.crypto.envelope import ManyAead
from caremesh.crypto.hashes import length_prefixed
from caremesh.crypto.keys import derive

_NONCE: Final = struct.Struct(">QI")


class BlockCipher:
    """Seals and opens the blocks of one segment."""

    def __init__(self, segment_key: bytes, stream: bytes) -> None:
        """``segment_key``: 32 bytes; ``stream``: the 32-byte id."""
        self._aead = ManyAead(derive(segment_key, b"blocks"))
        self._aad = length_prefixed(stream, b"blocks")

    def seal(self, block: int, plaintext: bytes, *, last: bool) -> bytes:
        """Ciphertext of one block. Each block of a segment is sealed once."""
        return self._aead.seal(_NONCE.pack(block, last), plaintext, self._aad)

    def open(self, block: int, ciphertext: bytes, *, last: bool) -> bytes:
        """Plaintext of one block. Raises Tampered envelope.02; the caller, who knows its CID, names it."""
        return self._aead.open(_NONCE.pack(block, last), ciphertext, self._aad)
