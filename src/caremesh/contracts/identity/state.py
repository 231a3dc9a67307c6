"""What the identity contract keeps."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from caremesh.contracts.identity.messages import Kind
from caremesh.ledger.state import Table
from caremesh.types import Count, Did, Height, Multikey


class Identity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A DID and its current key."""

    did: Did
    key: Multikey
    rotation: Count
    kind: Kind
    enrolled_by: Did
    registered: Height
    active: bool


IDENTITIES: Final = Table(b"identity/did/", Identity)
"""By DID."""
OWNERS: Final = Table(b"identity/key/", str)
"""By key, past keys too: the DID whose key it is or was."""
