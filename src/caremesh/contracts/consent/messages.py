"""Messages of the consent contract."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from caremesh.ledger.transactions import Message
from caremesh.types import (
    Bytes16,
    Code,
    ConsentId,
    Count,
    CountryCode,
    Did,
    Digest,
    Height,
    ReencryptionKey,
    Seconds,
    SignedPermit,
    StreamId,
)


class Scope(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which segments: those *listed*, those *existing* up to a height, or existing and *future* ones."""

    kind: Literal["listed", "existing", "future"]
    segments: Annotated[list[Count], Meta(max_length=1_024)] = []
    """For ``listed``: ascending."""
    height: Height = 0
    """For ``existing``."""


class FragmentCommitment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """H(fragment), bound to consent, custodian and epoch, by which a custodian knows its fragment."""

    custodian: Did
    commitment: Digest


class Conditions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Further limits. ``jurisdiction``: the grantee's; ``max_receipts``: at most so many, renewals not counted."""

    jurisdiction: CountryCode | None = None
    max_receipts: Count | None = None


class Grant(Message, frozen=True, kw_only=True, tag="consent/grant"):
    """Allow a member to read a stream. Signed by the stream's key; its id follows from stream and salt.

    ``from`` and ``until``: whole days; ``until`` is the first second after.
    """

    stream: StreamId
    grantee: Did
    scope: Scope
    actions: list[Code]
    purposes: list[Code]
    from_: Seconds = field(name="from")
    until: Seconds
    epoch: Count
    receiving_key: ReencryptionKey
    verifying_key: ReencryptionKey
    fragments: list[FragmentCommitment]
    explicit: bool
    salt: Bytes16
    conditions: Conditions | None = None
    permit: SignedPermit | None = None
    """Needed while the stream is not open."""


class Revoke(Message, frozen=True, kw_only=True, tag="consent/revoke"):
    """End a consent at once. Signed by the stream's key; costs no quota, and every member must relay it."""

    consent: ConsentId
