"""What the access contract keeps."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from caremesh.ledger.state import CountedList, Table
from caremesh.types import Code, ConsentId, Count, Did, Digest, Height, Multikey, ReceiptId, Seconds, StreamId


class Receipt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The ledger's authorisation of one access."""

    id: ReceiptId
    consent: ConsentId
    stream: StreamId
    member: Did
    requester: Did
    asserted: bool
    action: Code
    purpose: Code
    legal_basis: list[Code]
    segments: list[Count]
    """Empty: all in the consent's scope that were registered by ``height``."""
    height: Height
    at: Seconds
    expires: Seconds
    policies: list[str]
    closed: bool
    first: ReceiptId
    """The visit's first receipt; this one itself unless it renews another."""
    began: Seconds
    """When the first was given."""
    visit_key: Multikey | None = None
    """Signs release requests in place of the practitioner's own key."""


class Refusal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request that the ledger denied, and why."""

    id: Digest
    consent: ConsentId
    stream: StreamId
    member: Did
    requester: Did
    asserted: bool
    action: Code
    purpose: Code
    legal_basis: list[Code]
    at: Seconds
    why: Code
    policies: list[str]


class Reviewed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a member's privacy officer found of an emergency access."""

    officer: Did
    justified: bool
    statement: Digest
    at: Seconds


class Emergency(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An emergency access, permitted or denied. Kept apart from receipts: no rule about those can let it through."""

    id: ReceiptId
    stream: StreamId
    member: Did
    requester: Did
    purpose: Code
    legal_basis: list[Code]
    reason: Digest
    height: Height
    at: Seconds
    policies: list[str]
    why: Code | None = None
    """The code of the denial."""
    expires: Seconds = 0
    review_due: Seconds = 0
    review: Reviewed | None = None


class Disputed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A subject's question about an access, and the member's answer."""

    receipt: ReceiptId
    stream: StreamId
    member: Did
    statement: Digest
    raised: Seconds
    due: Seconds
    answer: Digest | None = None
    answered: Seconds | None = None


class Anchor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A custodian's release log as last reported."""

    root: Digest
    count: Count
    height: Height
    at: Seconds


RECEIPTS: Final = Table(b"access/receipt/", Receipt)
"""By id."""
REFUSALS: Final = Table(b"access/refusal/", Refusal)
"""By id."""
OF_CONSENT: Final = CountedList(b"access/consent/", bytes)
"""By consent: the ids of its receipts and refusals, in order."""
ANCHORS: Final = CountedList(b"access/anchor/", Anchor)
"""By custodian's DID."""
EMERGENCIES: Final = Table(b"access/emergency/", Emergency)
"""By id."""
DISPUTES: Final = Table(b"access/dispute/", Disputed)
"""By the receipt's id."""
OF_STREAM: Final = CountedList(b"access/stream/", bytes)
"""By stream: the ids of receipts, refusals and emergencies, in order."""
OF_REQUESTER: Final = CountedList(b"access/requester/", bytes)
"""By the requester's DID: likewise."""
EVERYTHING: Final = CountedList(b"access/all/", bytes)
"""One list, without an owner: the ids of all of them, in order."""
GIVEN: Final = Table(b"access/given/", int)
"""By consent: how many visits it has had, a receipt and its renewals counted once."""
