"""Small secrets that can really be destroyed: seals, fragments, segment keys.

Each object is encrypted under a random key of its own; the keys stand in one small table that
is rewritten whole, encrypted under the owner's key. To destroy an object is to write the table
without its key: what is left of the object on disk, in backups or on worn flash opens no more.

    <folder>/keys            salt (32 bytes) ‖ AES-256-GCM(table), key = HKDF(owner's key, salt)
    <folder>/objects/<name>  AES-256-GCM(object) under the key that the table holds

Source: design page on custody ("fragments and seals are kept outside LMDB, encrypted under a small
key table that is rewritten whole, so that destroying is real").
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from caremesh import codec
from caremesh.blobs.durable import STORAGE_FAILED, remove_leftovers, sync_folder, write_durably
from caremesh.crypto.envelope import open_aead, seal_aead
from caremesh.crypto.keys import derive
from caremesh.errors import BadInput, ErrorCode, StorageFailed, Tampered

_SALT_BYTES: Final = 32
_DOMAIN: Final = b"caremesh/v1/vault"

TABLE_BROKEN = ErrorCode(
    "vault.01", "The key table of this vault is damaged or belongs to another key.", "Restore the folder from a backup."
)
OBJECT_BROKEN = ErrorCode(
    "vault.02", "An object of this vault is damaged.", "Fetch it again from the party that deposited it."
)


class _Entry(Struct, frozen=True):
    file: str
    key: bytes


class _KeyTable(Struct, frozen=True):
    entries: dict[str, _Entry]


class Vault:
    """A folder of destroyable secrets, owned by one process."""

    def __init__(self, folder: Path, owner_key: bytes) -> None:
        """Open or create. ``owner_key``: 32 bytes. Raises Tampered vault.01, StorageFailed."""
        self._folder = folder
        self._owner_key = owner_key
        self._lock = threading.RLock()
        try:
            (folder / "objects").mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageFailed(STORAGE_FAILED, folder.name) from error
        remove_leftovers(folder)
        remove_leftovers(folder / "objects")
        self._entries = self._read_table()
        if not (folder / "keys").exists():
            self._write_table({})
        self._drop_orphans()

    def put(self, objects: Mapping[str, bytes]) -> None:
        """Store all objects, or none. An object under a name in use replaces the old one, which is destroyed."""
        with self._lock:
            fresh = {}
            for name, data in objects.items():
                entry = _Entry(file=secrets.token_hex(16), key=secrets.token_bytes(32))
                path = self._folder / "objects" / entry.file
                write_durably(path, seal_aead(entry.key, data, _aad(name)))
                fresh[name] = entry
            stale = [self._entries[name] for name in fresh if name in self._entries]
            self._write_table(self._entries | fresh)
            self._unlink(stale)

    def get(self, name: str) -> bytes | None:
        """The object, or None when there is none of that name. Raises Tampered vault.02, StorageFailed."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                return None
            try:
                ciphertext = (self._folder / "objects" / entry.file).read_bytes()
            except FileNotFoundError as error:
                raise Tampered(OBJECT_BROKEN, entry.file) from error
            except OSError as error:
                raise StorageFailed(STORAGE_FAILED, entry.file) from error
            try:
                return open_aead(entry.key, ciphertext, _aad(name), entry.file)
            except Tampered as error:
                raise Tampered(OBJECT_BROKEN, entry.file) from error

    def names(self, prefix: str = "") -> list[str]:
        """Names of the objects that start with ``prefix``, sorted."""
        with self._lock:
            return sorted(name for name in self._entries if name.startswith(prefix))

    def destroy(self, names: Iterable[str]) -> list[str]:
        """Destroy the named objects for good; returns those that existed. Durable when this returns."""
        with self._lock:
            gone = [name for name in names if name in self._entries]
            if gone:
                entries = [self._entries[name] for name in gone]
                self._write_table({name: entry for name, entry in self._entries.items() if name not in set(gone)})
                self._unlink(entries)
            return gone

    def _read_table(self) -> dict[str, _Entry]:
        try:
            stored = (self._folder / "keys").read_bytes()
        except FileNotFoundError:
            if any((self._folder / "objects").iterdir()):
                raise Tampered(TABLE_BROKEN, "keys") from None
            return {}
        except OSError as error:
            raise StorageFailed(STORAGE_FAILED, "keys") from error
        salt, ciphertext = stored[:_SALT_BYTES], stored[_SALT_BYTES:]
        try:
            table = open_aead(derive(self._owner_key, _DOMAIN, salt), ciphertext, _DOMAIN, "keys")
            return codec.decode_as(table, _KeyTable).entries
        except (Tampered, BadInput) as error:
            raise Tampered(TABLE_BROKEN, "keys") from error

    def _write_table(self, entries: dict[str, _Entry]) -> None:
        salt = secrets.token_bytes(_SALT_BYTES)
        table = codec.encode(_KeyTable(entries))
        path = self._folder / "keys"
        old = _open_existing(path)
        try:
            write_durably(path, salt + seal_aead(derive(self._owner_key, _DOMAIN, salt), table, _DOMAIN))
            self._entries = entries
            _overwrite(old)
        finally:
            if old is not None:
                os.close(old)

    def _unlink(self, entries: list[_Entry]) -> None:
        for entry in entries:
            (self._folder / "objects" / entry.file).unlink(missing_ok=True)
        if entries:
            sync_folder(self._folder / "objects")

    def _drop_orphans(self) -> None:
        """Objects without a key: written just before a crash, or unlinked too late. Nothing opens them."""
        known = {entry.file for entry in self._entries.values()}
        for path in sorted((self._folder / "objects").iterdir()):
            if path.name not in known:
                path.unlink()


def _aad(name: str) -> bytes:
    return _DOMAIN + b"\0" + name.encode()


def _open_existing(path: Path) -> int | None:
    try:
        return os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        return None


def _overwrite(descriptor: int | None) -> None:
    """Zero the replaced table in place, as far as the file system lets us; the name is already gone."""
    if descriptor is not None:
        size_bytes = os.fstat(descriptor).st_size
        os.pwrite(descriptor, bytes(size_bytes), 0)
        os.fsync(descriptor)
