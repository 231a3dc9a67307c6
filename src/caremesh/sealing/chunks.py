"""The key and the associated data of each ciphertext of one segment.

    key  HKDF-SHA256(segment key, no salt, info = "record" ‖ i ‖ chunk)
    AAD  stream ‖ i ‖ chunk ‖ last flag ‖ media type

All parts are length-prefixed, i and chunk are uint32, the flag is one byte. Thousands are made at once, so the
length prefixes of parts of fixed length are laid out once; a test compares with ``length_prefixed``.
"""

from __future__ import annotations

import struct
from typing import Final

from caremesh.crypto.envelope import open_aead, seal_aead
from caremesh.crypto.hashes import length_prefixed
from caremesh.crypto.keys import expand_info

_KEY_INFO: Final = struct.Struct(">I6sIIII")
_AAD_MIDDLE: Final = struct.Struct(">IIIII?")


class ChunkCipher:
    """Seals and opens the chunks of the records of one segment."""

    def __init__(self, secret: bytes, stream: bytes) -> None:
        """``secret``: ``extract(segment key)``; ``stream``: the 32-byte id."""
        self._secret = secret
        self._stream = length_prefixed(stream)
        self._media_types: dict[str, bytes] = {}

    def seal(self, record: int, chunk: int, media_type: str, plaintext: bytes, *, last: bool) -> bytes:
        """Ciphertext of one chunk. Each (record, chunk) of a segment is sealed once."""
        suffix = self._media_types.get(media_type) or self._suffix(media_type)
        key = expand_info(self._secret, _KEY_INFO.pack(6, b"record", 4, record, 4, chunk))
        return seal_aead(key, plaintext, self._stream + _AAD_MIDDLE.pack(4, record, 4, chunk, 1, last) + suffix)

    def open(self, record: int, chunk: int, media_type: str, ciphertext: bytes, *, last: bool) -> bytes:
        """Plaintext of one chunk. Raises Tampered envelope.02; the caller, who knows the block, names it."""
        suffix = self._media_types.get(media_type) or self._suffix(media_type)
        key = expand_info(self._secret, _KEY_INFO.pack(6, b"record", 4, record, 4, chunk))
        return open_aead(key, ciphertext, self._stream + _AAD_MIDDLE.pack(4, record, 4, chunk, 1, last) + suffix, "")

    def _suffix(self, media_type: str) -> bytes:
        found = self._media_types[media_type] = length_prefixed(media_type.encode())
        return found
