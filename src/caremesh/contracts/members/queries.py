"""What anyone may ask of the members contract."""

from __future__ import annotations

from caremesh.contracts.members.state import (
    ALL,
    APPOINTMENTS,
    MEMBERS,
    PERSON_KEYS,
    Appointment,
    Member,
    appointment_key,
)
from caremesh.ledger.state import Reader
from caremesh.types import Did, ReencryptionKey, Seconds

__all__ = [
    "Appointment",
    "Member",
    "appointment",
    "count_key",
    "is_active",
    "may_act",
    "member",
    "member_key",
    "members",
    "receiving_key",
]


def member(reader: Reader, did: Did) -> Member | None:
    """A member, suspended ones too, or None."""
    return MEMBERS.get(reader, did.encode())


def members(reader: Reader) -> list[Member]:
    """All members ever admitted, in order of admission."""
    found = [member(reader, did) for did in ALL.items(reader, b"")]
    return [entry for entry in found if entry is not None]


def is_active(reader: Reader, did: Did) -> bool:
    """Whether a member may act now."""
    found = member(reader, did)
    return found is not None and found.status == "active"


def appointment(reader: Reader, practitioner: Did, of: Did) -> Appointment | None:
    """A practitioner's standing with a member, or None."""
    return APPOINTMENTS.get(reader, appointment_key(practitioner, of))


def may_act(reader: Reader, practitioner: Did, for_member: Did, at: Seconds) -> bool:
    """Whether a practitioner is appointed, not suspended, and licensed at a time."""
    found = appointment(reader, practitioner, for_member)
    return found is not None and found.status == "active" and at < found.licensed_until


def receiving_key(reader: Reader, did: Did) -> ReencryptionKey | None:
    """The re-encryption key of a member, or of a practitioner who has one; else None."""
    found = member(reader, did)
    return PERSON_KEYS.get(reader, did.encode()) if found is None else found.keys.receiving


def member_key(did: Did) -> bytes:
    """The state key of a member, for proofs."""
    return MEMBERS.key(did.encode())


def count_key() -> bytes:
    """The state key of how many members were ever admitted, for proofs that a list is complete."""
    return ALL.count_key(b"")
