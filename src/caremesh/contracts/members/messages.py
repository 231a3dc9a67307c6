"""Messages of the members contract."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from caremesh.ledger.transactions import Message
from caremesh.types import Code, CountryCode, Did, Multikey, ReencryptionKey, Seconds

Endpoint = Annotated[str, Meta(max_length=200, pattern=r"^(https|mesh)://[A-Za-z0-9.:/_-]+$")]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
HpkeKey = Annotated[bytes, Meta(min_length=1216, max_length=1216)]


class Keys(Struct, frozen=True, forbid_unknown_fields=True):
    """What a member is reached by. ``node``: signs what its node says; ``channel``: HPKE; ``receiving``: Umbral."""

    node: Multikey
    channel: HpkeKey
    receiving: ReencryptionKey


class Admit(Message, frozen=True, kw_only=True, tag="members/admit"):
    """Let an organisation in. Signed by a quorum of the authorities."""

    member: Did
    key: Multikey
    """First key of its DID."""
    name: Name
    roles: list[Code]
    jurisdiction: CountryCode
    keys: Keys
    endpoints: list[Endpoint]


class Suspend(Message, frozen=True, kw_only=True, tag="members/suspend"):
    """Stop a member at once. Signed by a quorum of the authorities."""

    member: Did


class Reinstate(Message, frozen=True, kw_only=True, tag="members/reinstate"):
    """Let a suspended member act again. Signed by a quorum of the authorities."""

    member: Did


class SetKeys(Message, frozen=True, kw_only=True, tag="members/set-keys"):
    """Replace a member's keys. Signed by the member."""

    member: Did
    keys: Keys


class SetEndpoints(Message, frozen=True, kw_only=True, tag="members/set-endpoints"):
    """Replace the addresses of a member's node. Signed by the member."""

    member: Did
    endpoints: list[Endpoint]


class SetRole(Message, frozen=True, kw_only=True, tag="members/set-role"):
    """Replace what a member is in the mesh. Signed by a quorum of the authorities."""

    member: Did
    roles: list[Code]


class Leave(Message, frozen=True, kw_only=True, tag="members/leave"):
    """Leave the mesh for good. Signed by the member."""

    member: Did


class Appoint(Message, frozen=True, kw_only=True, tag="members/appoint"):
    """A practitioner acts for the member in these functional roles (ISO 22600). Signed by the member."""

    practitioner: Did
    roles: list[Code]
    licensed_until: Seconds


class Dismiss(Message, frozen=True, kw_only=True, tag="members/dismiss"):
    """A practitioner no longer acts for the member. Signed by the member."""

    practitioner: Did


class SuspendPerson(Message, frozen=True, kw_only=True, tag="members/suspend-person"):
    """Stop a practitioner at once, or (``suspended`` false) let them act again. Signed by the member."""

    practitioner: Did
    suspended: bool
