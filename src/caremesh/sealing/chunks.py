"""The ciphertexts of the records of one segment: one key, a nonce for each, as STREAM numbers its pieces.

    key    HKDF-SHA256(segment key, no salt, info = "records")
    nonce  i ‖ chunk ‖ last flag, each uint32
    AAD    stream ‖ media type, length-prefixed

A segment key is drawn afresh for every attempt to seal, so no nonce meets a key twice; what is moved, cut short or
joined meets another nonce and does not open (Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and
its Nonce-Reuse Misuse-Resistance", CRYPTO 2015, section 7).
"""

from __future__ import annotations

import struct
from typing import Final

from caremesh.crypto.envelope import ManyAead
from caremesh.crypto.hashes import length_prefixed
from caremesh.crypto.keys import derive

_NONCE: Final = struct.Struct(">III")


class ChunkCipher:
    """Seals and opens the chunks of the records of one segment."""

    def __init__(self, segment_key: bytes, stream: bytes) -> None:
        """``segment_key``: 32 bytes; ``stream``: the 32-byte id."""
        self._aead = ManyAead(derive(segment_key, b"records"))
        self._stream = stream
        self._aads: dict[str, bytes] = {}

    def seal(self, record: int, chunk: int, media_type: str, plaintext: bytes, *, last: bool) -> bytes:
        """Ciphertext of one chunk. Each (record, chunk) of a segment is sealed once."""
        aad = self._aads.get(media_type) or self._aad(media_type)
        return self._aead.seal(_NONCE.pack(record, chunk, last), plaintext, aad)

    def open(self, record: int, chunk: int, media_type: str, ciphertext: bytes, *, last: bool) -> bytes:
        """Plaintext of one chunk. Raises Tampered envelope.02; the caller, who knows the block, names it."""
        aad = self._aads.get(media_type) or self._aad(media_type)
        return self._aead.open(_NONCE.pack(record, chunk, last), ciphertext, aad)

    def _aad(self, media_type: str) -> bytes:
        made = self._aads[media_type] = length_prefixed(self._stream, media_type.encode())
        return made
