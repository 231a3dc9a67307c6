"""Messages of the access contract."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from caremesh.ledger.transactions import Message
from caremesh.types import Code, ConsentId, Count, Did, Digest, ReceiptId


class Request(Message, frozen=True, kw_only=True, tag="access/request"):
    """May this access happen? Signed by the practitioner's own key and the member, or (asserted) the member alone."""

    consent: ConsentId
    action: Code
    purpose: Code
    legal_basis: Annotated[list[Code], Meta(max_length=8)]
    """Why processing is lawful: one code for every provision relied on."""
    segments: Annotated[list[Count], Meta(max_length=1_024)]
    """Ascending; empty for all in scope."""
    reason: Digest
    """Salted hash of the reason in words, which stays with the member."""
    requester: Did
    asserted: bool


class Close(Message, frozen=True, kw_only=True, tag="access/close"):
    """The visit is over before the receipt expires. Signed by the member."""

    receipt: ReceiptId


class Report(Message, frozen=True, kw_only=True, tag="access/report"):
    """A custodian anchors its release log: root over all streams' heads, and how many entries they hold."""

    root: Digest
    count: Count
