"""base58btc, the alphabet of Multikey text (draft-msporny-base58-03; W3C Controlled Identifiers 1.0, section 2.4)."""

from __future__ import annotations

from typing import Final

from caremesh.errors import BadInput, ErrorCode

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
_LONGEST: Final = 128

NOT_BASE58 = ErrorCode("base58.01", "This text is not base58btc.", "Copy it again, whole.")


def encode(data: bytes) -> str:
    """Each leading zero byte is a ``1``; what follows is the big-endian number in base 58."""
    number = int.from_bytes(data, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_ALPHABET[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(digits))


def decode(text: str) -> bytes:
    """The bytes of a text of at most 128 characters (the work grows with the square of the length).

    Raises BadInput base58.01; the place is the position of the first wrong character, never the text.
    """
    if len(text) > _LONGEST:
        raise BadInput(NOT_BASE58, f"longer than {_LONGEST} characters")
    number = 0
    for position, character in enumerate(text):
        value = _VALUES.get(character)
        if value is None:
            raise BadInput(NOT_BASE58, f"character {position}")
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
