"""Messages of the identity contract."""

from __future__ import annotations

from typing import Literal, TypeAlias

from caremesh.ledger.transactions import Message
from caremesh.types import Did, Multikey

Kind: TypeAlias = Literal["member", "practitioner", "guardian", "device"]


class Register(Message, frozen=True, kw_only=True, tag="identity/register"):
    """Put a DID on the ledger. Signed by its first key in its name, and by the enrolling member."""

    did: Did
    key: Multikey
    kind: Kind


class Rotate(Message, frozen=True, kw_only=True, tag="identity/rotate"):
    """Replace the key. Signed by the old key and the new one, both in the DID's name."""

    did: Did
    key: Multikey


class Deactivate(Message, frozen=True, kw_only=True, tag="identity/deactivate"):
    """End a DID for good. Signed by its key."""

    did: Did
