"""What anyone may ask of the consent contract.

``is_active``, ``is_over``, ``covers`` and ``allows`` are the only spelling of their rules.
"""

from __future__ import annotations

from typing import Protocol

from caremesh.contracts.consent.messages import OfferId, Scope
from caremesh.contracts.consent.state import (
    CONSENTS,
    OF_STREAM,
    OFFERS,
    OFFERS_OF_STREAM,
    OPEN,
    STANDING,
    Asked,
    Consent,
)
from caremesh.crypto.hashes import tagged_hash
from caremesh.ledger.state import Reader
from caremesh.types import Code, ConsentId, Count, Did, Digest, Height, Seconds, StreamId

__all__ = [
    "Asked",
    "Consent",
    "allows",
    "consent",
    "consent_id",
    "consent_key",
    "count_key",
    "covers",
    "ended_by",
    "fragment_commitment",
    "is_active",
    "is_custodian_of_any",
    "is_grantee",
    "is_open",
    "is_over",
    "of_stream",
    "offer",
    "offer_id",
    "offer_key",
    "offers_count_key",
    "offers_to",
    "open_offer",
    "standing",
    "standing_key",
]


class Scoped(Protocol):
    """A consent, or what is to become one."""

    @property
    def scope(self) -> Scope: ...


class SegmentLike(Protocol):
    """What this contract needs to know of a segment."""

    @property
    def registered(self) -> Height: ...
    @property
    def status(self) -> str: ...


def consent(reader: Reader, consent_id: ConsentId) -> Consent | None:
    """A consent, revoked ones too, or None."""
    return CONSENTS.get(reader, consent_id)


def of_stream(reader: Reader, stream: StreamId) -> list[Consent]:
    """All consents of a stream, oldest first."""
    found = [consent(reader, consent_id) for consent_id in OF_STREAM.items(reader, stream)]
    return [entry for entry in found if entry is not None]


def standing(reader: Reader, stream: StreamId, at: Seconds) -> list[Consent]:
    """The consents of a stream that are neither revoked nor over, oldest first; ``at`` is now or later."""
    found = [consent(reader, consent_id) for consent_id in STANDING.get(reader, stream) or []]
    return [entry for entry in found if entry is not None and not is_over(entry, at)]


def is_active(granted: Consent, at: Seconds) -> bool:
    """Whether a consent opens anything at a time: granted, not revoked, begun and not over."""
    return granted.status == "granted" and granted.starts <= at < granted.ends


def is_over(granted: Consent, at: Seconds) -> bool:
    """Whether a consent never opens anything again: revoked, or its time has passed."""
    return granted.status == "revoked" or granted.ends <= at


def ended_by(granted: Consent, at: Seconds) -> bool:
    """Whether a consent was over by a time, to the day."""
    return min(granted.ends, granted.ends if granted.revoked is None else granted.revoked) <= at


def covers(granted: Scoped, index: Count, segment: SegmentLike) -> bool:
    """Whether a segment, which has this number in its stream, is within the consent's scope.

    One that was superseded is readable only where the consent names it; one that was erased, nowhere.
    """
    if segment.status == "erased":
        return False
    if granted.scope.kind == "listed":
        return index in granted.scope.segments
    if segment.status == "superseded":
        return False
    return granted.scope.kind == "future" or segment.registered <= granted.scope.height


def allows(granted: Consent, action: Code, purpose: Code) -> bool:
    """Whether a consent is for an action and a purpose."""
    return action in granted.actions and purpose in granted.purposes


def is_grantee(reader: Reader, stream: StreamId, member: Did, at: Seconds) -> bool:
    """Whether a member has a consent of a stream that is in force at a time, or begins later."""
    return any(entry.grantee == member for entry in standing(reader, stream, at))


def is_custodian_of_any(reader: Reader, stream: StreamId, member: Did, at: Seconds) -> bool:
    """Whether a member keeps a fragment of a consent of a stream that is not over; of an earlier set too."""
    return any(member in [fragment.custodian for fragment in entry.fragments] for entry in standing(reader, stream, at))


def offer(reader: Reader, offer_id: OfferId) -> Asked | None:
    """An offer, answered ones too, or None."""
    return OFFERS.get(reader, offer_id)


def offers_to(reader: Reader, stream: StreamId) -> list[Asked]:
    """All offers made to a stream, oldest first."""
    found = [offer(reader, offer_id) for offer_id in OFFERS_OF_STREAM.items(reader, stream)]
    return [entry for entry in found if entry is not None]


def open_offer(reader: Reader, stream: StreamId, member: Did, at: Seconds) -> Asked | None:
    """The offer of a member to a stream that waits for an answer, or None."""
    waiting = OPEN.get(reader, stream, member.encode())
    found = None if waiting is None else offer(reader, waiting)
    return found if found is not None and is_open(found, at) else None


def is_open(asked: Asked, at: Seconds) -> bool:
    """Whether an offer may still be answered."""
    return asked.status == "open" and at < asked.expires


def offer_id(tx_id: bytes, index: Count) -> OfferId:
    """The id of the offer that a message of a transaction makes."""
    return tagged_hash("caremesh/v1/offer", tx_id, index.to_bytes(4))


def consent_id(stream: StreamId, salt: bytes) -> ConsentId:
    """The id that a consent of this stream with this salt (16 bytes) has, before it exists."""
    return tagged_hash("caremesh/v1/consent", stream, salt)


def fragment_commitment(consent: ConsentId, custodian: Did, epoch: Count, fragment: bytes) -> Digest:
    """What the ledger holds of a fragment."""
    return tagged_hash("caremesh/v1/fragment", consent, custodian.encode(), epoch.to_bytes(8), fragment)


def consent_key(consent_id: ConsentId) -> bytes:
    """The state key of a consent, for proofs."""
    return CONSENTS.key(consent_id)


def offers_count_key(stream: StreamId) -> bytes:
    """The state key of how many offers were ever made to a stream, for proofs that a list is complete."""
    return OFFERS_OF_STREAM.count_key(stream)


def offer_key(offer_id: OfferId) -> bytes:
    """The state key of an offer, for proofs."""
    return OFFERS.key(offer_id)


def standing_key(stream: StreamId) -> bytes:
    """The state key of the consents of a stream that are not over, for proofs."""
    return STANDING.key(stream)


def count_key(stream: StreamId) -> bytes:
    """The state key of how many consents a stream has ever had, for proofs that a list is complete."""
    return OF_STREAM.count_key(stream)
