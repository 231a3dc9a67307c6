"""What the access contract keeps."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from caremesh.ledger.state import CountedList, Table
from caremesh.types import Code, ConsentId, Count, Did, Digest, Height, ReceiptId, Seconds, StreamId


class Receipt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


class Anchor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A custodian's release log as last reported."""

    root: Digest
    count: Count
    height: Height


RECEIPTS: Final = Table(b"access/receipt/", Receipt)
"""By id."""
REFUSALS: Final = Table(b"access/refusal/", Refusal)
"""By id."""
OF_CONSENT: Final = CountedList(b"access/consent/", bytes)
"""By consent: the ids of its receipts and refusals, in order."""
ANCHORS: Final = CountedList(b"access/anchor/", Anchor)
"""By custodian's DID."""
