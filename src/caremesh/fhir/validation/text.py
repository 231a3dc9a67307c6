"""From bytes to one JSON object, or a code for what is wrong with the text. How it is read is caremesh.fhir.text's."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from caremesh.errors import BadInput, ErrorCode
from caremesh.fhir import errors, text

MAX_BYTES: Final = 256 * 2**20
"""One resource or bundle; larger ones come as streams."""
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def parse(data: bytes, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The JSON object in these bytes. Raises BadInput fhir.01, 02, 08, 21, 40, 41, 43, 44."""
    if len(data) > max_bytes:
        raise BadInput(errors.RESOURCE_TOO_LARGE, f"{len(data)} bytes, at most {max_bytes}")
    try:
        found = text.parse(data)
    except BadInput as error:
        if error.error == errors.NOT_JSON:
            raise BadInput(_reason(data, error), error.place) from error
        raise
    if not isinstance(found, dict):
        raise BadInput(errors.NOT_AN_OBJECT)
    return found


def _reason(data: bytes, error: BadInput) -> ErrorCode:
    """What makes the text no JSON, where one can tell."""
    if isinstance(error.__cause__, msgspec.ValidationError):
        return errors.NUMBER
    return errors.SURROGATE if _SURROGATE.search(data) else errors.NOT_JSON
