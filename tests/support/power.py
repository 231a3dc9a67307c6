"""Power that goes: what was written is recorded, and a disk is put together again without what was not synced.

The recorder (``recorder_of_writes.c``) stops a program's threads by ptrace at the system calls that change files. The
disk is one that keeps changes of names in order, and makes all of them durable whenever a file is synced, as a journal
does; what is in a file is durable when that file was synced. What came after the last sync is gone, or it is there in
part: every name, and of what was written any sectors of 512 bytes.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("recorder_of_writes.c")
_OPEN, _WRITE, _SYNC, _RENAME, _UNLINK, _TRUNCATE = range(1, 7)
_SECTOR: Final = 512
_HEAD: Final = 64


def recorded(program: Path, folder: Path) -> Path:
    """A program that does what ``program`` does, and records it in ``folder``."""
    folder.mkdir(parents=True)
    recorder, made = folder / "recorder", folder / "recorded"
    subprocess.run(["cc", "-O1", "-w", "-o", recorder, SOURCE], check=True)
    made.write_text(f'#!/bin/sh\nRECORDING="{folder}/recording" RECORDED="{program}" exec "{recorder}" "$@"\n')
    made.chmod(0o700)
    return made


class _File:
    """What is in a file as its writer sees it, and what of that is durable."""

    def __init__(self, content: bytes = b"", *, synced: bool = False) -> None:
        """``synced``: whether each write is, as the file was opened (O_SYNC)."""
        self.synced = synced
        self.content = bytearray(content)
        self.durable = bytes(content)
        self.late: list[tuple[int, bytes]] = []

    def write(self, offset: int, data: bytes) -> None:
        _put(self.content, offset, data)
        self.late.append((offset, data))

    def sync(self) -> None:
        self.durable, self.late = bytes(self.content), []

    def torn(self, dice: random.Random) -> bytes:
        found = bytearray(self.durable)
        for offset, data in self.late:
            for at in range(0, len(data), _SECTOR):
                if dice.random() < 0.5:
                    _put(found, offset + at, data[at : at + _SECTOR])
        return bytes(found)


class Disk:
    """The files of one folder over a recording that begins with what is in it now."""

    def __init__(self, folder: Path) -> None:
        """``folder``: everything in it is durable."""
        self._folder: Final = folder
        self._now = {str(path): _File(path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
        self._durable = dict(self._now)
        self.lost = 0
        """How many bytes were written and not synced when the power went."""

    def play(self, recording: bytes) -> None:
        """Do what was recorded."""
        at = 0
        while at + _HEAD <= len(recording):
            head = [int.from_bytes(recording[at + 8 * n : at + 8 * n + 8], "little") for n in range(6)]
            kind, offset, length, flags, *names = head
            at += _HEAD
            path, other = (
                recording[at : at + names[0]].decode(),
                recording[at + names[0] : at + sum(names)].decode(),
            )
            at += sum(names)
            self._step(kind, path, other, offset, recording[at : at + length], flags)
            at += length

    def _step(self, kind: int, path: str, other: str, offset: int, data: bytes, flags: int) -> None:
        if kind == _SYNC and path in self._now:
            self._now[path].sync()
        if kind == _SYNC:
            self._durable = dict(self._now)
        elif not path.startswith(f"{self._folder}/"):
            return
        elif kind == _OPEN and (path not in self._now or flags & os.O_TRUNC):
            self._now[path] = _File(synced=bool(flags & (os.O_SYNC | os.O_DSYNC)))
        elif kind == _WRITE and path in self._now:
            self._now[path].write(offset, data)
            if self._now[path].synced:
                self._step(_SYNC, path, "", 0, b"", 0)
        elif kind == _TRUNCATE and path in self._now:
            file = self._now[path]
            file.content = file.content[:offset] + bytes(max(0, offset - len(file.content)))
        elif kind == _RENAME and path in self._now:
            self._now[other] = self._now.pop(path)
        elif kind == _UNLINK:
            self._now.pop(path, None)

    def after(self, dice: random.Random | None) -> dict[str, bytes]:
        """What the disk holds when the power has gone. With ``dice`` some of what was not synced is there."""
        self.lost = sum(len(data) for file in self._now.values() for _, data in file.late)
        if dice is None:
            return {path: file.durable for path, file in self._durable.items()}
        return {path: file.torn(dice) for path, file in self._now.items()}


def replaced(folder: Path, files: dict[str, bytes]) -> None:
    """Put these files into a folder, in place of all that is there."""
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    for path, content in files.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        Path(path).write_bytes(content)
        Path(path).chmod(0o600)


def _put(into: bytearray, offset: int, data: bytes) -> None:
    if len(into) < offset:
        into.extend(bytes(offset - len(into)))
    into[offset : offset + len(data)] = data
