"""Messages of the members contract."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from caremesh.ledger.transactions import Message
from caremesh.types import Code, CountryCode, Did, Multikey, ReencryptionKey, Seconds

Endpoint = Annotated[str, Meta(max_length=200, pattern=r"^(https|mesh)://[A-Za-z0-9.:/_-]+$")]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
HpkeKey = Annotated[bytes, Meta(min_length=1216, max_length=1216)]
Endpoints = Annotated[list[Endpoint], Meta(max_length=8)]
Roles = Annotated[list[Code], Meta(max_length=32)]


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
    roles: Roles
    jurisdiction: CountryCode
    keys: Keys
    endpoints: Endpoints


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
    endpoints: Endpoints


class SetRole(Message, frozen=True, kw_only=True, tag="members/set-role"):
    """Replace what a member is in the mesh. Signed by a quorum of the authorities."""

    member: Did
    roles: Roles


class Leave(Message, frozen=True, kw_only=True, tag="members/leave"):
    """Leave the mesh for good. Signed by the member."""

    member: Did


class Appoint(Message, frozen=True, kw_only=True, tag="members/appoint"):
    """A practitioner acts for the member in these functional roles (ISO 22600), or goes on. Signed by the member."""

    practitioner: Did
    roles: Roles
    licensed_until: Seconds
    """A whole day."""


class Dismiss(Message, frozen=True, kw_only=True, tag="members/dismiss"):
    """A practitioner no longer acts for the member. Signed by the member."""

    practitioner: Did


class SuspendPerson(Message, frozen=True, kw_only=True, tag="members/suspend-person"):
    """Stop a practitioner at once, or (``suspended`` false) let them act again. Signed by the member."""

    practitioner: Did
    suspended: bool


class SetPersonKey(Message, frozen=True, kw_only=True, tag="members/set-person-key"):
    """Give a practitioner a receiving key of their own, or (null) none. Signed by the practitioner and by a member."""

    practitioner: Did
    receiving: ReencryptionKey | None
