"""Messages of the consent contract."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

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

OfferId: TypeAlias = Digest


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
    """Further limits on every access."""

    jurisdiction: CountryCode | None = None
    """The grantee's."""
    max_receipts: Count | None = None
    """At most so many, renewals not counted."""
    second_signature: bool = False
    """A second practitioner of the grantee signs too."""
    notify: bool = False
    """The subject is told at once, not at the next look."""


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


class Narrow(Message, frozen=True, kw_only=True, tag="consent/narrow"):
    """Allow less from now on: what is given replaces what was, and must lie within it. Signed by the stream's key."""

    consent: ConsentId
    scope: Scope | None = None
    actions: list[Code] | None = None
    purposes: list[Code] | None = None
    until: Seconds | None = None


class Extend(Message, frozen=True, kw_only=True, tag="consent/extend"):
    """Allow the same for longer. Signed by the stream's key; checked like a grant."""

    consent: ConsentId
    until: Seconds


class Redelegate(Message, frozen=True, kw_only=True, tag="consent/redelegate"):
    """New fragments, after the grantee's key, the epoch or the custodians have changed. Signed by the stream's key."""

    consent: ConsentId
    epoch: Count
    receiving_key: ReencryptionKey
    verifying_key: ReencryptionKey
    fragments: list[FragmentCommitment]


class Offer(Message, frozen=True, kw_only=True, tag="consent/offer"):
    """A provider or study asks for a consent. Signed by the member."""

    stream: StreamId
    actions: list[Code]
    purposes: list[Code]
    until: Seconds
    """How long the consent would last at most; a whole day."""
    text: Digest
    """Salted hash of what is asked, in plain language; the text itself goes to the subject off the ledger."""
    expires: Seconds
    """A whole day, at most 92 days ahead."""


class Accept(Grant, frozen=True, kw_only=True, tag="consent/accept"):
    """Grant what an offer asks for, or less. Signed by the stream's key; checked like a grant."""

    offer: OfferId


class Decline(Message, frozen=True, kw_only=True, tag="consent/decline"):
    """Say no to an offer. Signed by the stream's key."""

    offer: OfferId
