"""Blocks as files, so that after power loss each is there whole or not at all.

    <folder>/lock                     held while one process writes
    <folder>/<xy>/<cid>               a block; xy are the last two characters of its CID
    <folder>/<xy>/<cid>.<stream hex>  another name of the block (a hard link): that stream holds it
    <folder>/<xy>/.writing-…          being written; removed when the folder is opened again

A block is written beside its place and synced, then renamed, then marked as held, then the folder is synced:
only then is it acknowledged. What a crash leaves behind in between (a temporary file, a block that nobody
holds) is removed at the next opening. Deleting goes the other way: the mark first, the block last.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from caremesh.blobs.durable import STORAGE_FAILED, TEMPORARY_PREFIX, NewFile, sync_folder, sync_folders, write_new
from caremesh.blobs.interface import NOT_HELD, CheckedBlocks, check_block
from caremesh.codec import CID, parse_cid
from caremesh.errors import StorageFailed, Tampered, Unavailable

_MODE: Final = 0o600
_MARK: Final = re.compile(r"b[a-z2-7]{58}\.[0-9a-f]{64}")
_NO_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EMLINK}


class FilesystemBlocks:
    """A ``BlockStore`` in a folder. Any number of threads and processes may use the folder at once."""

    def __init__(self, folder: Path, *, to_read: bool = False) -> None:
        """Open or create, and remove what a crash left behind (reads all names). Raises StorageFailed storage.01.

        ``to_read``: nothing is created, removed or looked at; the folder may come later.
        """
        self._folder = folder
        if to_read:
            return
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
        """See ``BlockStore``."""
        self.put_many({stream: blocks})

    def put_many(self, held: Mapping[bytes, Mapping[CID, bytes]]) -> None:
        """See ``BlockStore``. Two rounds of syncs: all blocks at once, then all their folders."""
        every = CheckedBlocks(*held.values())
        paths = {cid: self._path(cid.encode()) for cid in every}
        shards = sorted({path.parent for path in paths.values()})
        with self._writing():
            changed = self._make_shards(shards)
            added: list[Path] = []
            try:
                beside = self._write_beside(every, paths, added, changed)
                for stream, blocks in held.items():
                    for cid in blocks:
                        _publish(stream, paths[cid], beside.pop(cid, None), added)
                sync_folders(shards)
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

    def names(self, after: CID | None, limit: int) -> list[CID]:
        """See ``BlockStore``. By shard, then by text; reads the names of as many shards as it needs."""
        last = "" if after is None else after.encode()
        found: list[CID] = []
        with _storage_errors(self._folder.name):
            shards = sorted(path.name for path in self._folder.iterdir() if path.is_dir() and path.name >= last[-2:])
            for shard in shards:
                names = {entry.name.partition(".")[0] for entry in (self._folder / shard).iterdir() if _is_mark(entry)}
                left = sorted(name for name in names if name[-2:] == shard and (shard, name) > (last[-2:], last))
                found += [parse_cid(name) for name in left[: limit - len(found)]]
                if len(found) == limit:
                    break
        return found

    def _path(self, name: str) -> Path:
        return self._folder / name[-2:] / name

    def _make_shards(self, shards: Iterable[Path]) -> list[Path]:
        """The folders that have a new shard in them, to be synced before anything in it counts."""
        made = False
        for shard in shards:
            with _storage_errors(shard.name):
                if not shard.exists():
                    shard.mkdir(mode=0o700)
                    made = True
        return [self._folder] if made else []

    @staticmethod
    def _write_beside(
        blocks: Mapping[CID, bytes], paths: Mapping[CID, Path], added: list[Path], changed: list[Path]
    ) -> dict[CID, Path]:
        """Synced temporary files with the blocks, but for those of which a sound one is already in place."""
        beside: dict[CID, Path] = {}
        files = []
        for cid, data in blocks.items():
            path = paths[cid]
            with _storage_errors(path.name):
                if _is_sound(path, cid):
                    continue
            beside[cid] = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
            files.append(NewFile(path.name, beside[cid], data))
        added += beside.values()
        write_new(files, folders=changed, mode=_MODE)
        return beside

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


def _publish(stream: bytes, path: Path, beside: Path | None, added: list[Path]) -> None:
    """Give the block its name, then mark it as held."""
    mark = _mark_of(path, stream)
    with _storage_errors(path.name):
        if beside is not None:
            if not path.exists():
                added.append(path)
            beside.replace(path)
        if not mark.exists():
            added.append(mark)
            _mark(path, mark)


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


def _mark(path: Path, mark: Path) -> None:
    """A second name costs no second file; where the file system has none, an empty file does as well."""
    try:
        os.link(path, mark)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        mark.touch(mode=_MODE)


def _is_mark(path: Path) -> bool:
    return _MARK.fullmatch(path.name) is not None


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
