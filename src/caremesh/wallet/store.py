"""The wallet on disk: one encrypted file that is replaced whole or not at all.

    file   = DAG-CBOR { kind: "caremesh/wallet", v: 1, locked, digest }
    locked = Argon2id → AES-256-GCM under the passphrase, of the wallet's own bytes (``crypto.envelope.lock``)
    digest = SHA-256(locked)

The digest tells damage from a wrong passphrase: authenticity is AES-GCM's alone. Whoever changes the file and the
digest with it gets Locked, never a wallet. The file is readable by its owner only (mode 0600).
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
from caremesh.crypto.envelope import lock, unlock
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, Locked, Refused, StorageFailed, Tampered
from caremesh.types import Digest
from caremesh.wallet.errors import EXISTS, IN_USE, NOT_A_WALLET, NOT_READABLE, UNKNOWN_VERSION

VERSION: Final = 1
MAX_FILE_BYTES: Final = 64 * 1024 * 1024


class _File(Struct, frozen=True):
    kind: Literal["caremesh/wallet"]
    v: Literal[1]
    locked: bytes
    digest: Digest


def create(path: Path, passphrase: str, content: bytes) -> None:
    """Write a new wallet file.

    Raises Refused wallet.08 when something is there already, StorageFailed storage.01, BadInput envelope.05.
    """
    if path.exists() or path.is_symlink():
        raise Refused(EXISTS, path.name)
    save(path, passphrase, content)


def save(path: Path, passphrase: str, content: bytes) -> None:
    """Replace the wallet file: durable when this returns, untouched when it raises.

    Every call draws a fresh salt, so a fresh key. Raises StorageFailed storage.01, BadInput envelope.05.
    """
    locked = lock(passphrase, content)
    data = codec.encode(_File("caremesh/wallet", VERSION, locked, sha256(locked)))
    write_durably(path, data, mode=0o600)


def load(path: Path, passphrase: str) -> bytes:
    """What ``save`` was given.

    Raises Locked envelope.03 (passphrase), Tampered wallet.05 (cut short or changed), Refused wallet.06 (newer
    version), BadInput wallet.07 (not there, not readable), envelope.05.
    """
    locked = _read(path)
    try:
        return unlock(passphrase, locked)
    except Tampered as error:
        raise Tampered(NOT_A_WALLET, path.name) from error
    except Locked as error:
        raise Locked(error.error, path.name) from error


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other processes from changing the wallet between a ``load`` and its ``save``.

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


def _read(path: Path) -> bytes:
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
        file_ = codec.decode_as(data, _File)
    except BadInput as error:
        raise Tampered(NOT_A_WALLET, path.name) from error
    if sha256(file_.locked) != file_.digest:
        raise Tampered(NOT_A_WALLET, path.name)
    return file_.locked


def _version(data: bytes) -> int:
    """The version that the file claims; 0 when it is no wallet at all. Raises BadInput codec.01, codec.02."""
    plain = codec.decode(data)
    claims = isinstance(plain, dict) and plain.get("kind") == "caremesh/wallet" and type(plain.get("v")) is int
    return int(plain["v"]) if claims else 0
