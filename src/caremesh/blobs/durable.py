"""Write a file so that after a crash there is the old one or the new one, whole, and never a mix.

Every folder of ours that must survive power loss is written through this one function:
write beside, fsync, rename over, fsync the folder.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from caremesh.errors import ErrorCode, StorageFailed

STORAGE_FAILED = ErrorCode(
    "storage.01",
    "The disk did not take the write; what was there before is unchanged.",
    "Free space, or make the folder writable, and run the same command again.",
)
TEMPORARY_PREFIX = ".writing-"


def write_durably(path: Path, data: bytes | Iterable[bytes], *, mode: int = 0o600) -> None:
    """Put ``data`` (in parts, if it is large) at ``path``: durable when this returns, untouched when it raises.

    Raises StorageFailed storage.01 (full, read-only or broken disk); the place is the file's name.
    """
    beside = path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines([data] if isinstance(data, bytes) else data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise StorageFailed(STORAGE_FAILED, path.name) from error


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Drop the temporary files that a crash left behind. Raises StorageFailed storage.01."""
    try:
        for leftover in sorted(folder.glob(f"{TEMPORARY_PREFIX}*")):
            leftover.unlink()
    except OSError as error:
        raise StorageFailed(STORAGE_FAILED, folder.name) from error
