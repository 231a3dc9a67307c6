"""Messages of the access contract."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from caremesh.ledger.transactions import Message
from caremesh.types import (
    Code,
    ConsentId,
    Count,
    Did,
    Digest,
    Multikey,
    ReceiptId,
    Seconds,
    Signature,
    StreamId,
)

VISIT_DOMAIN: Final = b"caremesh/visit/v1\0"

LegalBasis = Annotated[list[Code], Meta(max_length=8)]


class Visit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A practitioner lets a key ask in their name for a visit. Signed, as bytes, by theirs under ``VISIT_DOMAIN``."""

    chain: str
    practitioner: Did
    member: Did
    key: Multikey
    starts: Seconds
    ends: Seconds
    """At most twelve hours after the start."""


class SignedVisit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The bytes of a visit and the practitioner's signature over them."""

    visit: Annotated[bytes, Meta(max_length=1_024)]
    signature: Signature


class Request(Message, frozen=True, kw_only=True, tag="access/request"):
    """May this access happen? Signed by practitioner (own key or a visit's) and member; if asserted, by the latter."""

    consent: ConsentId
    action: Code
    purpose: Code
    legal_basis: LegalBasis
    """Why processing is lawful: one code for every provision relied on."""
    segments: Annotated[list[Count], Meta(max_length=1_024)]
    """Ascending; empty for all in scope."""
    reason: Digest
    """Salted hash of the reason in words, which stays with the member."""
    requester: Did
    asserted: bool
    visit: SignedVisit | None = None
    """Needed when a visit key signs in place of the practitioner's own."""
    renews: ReceiptId | None = None
    """The receipt that this one continues, in the same visit."""


class Close(Message, frozen=True, kw_only=True, tag="access/close"):
    """The visit is over before the receipt expires. Signed by the member."""

    receipt: ReceiptId


class Report(Message, frozen=True, kw_only=True, tag="access/report"):
    """A custodian anchors its release log: root over all streams' heads, and how many entries they hold."""

    root: Digest
    count: Count


class Dispute(Message, frozen=True, kw_only=True, tag="access/dispute"):
    """The subject questions an access. Signed by the stream's key."""

    receipt: ReceiptId
    statement: Digest
    """Salted hash of the question in words."""


class Answer(Message, frozen=True, kw_only=True, tag="access/answer"):
    """The member answers a dispute; late is recorded as late. Signed by the member."""

    receipt: ReceiptId
    statement: Digest
    """Salted hash of the answer in words."""


class BreakGlass(Message, frozen=True, kw_only=True, tag="access/break-glass"):
    """Emergency access without the subject's permission. Signed by the practitioner's own key and the member."""

    stream: StreamId
    purpose: Code
    legal_basis: LegalBasis
    reason: Digest
    """Salted hash of why, in words."""
    requester: Did


class Review(Message, frozen=True, kw_only=True, tag="access/review"):
    """What the member found of an emergency access. Signed by its privacy officer's own key and the member."""

    receipt: ReceiptId
    officer: Did
    justified: bool
    statement: Digest
    """Salted hash of the finding in words."""
