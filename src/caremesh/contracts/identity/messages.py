"""Messages of the identity contract."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from caremesh.ledger.transactions import Message
from caremesh.types import Bytes16, Count, Did, Digest, Multikey

Kind: TypeAlias = Literal["member", "practitioner", "guardian", "device"]


class GuardianProof(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Opens the commitment to one guardian."""

    guardian: Did
    salt: Bytes16


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
    """End a DID for good. Signed by its key; a member leaves the mesh instead."""

    did: Did


class SetGuardians(Message, frozen=True, kw_only=True, tag="identity/set-guardians"):
    """Name, by commitments, who together may replace a lost key; an empty list ends it. Signed by the DID's key."""

    did: Did
    commitments: Annotated[list[Digest], Meta(max_length=12)]
    """Sorted; ``queries.guardian_commitment`` of each guardian's DID and a salt."""
    threshold: Count


class Recover(Message, frozen=True, kw_only=True, tag="identity/recover"):
    """Begin to replace a lost key. Signed by the new key in the DID's name, and by guardians up to the threshold."""

    did: Did
    key: Multikey
    guardians: Annotated[list[GuardianProof], Meta(max_length=12)]


class CancelRecovery(Message, frozen=True, kw_only=True, tag="identity/cancel-recovery"):
    """The key is not lost. Signed by the DID's current key, at any time before the new one has taken over."""

    did: Did


class FinishRecovery(Message, frozen=True, kw_only=True, tag="identity/finish-recovery"):
    """After the waiting period the new key takes over. Signed by the new key in the DID's name."""

    did: Did
