"""A member's secrets at rest: one vault, opened by one key-encryption key.

The key-encryption key is a file of 32 random bytes (mode 0600) that may live on another medium than the
vault; everything secret that a node keeps (its own keys, segment keys, seals, fragments) is in the vault.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from caremesh.blobs.durable import STORAGE_FAILED, write_durably
from caremesh.blobs.vault import Vault
from caremesh.crypto.envelope import hpke_from_seed
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.reencryption import ReadingKey
from caremesh.errors import ErrorCode, StorageFailed, Tampered

_KEY_BYTES: Final = 32

KEK_BROKEN = ErrorCode("node.01", "The node's key file is damaged.", "Restore it from where you keep its copy.")


def open_vault(folder: Path, name: str) -> Vault:
    """The vault ``name`` of a node's folder, made on first use. Raises StorageFailed, Tampered."""
    return Vault(folder / name, _key_encryption_key(folder / f"{name}.key"))


def signing_key(vault: Vault, name: str) -> SigningKey:
    """The node's signing key of this name, generated on first use."""
    return SigningKey.from_seed(_secret(vault, f"signing/{name}"))


def receiving_key(vault: Vault) -> ReadingKey:
    """The member's re-encryption key (what grants are made to), generated on first use."""
    return ReadingKey.from_secret(_secret(vault, "receiving"))


def next_receiving_key(vault: Vault) -> ReadingKey:
    """The member's next re-encryption key, generated on first use, until ``promote_receiving_key``."""
    return ReadingKey.from_secret(_secret(vault, "receiving/next"))


def promote_receiving_key(vault: Vault) -> ReadingKey:
    """The next re-encryption key takes the place of the one before, which is destroyed. Raises StorageFailed."""
    secret = _secret(vault, "receiving/next")
    vault.put({"receiving": secret})
    vault.destroy(["receiving/next"])
    return ReadingKey.from_secret(secret)


def promote_signing_key(vault: Vault, name: str) -> SigningKey:
    """The key ``name/next`` takes the place of the key of this name, which is destroyed. Raises StorageFailed."""
    secret = _secret(vault, f"signing/{name}/next")
    vault.put({f"signing/{name}": secret})
    vault.destroy([f"signing/{name}/next"])
    return SigningKey.from_seed(secret)


def forget_signing_key(vault: Vault, name: str) -> None:
    """Destroy a key: the next use makes another. Raises StorageFailed."""
    vault.destroy([f"signing/{name}"])


def hpke_keys(vault: Vault) -> tuple[bytes, bytes]:
    """(private, public) of the member's channel, generated on first use."""
    return hpke_from_seed(_secret(vault, "hpke"))


def _secret(vault: Vault, name: str) -> bytes:
    secret = vault.get(name)
    if secret is None:
        secret = secrets.token_bytes(_KEY_BYTES)
        vault.put({name: secret})
    return secret


def _key_encryption_key(path: Path) -> bytes:
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageFailed(STORAGE_FAILED, path.parent.name) from error
        key = os.urandom(_KEY_BYTES)
        write_durably(path, key)
    except OSError as error:
        raise StorageFailed(STORAGE_FAILED, path.name) from error
    if len(key) != _KEY_BYTES:
        raise Tampered(KEK_BROKEN, path.name)
    return key
