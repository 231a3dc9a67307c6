"""From bytes to JSON, refusing what JSON readers disagree on: text that is not Unicode, and keys given twice."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from caremesh.errors import BadInput
from caremesh.fhir import errors

MAX_BYTES: Final = 256 * 2**20
"""One resource or bundle; larger ones come as streams."""
_DECODER: Final = msgspec.json.Decoder()


def parse(data: bytes, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The JSON object in these bytes. Raises BadInput fhir.01, fhir.02, fhir.08, fhir.40 to fhir.42."""
    if len(data) > max_bytes:
        raise BadInput(errors.TOO_LARGE, f"{len(data)} bytes, at most {max_bytes}")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(errors.NOT_UTF8, f"byte {error.start}") from error
    try:
        found = _DECODER.decode(data)
    except RecursionError as error:
        raise BadInput(errors.TOO_DEEP) from error
    except msgspec.DecodeError as error:
        raise BadInput(errors.NOT_JSON) from error
    if not isinstance(found, dict):
        raise BadInput(errors.NOT_AN_OBJECT)
    if _may_have_twice(data, found):
        _refuse_twice(data)
    return found


def _may_have_twice(data: bytes, found: dict[str, Any]) -> bool:
    """False when there are as many keys in the text as were read, which is nearly always.

    A key ends in ``":``; within a string a quotation mark has a backslash before it. Where white space stands before a
    colon the count says nothing, and the careful way is taken.
    """
    if b" :" in data or b"\n:" in data or b"\t:" in data or b"\r:" in data:
        return True
    again = msgspec.json.encode(found)
    return data.count(b'":') - data.count(b'\\":') != again.count(b'":') - again.count(b'\\":')


def _refuse_twice(data: bytes) -> None:
    try:
        json.loads(data, object_pairs_hook=_once)
    except RecursionError as error:
        raise BadInput(errors.TOO_DEEP) from error


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise BadInput(errors.KEY_TWICE)
