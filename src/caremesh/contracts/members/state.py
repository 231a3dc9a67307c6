"""What the members contract keeps."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from caremesh.contracts.members.messages import Endpoints, Keys, Name, Roles
from caremesh.ledger.state import CountedList, Table
from caremesh.types import CountryCode, Did, Height, Seconds


class Member(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An organisation."""

    did: Did
    name: Name
    roles: Roles
    jurisdiction: CountryCode
    keys: Keys
    endpoints: Endpoints
    admitted: Height
    status: Literal["active", "suspended", "left"]


class Appointment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A practitioner's standing with one member."""

    practitioner: Did
    member: Did
    roles: Roles
    licensed_until: Seconds
    status: Literal["active", "suspended", "dismissed"]


MEMBERS: Final = Table(b"members/member/", Member)
"""By DID."""
ALL: Final = CountedList(b"members/all/", str)
"""One list, owner b"": the DIDs of all members ever admitted, in order."""
APPOINTMENTS: Final = Table(b"members/person/", Appointment)
"""By the practitioner's DID and the member's, with a slash between."""
PERSON_KEYS: Final = Table(b"members/person-key/", bytes)
"""By the practitioner's DID: the receiving key of their own, if they have one."""


def appointment_key(practitioner: Did, member: Did) -> bytes:
    """The key of an appointment."""
    return f"{practitioner}/{member}".encode()
