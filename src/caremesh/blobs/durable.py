"""Write a file so that after a crash there is the old one or the new one, whole, and never a mix.

Every folder of ours that must survive power loss is written through these functions: write beside, fsync, rename over,
fsync the folder. Several files are synced at once: a journalling file system then writes its journal once for all of
them, where one sync after the other waits for it each time.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from caremesh.errors import ErrorCode, StorageFailed

STORAGE_FAILED = ErrorCode(
    "storage.01",
    "The disk did not take the write; what was there before is unchanged.",
    "Free space, or make the folder writable, and run the same command again.",
)
TEMPORARY_PREFIX = ".writing-"
_AT_ONCE: Final = 64
"""Files that are open together while they are synced."""


class NewFile(NamedTuple):
    """A file to write; ``place``: what an error calls it."""

    place: str
    path: Path
    data: bytes


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


def write_new(files: Iterable[NewFile], *, folders: Iterable[Path] = (), mode: int = 0o600) -> None:
    """Write files that are not there yet, and sync them together; their names are not durable before their folder is.

    ``folders`` are synced along with them. When it raises, any of them may be there. Raises StorageFailed storage.01
    with the file's place.
    """
    waiting = iter(files)
    others = [_sync_of_folder(folder) for folder in folders]
    while group := list(islice(waiting, _AT_ONCE)):
        descriptors: list[int] = []
        try:
            for place, path, data in group:
                with _named(place):
                    descriptors.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
                    _write(descriptors[-1], data)
            _each(others + [_sync_of(file.place, open_) for file, open_ in zip(group, descriptors, strict=True)])
            others = []
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
    _each(others)


def sync_folders(folders: Iterable[Path]) -> None:
    """Make the names in these folders durable, together. Raises StorageFailed storage.01 with the folder's name."""
    _each([_sync_of_folder(folder) for folder in folders])


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


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _sync_of(place: str, descriptor: int) -> Callable[[], None]:
    def call() -> None:
        with _named(place):
            os.fsync(descriptor)

    return call


def _sync_of_folder(folder: Path) -> Callable[[], None]:
    def call() -> None:
        with _named(folder.name):
            sync_folder(folder)

    return call


def _each(calls: Sequence[Callable[[], None]]) -> None:
    """All calls, at once when there are several. Raises what the first of them that failed raised, after all ended."""
    if not calls:
        return
    futures = [_threads(os.getpid()).submit(call) for call in calls[1:]]
    try:
        calls[0]()
    finally:
        errors = [future.exception() for future in futures]
    for error in errors:
        if error is not None:
            raise error


@cache
def _threads(process: int) -> ThreadPoolExecutor:  # noqa: ARG001 - a forked process has none of its parent's threads
    return ThreadPoolExecutor(max_workers=8, thread_name_prefix="sync")


@contextlib.contextmanager
def _named(place: str) -> Iterator[None]:
    """Let the operating system's errors out as ours."""
    try:
        yield
    except OSError as error:
        raise StorageFailed(STORAGE_FAILED, place) from error


def take_room(file: Path, size: int) -> bool:
    """Whether a file, made when it is not there, has so many bytes of its own now; what is in it stays."""
    try:
        with file.open("ab") as opened:
            os.posix_fallocate(opened.fileno(), 0, size)
    except (OSError, AttributeError):  # no room; a system that cannot do it
        return False
    return True
