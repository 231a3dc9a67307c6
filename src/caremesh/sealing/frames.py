"""The plaintext of a record before encryption: uint32 length ‖ zstd ‖ zeros to a Padmé length.

zstd works with a dictionary of what FHIR resources have in common (``records.zdict``, made by
``tools/record_dictionary.py`` out of examples with nobody in them): single records are small, and most of each is what
all have. The dictionary is part of the format; a frame says in its header that it needs it.

Compression first, because ciphertext does not compress; padding after it, so that the size that everybody
sees says little: Padmé lengths leak O(log log size) bits and cost at most 12 % (Nikitin et al., "Reducing
Metadata Leakage from Encrypted Files and Communication with PURBs", PETS 2019, section 4).
Decompression is bounded before it starts: a frame must state its size, and the size is checked.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import resources
from typing import Final

import zstandard

from caremesh.errors import Tampered
from caremesh.sealing.errors import BAD_FRAME, TOO_LARGE

_LENGTH_BYTES: Final = 4
DICTIONARY_ID: Final = 0xCA5E
"""Of the range that RFC 8878 (section 5) leaves to anyone."""
LEVEL: Final = 1
"""Of zstd: on single records as small as level 3 makes them, in three quarters of the time."""


@lru_cache(maxsize=8192)
def padded_length(length: int) -> int:
    """The Padmé length of ``length`` bytes: at least ``length``, at most 12 % more."""
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    free_bits = exponent - exponent.bit_length()
    mask = (1 << free_bits) - 1
    return (length + mask) & ~mask


@cache
def dictionary() -> zstandard.ZstdCompressionDict:
    """What FHIR resources have in common, ready for use."""
    made = zstandard.ZstdCompressionDict((resources.files("caremesh.sealing") / "records.zdict").read_bytes())
    made.precompute_compress(level=LEVEL)
    return made


class Framer:
    """Makes and reads frames. Owns zstd contexts, which are costly to make and serve one thread at a time."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(LEVEL, dictionary(), write_content_size=True)
        self._decompressor = zstandard.ZstdDecompressor(dictionary())

    def frame(self, data: bytes) -> bytes:
        """The padded frame of a record's original bytes."""
        packed = self._compressor.compress(data)
        length = len(packed)
        return (length.to_bytes(_LENGTH_BYTES, "big") + packed).ljust(padded_length(_LENGTH_BYTES + length), b"\0")

    def unframe(self, frame: bytes, limit: int) -> bytes:
        """A record's original bytes, at most ``limit`` of them. The caller names the place of an error.

        Raises Tampered sealing.09 (not a frame as ``frame`` makes it), sealing.10 (larger than the limit).
        """
        end = _LENGTH_BYTES + int.from_bytes(frame[:_LENGTH_BYTES], "big")
        if len(frame) != padded_length(end) or frame.count(0, end) != len(frame) - end:
            raise Tampered(BAD_FRAME)
        packed = frame[_LENGTH_BYTES:end]
        try:
            if zstandard.frame_content_size(packed) > limit:
                raise Tampered(TOO_LARGE)
            # Given no bound, the library refuses a frame that does not state its size, and unpacks no more than that.
            return self._decompressor.decompress(packed, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise Tampered(BAD_FRAME) from error
