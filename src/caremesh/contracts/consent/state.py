"""What the consent contract keeps."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from caremesh.contracts.consent.messages import Conditions, FragmentCommitment, Scope
from caremesh.ledger.state import CountedList, Table
from caremesh.types import Code, ConsentId, Count, Did, Height, ReencryptionKey, Seconds, StreamId


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
    conditions: Conditions = Conditions()


CONSENTS: Final = Table(b"consent/consent/", Consent)
"""By id."""
OF_STREAM: Final = CountedList(b"consent/stream/", bytes)
"""By stream: the ids of its consents, revoked ones too."""
