"""A member keeps wallets' indexes, which it cannot read: the newest version of each, under a name that says nothing."""

from __future__ import annotations

from typing import Final

from caremesh.blobs.vault import Vault
from caremesh.errors import Refused
from caremesh.node.errors import TOO_MANY_INDEXES
from caremesh.types import Multikey
from caremesh.wallet import index

MAX_INDEXES: Final = 100_000
_PREFIX: Final = "wallet-index/"


class IndexKeeper:
    """One member's. Owns its part of the vault."""

    def __init__(self, vault: Vault, limit: int = MAX_INDEXES) -> None:
        self._vault = vault
        self._limit = limit

    def put(self, data: bytes) -> None:
        """Keep a newer version. Raises Tampered custody.01, custody.02; Refused wallet.41, node.10; StorageFailed."""
        name = f"{_PREFIX}{index.read(data).locator.hex()}"
        known = self._vault.get(name)
        index.check(data, known)
        if known is None and len(self._vault.names(_PREFIX)) >= self._limit:
            raise Refused(TOO_MANY_INDEXES)
        if data != known:
            self._vault.put({name: data})

    def get(self, locator: Multikey) -> bytes | None:
        """The newest version of an index, or None. Raises Tampered vault.02, StorageFailed."""
        return self._vault.get(f"{_PREFIX}{locator.hex()}")
