"""Blocks as files, so that after power loss each is there whole or not at all.

    <folder>/lock                     held while one process writes
    <folder>/<xy>/<cid>               a block; xy are the last two characters of its CID
    <folder>/<xy>/<cid>.<stream hex>  empty: that stream holds the block
    <folder>/<xy>/.writing-…          being written; removed when the folder is opened again

A block is written beside its place and synced, then renamed, then marked as held, then the folder is synced:
only then is it acknowledged. What a crash leaves behind in between (a temporary file, a block that nobody
holds) is removed at the next opening. Deleting goes the other way: the mark first, the block last.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from caremesh.blobs.durable import STORAGE_FAILED, TEMPORARY_PREFIX, sync_folder
from caremesh.blobs.interface import NOT_HELD, check_block
from caremesh.codec import CID
from caremesh.errors import StorageFailed, Tampered, Unavailable

_MODE: Final = 0o600


class FilesystemBlocks:
    """A ``BlockStore`` in a folder. Any number of threads and processes may use the folder at once."""

    def __init__(self, folder: Path) -> None:
        """Open or create, and remove what a crash left behind (reads all names). Raises StorageFailed storage.01."""
        self._folder = folder
        with _storage_errors(folder.name):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._writing():
                for shard in sorted(path for path in folder.iterdir() if path.is_dir()):
                    _remove_remains(shard)
                sync_folder(folder)  # a process that was killed may have made a shard and not synced its name
                sync_folder(folder.parent)

    def put(self, stream: bytes, cid: CID, data: bytes) -> None:
        """See ``BlockStore``."""
        self.put_all(stream, {cid: data})

    def put_all(self, stream: bytes, blocks: Mapping[CID, bytes]) -> None:
        """See ``BlockStore``. One sync for each block, and one for each folder."""
        for cid, data in blocks.items():
            check_block(cid, data)
        with self._writing():
            for cid in blocks:
                self._make_shard(cid)
            added: list[Path] = []
            try:
                fresh = [self._write_beside(cid, data, added) for cid, data in blocks.items()]
                for cid, beside in zip(blocks, fresh, strict=True):
                    self._publish(stream, cid, beside, added)
                for shard in sorted({self._path(cid.encode()).parent for cid in blocks}):
                    self._sync(shard)
            except BaseException:
                _take_back(added)
                raise

    def get(self, cid: CID) -> bytes:
        """See ``BlockStore``."""
        name = cid.encode()
        with _storage_errors(name):
            try:
                data = self._path(name).read_bytes()
            except FileNotFoundError as error:
                raise Unavailable(NOT_HELD, name) from error
        check_block(cid, data)
        return data

    def has(self, cid: CID) -> bool:
        """See ``BlockStore``."""
        with _storage_errors(cid.encode()):
            return self._path(cid.encode()).exists()

    def delete(self, stream: bytes, cid: CID) -> None:
        """See ``BlockStore``."""
        path = self._path(cid.encode())
        with self._writing(), _storage_errors(path.name):
            if not path.parent.exists():
                return
            _mark_of(path, stream).unlink(missing_ok=True)
            if not _holders(path):
                path.unlink(missing_ok=True)
            sync_folder(path.parent)

    def streams_of(self, cid: CID) -> list[bytes]:
        """See ``BlockStore``. Reads the names of one shard."""
        with _storage_errors(cid.encode()):
            return _holders(self._path(cid.encode()))

    def _path(self, name: str) -> Path:
        return self._folder / name[-2:] / name

    def _make_shard(self, cid: CID) -> None:
        shard = self._path(cid.encode()).parent
        with _storage_errors(cid.encode()):
            if not shard.exists():
                shard.mkdir(mode=0o700)
                sync_folder(self._folder)

    def _write_beside(self, cid: CID, data: bytes, added: list[Path]) -> Path | None:
        """A synced temporary file with the block, or None when a sound one is already in place."""
        path = self._path(cid.encode())
        with _storage_errors(path.name):
            if _is_sound(path, cid):
                return None
            beside = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
            added.append(beside)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        return beside

    def _publish(self, stream: bytes, cid: CID, beside: Path | None, added: list[Path]) -> None:
        """Give the block its name, then mark it as held."""
        path = self._path(cid.encode())
        mark = _mark_of(path, stream)
        with _storage_errors(path.name):
            if beside is not None:
                if not path.exists():
                    added.append(path)
                beside.replace(path)
            if not mark.exists():
                added.append(mark)
                mark.touch(mode=_MODE)

    def _sync(self, shard: Path) -> None:
        with _storage_errors(shard.name):
            sync_folder(shard)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """One writer at a time, among threads and among processes: each opens the lock file for itself."""
        with _storage_errors(self._folder.name):
            descriptor = os.open(self._folder / "lock", os.O_WRONLY | os.O_CREAT, _MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _storage_errors(place: str) -> Iterator[None]:
    """Let the operating system's errors out as ours only. ``place``: the CID, or the folder's name."""
    try:
        yield
    except OSError as error:
        raise StorageFailed(STORAGE_FAILED, place) from error


def _take_back(paths: list[Path]) -> None:
    """Remove what a failed call wrote, newest first, as far as the disk lets us; the rest goes at the next opening."""
    for path in reversed(paths):
        with contextlib.suppress(OSError):
            path.unlink()


def _is_sound(path: Path, cid: CID) -> bool:
    """Whether the block is there and is what its name says; a damaged one is written again."""
    try:
        check_block(cid, path.read_bytes())
    except (FileNotFoundError, Tampered):
        return False
    return True


def _mark_of(path: Path, stream: bytes) -> Path:
    return path.with_name(f"{path.name}.{stream.hex()}")


def _holders(path: Path) -> list[bytes]:
    start = f"{path.name}."
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except FileNotFoundError:
        return []
    return sorted(bytes.fromhex(name.removeprefix(start)) for name in names if name.startswith(start))


def _remove_remains(shard: Path) -> None:
    """Temporary files, and blocks that no stream holds."""
    names = sorted(entry.name for entry in shard.iterdir())
    held = {name.partition(".")[0] for name in names if "." in name[1:]}
    remains = [name for name in names if name.startswith(TEMPORARY_PREFIX) or ("." not in name and name not in held)]
    for name in remains:
        (shard / name).unlink()
    if remains:
        sync_folder(shard)
