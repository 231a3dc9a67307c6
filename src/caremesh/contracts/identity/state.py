"""What the identity contract keeps."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from caremesh.contracts.identity.messages import Kind
from caremesh.ledger.state import Table
from caremesh.types import Count, Did, Digest, Height, Multikey, Seconds


class Identity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A DID and its current key."""

    did: Did
    key: Multikey
    rotation: Count
    kind: Kind
    enrolled_by: Did
    registered: Height
    active: bool


class Guardians(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Commitments to guardians, sorted, at least one, and how many of them it takes."""

    commitments: list[Digest]
    threshold: Count


class Recovery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that takes over at ``ready``, unless the current one objects."""

    key: Multikey
    ready: Seconds


IDENTITIES: Final = Table(b"identity/did/", Identity)
"""By DID."""
OWNERS: Final = Table(b"identity/key/", str)
"""By key, past keys too: the DID whose key it is or was."""
GUARDIANS: Final = Table(b"identity/guardians/", Guardians)
"""By DID."""
RECOVERIES: Final = Table(b"identity/recovery/", Recovery)
"""By DID: the recovery that waits."""
