"""What of a body a request wants: byte ranges and conditions (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

_RANGE: Final = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII)


class Part(NamedTuple):
    """Bytes ``start`` to before ``end``."""

    start: int
    end: int


NOTHING: Final = Part(0, 0)


def wanted(headers: Mapping[str, str], etag: str, size: int) -> Part | None:
    """The part of a body of ``size`` bytes that is wanted; None: all of it; ``NOTHING``: what there is not.

    Several ranges, and what is no range, count as if there were none, which section 14.2 allows.
    """
    match = _RANGE.fullmatch(headers.get("range", ""))
    if match is None or headers.get("if-range", etag) != etag or match[0].split("=")[1].strip() == "-":
        return None
    first, last = match[1], match[2]
    if not first:
        length = min(int(last), size)
        return Part(size - length, size) if length else NOTHING
    start, end = int(first), int(last) + 1 if last else size
    if last and end <= start:
        return None
    return Part(start, min(end, size)) if start < size else NOTHING


def is_known(headers: Mapping[str, str], etag: str) -> bool:
    """Whether the caller has it already: ``If-None-Match`` compares weakly (section 13.1.2)."""
    tags = [tag.strip().removeprefix("W/") for tag in headers.get("if-none-match", "").split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags
