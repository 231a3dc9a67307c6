"""What the members contract keeps."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from caremesh.contracts.members.messages import Endpoint, Keys, Name
from caremesh.ledger.state import CountedList, Table
from caremesh.types import Code, CountryCode, Did, Height, Seconds


class Member(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An organisation."""

    did: Did
    name: Name
    roles: list[Code]
    jurisdiction: CountryCode
    keys: Keys
    endpoints: list[Endpoint]
    admitted: Height
    status: Literal["active", "suspended", "left"]


class Appointment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A practitioner's standing with one member."""

    practitioner: Did
    member: Did
    roles: list[Code]
    licensed_until: Seconds
    status: Literal["active", "suspended", "dismissed"]


MEMBERS: Final = Table(b"members/member/", Member)
"""By DID."""
ALL: Final = CountedList(b"members/all/", str)
"""One list, owner b"": the DIDs of all members ever admitted, in order."""
APPOINTMENTS: Final = Table(b"members/person/", Appointment)
"""By the practitioner's DID and the member's, with a slash between."""


def appointment_key(practitioner: Did, member: Did) -> bytes:
    """The key of an appointment."""
    return f"{practitioner}/{member}".encode()
