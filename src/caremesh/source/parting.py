"""Entries in pieces: lines that are looked at together, records that make a segment."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from caremesh.fhir.entries import Entry
from caremesh.source.resolving import Found

MAX_RECORDS_PER_SEGMENT: Final = 2_000
MAX_SEGMENT_BYTES: Final = 8 * 1024 * 1024
"""Original bytes of one segment, unless a single record is larger."""
LINES_AT_ONCE: Final = 2_000


def batch(entries: Iterator[Entry]) -> Iterator[Entry]:
    """The next lines: at most ``LINES_AT_ONCE``, and no more once they make a segment."""
    size_bytes = 0
    for entry in itertools.islice(entries, LINES_AT_ONCE):
        yield entry
        size_bytes += len(bytes(entry.raw))
        if size_bytes >= MAX_SEGMENT_BYTES:
            return


def parts(items: list[Found]) -> Iterator[list[Found]]:
    """The items in pieces that make a segment each."""
    part: list[Found] = []
    size_bytes = 0
    for item in items:
        if part and (len(part) == MAX_RECORDS_PER_SEGMENT or size_bytes + item.size_bytes > MAX_SEGMENT_BYTES):
            yield part
            part, size_bytes = [], 0
        part.append(item)
        size_bytes += item.size_bytes
    if part:
        yield part
