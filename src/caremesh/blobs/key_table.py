"""The keys of a vault's pages: a small table, rewritten whole and in place, that outlives a crash at any write.

Two files take turns. A new table goes over the older of the two and is synced; until then the other one counts. What
was in the older one is gone with that, since it is overwritten where it lies; ``forget`` overwrites the other as well.

    <folder>/keys.<n>   salt (32 bytes) ‖ AES-256-GCM(uint64 length ‖ table ‖ zeros), key = HKDF(owner's key, salt)

The table has a number, one higher each time; zeros fill the file, so that nothing of an older and longer table is left.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from msgspec import Struct

from caremesh import codec
from caremesh.blobs.durable import STORAGE_FAILED, write_durably
from caremesh.crypto.envelope import TAG_BYTES, open_aead, seal_aead
from caremesh.crypto.keys import derive
from caremesh.errors import BadInput, StorageFailed, Tampered
from caremesh.types import Count

_SALT_BYTES: Final = 32
_LENGTH_BYTES: Final = 8
_AROUND_BYTES: Final = _SALT_BYTES + TAG_BYTES
_LEAST_BYTES: Final = 1024
_DOMAIN: Final = b"caremesh/v1/vault"
SLOTS: Final = 2


class KeyTable(Struct, frozen=True):
    """``number``: how many tables there were before; ``pages``: file → key."""

    number: Count
    pages: dict[str, bytes]


class KeyTableFiles:
    """The two files of one vault."""

    def __init__(self, folder: Path, owner_key: bytes) -> None:
        """``owner_key``: 32 bytes."""
        self._folder = folder
        self._owner_key = owner_key

    def exist(self) -> bool:
        """Whether a table was ever written here."""
        return any(self._path(slot).exists() for slot in range(SLOTS))

    def read(self) -> list[KeyTable]:
        """The tables that are whole, the newest first. Raises StorageFailed storage.01."""
        found = [table for slot in range(SLOTS) if (table := self._read(slot)) is not None]
        return sorted(found, key=lambda table: -table.number)

    def write(self, table: KeyTable) -> None:
        """Durable when this returns; the table before it is still there. Raises StorageFailed storage.01."""
        path = self._path(table.number % SLOTS)
        packed = codec.encode(table)
        salt = secrets.token_bytes(_SALT_BYTES)
        try:
            held_bytes = path.stat().st_size if path.exists() else 0
            plain = len(packed).to_bytes(_LENGTH_BYTES) + packed
            plain = plain.ljust(max(held_bytes, _LEAST_BYTES) - _AROUND_BYTES, b"\0")
            data = salt + seal_aead(derive(self._owner_key, _DOMAIN, salt), plain, _DOMAIN)
            if held_bytes:
                _overwrite(path, data)
            else:
                write_durably(path, data)
        except OSError as error:
            raise StorageFailed(STORAGE_FAILED, path.name) from error

    def forget(self, table: KeyTable) -> None:
        """Overwrite the table before this one, durably. Raises StorageFailed storage.01."""
        path = self._path((table.number + 1) % SLOTS)
        try:
            if path.exists():
                _overwrite(path, bytes(path.stat().st_size))
        except OSError as error:
            raise StorageFailed(STORAGE_FAILED, path.name) from error

    def _path(self, slot: int) -> Path:
        return self._folder / f"keys.{slot}"

    def _read(self, slot: int) -> KeyTable | None:
        path = self._path(slot)
        try:
            stored = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageFailed(STORAGE_FAILED, path.name) from error
        salt, ciphertext = stored[:_SALT_BYTES], stored[_SALT_BYTES:]
        try:
            plain = open_aead(derive(self._owner_key, _DOMAIN, salt), ciphertext, _DOMAIN, path.name)
            end = _LENGTH_BYTES + int.from_bytes(plain[:_LENGTH_BYTES])
            table = codec.decode_as(plain[_LENGTH_BYTES:end], KeyTable)
        except (Tampered, BadInput):
            return None
        return table if table.number % SLOTS == slot else None


def _overwrite(path: Path, data: bytes) -> None:
    """Where it lies, from the beginning, synced."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        at = 0
        while at < len(data):
            at += os.pwrite(descriptor, data[at:], at)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
