"""What anyone may ask of the identity contract."""

from __future__ import annotations

from caremesh.contracts.identity.state import IDENTITIES, Identity
from caremesh.ledger.state import Reader
from caremesh.types import Did, Multikey


def identity(reader: Reader, did: Did) -> Identity | None:
    """A DID with its current key, or None."""
    return IDENTITIES.get(reader, did.encode())


def is_current_key(reader: Reader, did: Did, key: Multikey) -> bool:
    """Whether this key acts for this DID now."""
    found = identity(reader, did)
    return found is not None and found.active and found.key == key
