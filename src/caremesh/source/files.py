"""Open what is to be imported, within limits: JSON or NDJSON, plain or gzip. Nothing larger is ever held."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from caremesh.errors import BadInput
from caremesh.fhir import errors as fhir_errors
from caremesh.source import errors

MAX_FILE_BYTES: Final = 128 * 1024 * 1024
"""One JSON document, uncompressed. NDJSON has no limit but that of its lines."""
_CHUNK_BYTES: Final = 1024 * 1024
_GZIP_MAGIC: Final = b"\x1f\x8b"
_SPACE: Final = b" \t\r\n"


def chunks(path: Path) -> Iterator[bytes]:
    """The file's bytes, uncompressed, 1 MiB at a time. Raises BadInput source.07, fhir.22."""
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == _GZIP_MAGIC
            plain.seek(0)
            file = gzip.GzipFile(fileobj=plain) if packed else plain
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInput(fhir_errors.NOT_GZIP) from error
    except OSError as error:
        raise BadInput(errors.UNREADABLE) from error


def whole(parts: Iterator[bytes], limit_bytes: int = MAX_FILE_BYTES) -> bytearray:
    """All of it, or BadInput fhir.20 as soon as it is too large; blanks at the beginning are read, but not held."""
    data = bytearray()
    seen_bytes = 0
    for part in parts:
        seen_bytes += len(part)
        if seen_bytes > limit_bytes:
            raise BadInput(fhir_errors.TOO_LARGE, f"more than {limit_bytes} bytes")
        data += part if data else part.lstrip(_SPACE)
    return data


def is_lines(path: Path) -> bool:
    """Whether a file's name says that it is NDJSON."""
    return ".ndjson" in path.suffixes or ".jsonl" in path.suffixes
