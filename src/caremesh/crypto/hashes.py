"""SHA-256 with domains and length prefixes, so that no two inputs of ours hash alike by accident. Consensus code.

Pure functions of their arguments: no clock, no entropy, no operating system.
"""

from __future__ import annotations

import hashlib
from typing import Final

from caremesh.errors import BadInput, ErrorCode

_LIMIT: Final = 2**32

TOO_LONG = ErrorCode("hashes.01", "A part of a hash input is 4 GiB or longer.", "Hash the part first.")


def sha256(data: bytes) -> bytes:
    """The 32 bytes of SHA-256 (FIPS 180-4)."""
    return hashlib.sha256(data).digest()


def length_prefixed(*parts: bytes) -> bytes:
    """Each part after its length in bytes as a big-endian uint32: one spelling for one list of parts.

    Raises BadInput hashes.01 for a part of 4 GiB or more.
    """
    pieces = []
    for position, part in enumerate(parts):
        if len(part) >= _LIMIT:
            raise BadInput(TOO_LONG, f"part {position}")
        pieces.append(len(part).to_bytes(4, "big"))
        pieces.append(part)
    return b"".join(pieces)


def tagged_hash(domain: str, *parts: bytes) -> bytes:
    """SHA-256 of ``length_prefixed(domain in UTF-8, *parts)``: 32 bytes.

    Every ``H("caremesh/v1/x" ‖ a ‖ b)`` of our formats is ``tagged_hash("caremesh/v1/x", a, b)``.
    """
    return sha256(length_prefixed(domain.encode(), *parts))
