"""JSON text as FHIR allows it, parsed so that no two readers can see two different things in it.

Refused: what is not UTF-8, not whole JSON, nested too deep for any reader, numbers beyond 64 bits, lone surrogates, and
objects that give a name twice (RFC 8259, section 4: what readers then see is unpredictable; a record could show one
code to the classifier and another to a doctor). Time and memory are linear in the length of the text.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from caremesh.errors import BadInput, ErrorCode
from caremesh.fhir import errors

_DECODER: Final = msgspec.json.Decoder()
_RAW_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ESCAPED_COLON: Final = b"\\u003"
_BYTE: Final = re.compile(r"\(byte (\d+)\)")
_PIECE_BYTES: Final = 1024 * 1024


def check_utf8(data: bytes | bytearray, place: str = "") -> None:
    """Raises BadInput fhir.01. Looks at a piece at a time: Python's text may take four times the bytes."""
    if data.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, max(len(data), 1), _PIECE_BYTES):
        piece = data[start : start + _PIECE_BYTES]
        try:
            decoder.decode(piece, final=start + _PIECE_BYTES >= len(data))
        except UnicodeDecodeError as error:
            raise BadInput(errors.NOT_UTF8, f"{place} byte {start + max(error.start, 0)}".lstrip()) from error


def parse(data: bytes, place: str = "") -> Any:
    """The value of a JSON text. Raises BadInput fhir.01, fhir.02, fhir.08, fhir.21."""
    return parse_both(data, place)[0]


def parse_both(data: bytes, place: str = "") -> tuple[Any, bytes]:
    """The value of a JSON text, and the same as compact text: no blanks, no escapes but those that must be.

    Raises as ``parse``.
    """
    check_utf8(data, place)
    value = decode(_DECODER.decode, data, place, errors.NOT_JSON)
    compact = msgspec.json.encode(value)
    # Every name is followed by a colon, so a name that was dropped as a duplicate shows in their number. Only an
    # escaped colon within a string could make up for it.
    if data.count(b":") != compact.count(b":") or _ESCAPED_COLON in data:
        _check_names(data, place)
    return value, compact


def split(data: bytes, place: str, error: ErrorCode = errors.NOT_JSON) -> dict[str, bytes]:
    """The members of a JSON object, each as the very bytes that stand there.

    Raises BadInput ``error`` when it is no object, fhir.08, fhir.21.
    """
    members = decode(_RAW_OBJECT.decode, data, place, error)
    found = {name: bytes(raw) for name, raw in members.items()}
    colons = sum(1 + value.count(b":") for value in found.values())
    if colons != data.count(b":") or any(":" in name for name in found):
        raise BadInput(errors.DUPLICATE_KEY, place)
    return found


def decode(decoder: Callable[[Any], Any], data: Any, place: str, error: ErrorCode) -> Any:
    """What a decoder of msgspec makes of JSON. Raises BadInput ``error`` for the wrong shape, fhir.02, fhir.08."""
    try:
        return decoder(data)
    except RecursionError as reason:
        raise BadInput(errors.TOO_DEEP, place) from reason
    except msgspec.ValidationError as reason:
        raise BadInput(error, place) from reason
    except msgspec.DecodeError as reason:
        raise BadInput(errors.NOT_JSON, _at(place, str(reason), len(memoryview(data)))) from reason


def _at(place: str, message: str, size_bytes: int) -> str:
    """The place with the position that the decoder names; without one, the text ended too early."""
    found = _BYTE.search(message)
    return f"{place} byte {found[1] if found else size_bytes}".lstrip()


def _check_names(data: bytes, place: str) -> None:
    """The slow and exact way: looks at the names of every object."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in pairs}) != len(pairs):
            raise BadInput(errors.DUPLICATE_KEY, place)

    try:
        json.loads(data, object_pairs_hook=check)
    except RecursionError as error:
        raise BadInput(errors.TOO_DEEP, place) from error
