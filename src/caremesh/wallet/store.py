"""The wallet on disk: one encrypted file that is replaced whole or not at all.

    file     = DAG-CBOR { kind: "caremesh/wallet", v: 1, locked, salt, content, digest }
    file key = 32 random bytes; locked = Argon2id → AES-256-GCM of it under the passphrase (``crypto.envelope.lock``)
    content  = AES-256-GCM of the wallet under HKDF(file key, "caremesh/v1/wallet-file" ‖ salt), a fresh salt each time
    digest   = SHA-256(locked)

The passphrase is stretched once, when the file is opened; saving needs the file key only, so that nothing has to keep
the passphrase. The digest tells a damaged lock from a wrong passphrase; whoever changes both gets Locked, never a
wallet. The file is its owner's to read, alone (mode 0600).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from caremesh import codec
from caremesh.blobs.durable import STORAGE_FAILED, write_durably
from caremesh.crypto.envelope import KEY_BYTES, lock, open_aead, seal_aead, unlock
from caremesh.crypto.hashes import sha256
from caremesh.crypto.keys import derive
from caremesh.errors import BadInput, Locked, Refused, StorageFailed, Tampered
from caremesh.types import Bytes32, Digest
from caremesh.wallet.errors import EXISTS, IN_USE, NOT_A_WALLET, NOT_READABLE, UNKNOWN_VERSION

VERSION: Final = 1
MAX_FILE_BYTES: Final = 64 * 1024 * 1024
_DOMAIN: Final = b"caremesh/v1/wallet-file"


class _File(Struct, frozen=True):
    kind: Literal["caremesh/wallet"]
    v: Literal[1]
    locked: bytes
    salt: Bytes32
    content: bytes
    digest: Digest


class WalletFile:
    """An opened wallet file: it can be saved again without the passphrase."""

    __slots__ = ("_key", "_locked", "path")

    def __init__(self, path: Path, locked: bytes, key: bytes) -> None:
        self.path: Final = path
        self._locked = locked
        self._key: Final = key

    @classmethod
    def create(cls, path: Path, passphrase: str, content: bytes) -> WalletFile:
        """Write a new file.

        Raises Refused wallet.08 when something is there already, StorageFailed storage.01, BadInput envelope.05.
        """
        if path.exists() or path.is_symlink():
            raise Refused(EXISTS, path.name)
        key = os.urandom(KEY_BYTES)
        opened = cls(path, lock(passphrase, key), key)
        opened.save(content)
        return opened

    @classmethod
    def open(cls, path: Path, passphrase: str) -> tuple[WalletFile, bytes]:
        """The file, and what was last saved.

        Raises Locked envelope.03 (passphrase), Tampered wallet.05 (cut short or changed), Refused wallet.06 (newer
        version), BadInput wallet.07 (not there, not readable), envelope.05.
        """
        stored = _read(path)
        try:
            key = unlock(passphrase, stored.locked)
            content = open_aead(_content_key(key, stored.salt), stored.content, _DOMAIN, path.name)
        except Tampered as error:
            raise Tampered(NOT_A_WALLET, path.name) from error
        except Locked as error:
            raise Locked(error.error, path.name) from error
        return cls(path, stored.locked, key), content

    def save(self, content: bytes) -> None:
        """Replace the file: durable when this returns, untouched when it raises. Raises StorageFailed storage.01."""
        self._write(self._locked, content)

    def change_passphrase(self, passphrase: str, content: bytes) -> None:
        """Save under a new passphrase. Copies of the old file still open with the old one.

        Raises StorageFailed storage.01, BadInput envelope.05.
        """
        locked = lock(passphrase, self._key)
        self._write(locked, content)
        self._locked = locked

    def __repr__(self) -> str:
        return f"WalletFile({self.path.name})"

    def _write(self, locked: bytes, content: bytes) -> None:
        salt = os.urandom(KEY_BYTES)
        sealed = seal_aead(_content_key(self._key, salt), content, _DOMAIN)
        data = codec.encode(_File("caremesh/wallet", VERSION, locked, salt, sealed, sha256(locked)))
        write_durably(self.path, data)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other processes from changing the wallet between opening and saving it.

    Raises Refused wallet.09 when another has it, StorageFailed storage.01. The system lets go of it after a crash.
    """
    beside = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageFailed(STORAGE_FAILED, beside.name) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Refused(IN_USE, path.name) from error
        yield
    finally:
        os.close(descriptor)


def _content_key(key: bytes, salt: bytes) -> bytes:
    return derive(key, _DOMAIN, salt)


def _read(path: Path) -> _File:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadInput(NOT_READABLE, path.name) from error
    try:
        if len(data) > MAX_FILE_BYTES:
            raise Tampered(NOT_A_WALLET, path.name)
        if _version(data) > VERSION:
            raise Refused(UNKNOWN_VERSION, path.name)
        stored = codec.decode_as(data, _File)
    except BadInput as error:
        raise Tampered(NOT_A_WALLET, path.name) from error
    if sha256(stored.locked) != stored.digest:
        raise Tampered(NOT_A_WALLET, path.name)
    return stored


def _version(data: bytes) -> int:
    """The version that the file claims; 0 when it is no wallet at all. Raises BadInput codec.01, codec.02."""
    plain = codec.decode(data)
    claims = isinstance(plain, dict) and plain.get("kind") == "caremesh/wallet" and type(plain.get("v")) is int
    return int(plain["v"]) if claims else 0
