"""What the consent contract keeps."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from caremesh.contracts.consent.messages import Conditions, FragmentCommitment, OfferId, Scope
from caremesh.ledger.state import CountedList, Table
from caremesh.types import Code, ConsentId, Count, Did, Digest, Height, ReencryptionKey, Seconds, StreamId


class Consent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A grant as the ledger has it."""

    id: ConsentId
    stream: StreamId
    source: Did
    grantee: Did
    scope: Scope
    actions: list[Code]
    purposes: list[Code]
    starts: Seconds
    ends: Seconds
    epoch: Count
    receiving_key: ReencryptionKey
    verifying_key: ReencryptionKey
    fragments: list[FragmentCommitment]
    explicit: bool
    granted: Height
    policies: list[str]
    status: Literal["granted", "revoked"]
    threshold: Count
    """How many of the fragments it takes."""
    conditions: Conditions = Conditions()
    offer: OfferId | None = None
    """The one that it accepts."""
    revoked: Seconds | None = None
    """The day (its first second) on which it was revoked."""


class Asked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A member's request for a consent, and what became of it."""

    id: OfferId
    stream: StreamId
    member: Did
    actions: list[Code]
    purposes: list[Code]
    until: Seconds
    text: Digest
    expires: Seconds
    status: Literal["open", "accepted", "declined"]


CONSENTS: Final = Table(b"consent/consent/", Consent)
"""By id."""
OF_STREAM: Final = CountedList(b"consent/stream/", bytes)
"""By stream: the ids of its consents, revoked ones too."""
STANDING: Final[Table[list[ConsentId]]] = Table(b"consent/standing/", list[ConsentId])
"""By stream: the ids of its consents that were neither revoked nor over when the last one was granted or revoked."""
OFFERS: Final = Table(b"consent/offer/", Asked)
"""By id."""
OFFERS_OF_STREAM: Final = CountedList(b"consent/offers/", bytes)
"""By stream: the ids of the offers made to it."""
OPEN: Final = Table(b"consent/open/", bytes)
"""By stream and member: the id of the member's last offer, while it is not answered."""
