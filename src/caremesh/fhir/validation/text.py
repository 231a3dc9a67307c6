"""From bytes to JSON, refusing what JSON readers disagree on: text that is not Unicode, and keys given twice."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec

from caremesh.errors import BadInput
from caremesh.fhir import errors

MAX_BYTES: Final = 256 * 2**20
"""One resource or bundle; larger ones come as streams."""
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_DECODER: Final = msgspec.json.Decoder()


def parse(data: bytes, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The JSON object in these bytes. Raises BadInput fhir.01, fhir.02, fhir.08, fhir.21, fhir.40, fhir.41."""
    if len(data) > max_bytes:
        raise BadInput(errors.RESOURCE_TOO_LARGE, f"{len(data)} bytes, at most {max_bytes}")
    try:
        found = _DECODER.decode(data)
    except UnicodeDecodeError as error:
        raise BadInput(errors.NOT_UTF8) from error
    except RecursionError as error:
        raise BadInput(errors.TOO_DEEP) from error
    except msgspec.ValidationError as error:
        raise BadInput(errors.NUMBER) from error
    except msgspec.DecodeError as error:
        raise BadInput(errors.SURROGATE if _SURROGATE.search(data) else errors.NOT_JSON) from error
    if not isinstance(found, dict):
        raise BadInput(errors.NOT_AN_OBJECT)
    if _may_have_twice(data, found):
        _refuse_twice(data)
    return found


def _may_have_twice(data: bytes, found: dict[str, Any]) -> bool:
    """False when what was read is all of the text, or there are as many keys in it: nearly always one of the two.

    A key ends in ``":``; within a string a quotation mark has a backslash before it. Where white space stands before a
    colon the count says nothing, and the careful way is taken.
    """
    again = msgspec.json.encode(found)
    if again == data:
        return False
    if b" :" in data or b"\n:" in data or b"\t:" in data or b"\r:" in data:
        return True
    return data.count(b'":') - data.count(b'\\":') != again.count(b'":') - again.count(b'\\":')


def _refuse_twice(data: bytes) -> None:
    try:
        json.loads(data, object_pairs_hook=_once)
    except RecursionError as error:
        raise BadInput(errors.TOO_DEEP) from error


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise BadInput(errors.DUPLICATE_KEY)
