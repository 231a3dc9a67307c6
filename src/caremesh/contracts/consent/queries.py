"""What anyone may ask of the consent contract. ``is_active`` and ``covers`` are the only spelling of their rules."""

from __future__ import annotations

from caremesh.contracts.consent.state import CONSENTS, OF_STREAM, Consent
from caremesh.crypto.hashes import tagged_hash
from caremesh.ledger.state import Reader
from caremesh.types import ConsentId, Count, Did, Digest, Height, Seconds, StreamId


def consent(reader: Reader, consent_id: ConsentId) -> Consent | None:
    """A consent, revoked ones too, or None."""
    return CONSENTS.get(reader, consent_id)


def of_stream(reader: Reader, stream: StreamId) -> list[Consent]:
    """All consents of a stream, oldest first."""
    found = [consent(reader, consent_id) for consent_id in OF_STREAM.items(reader, stream)]
    return [entry for entry in found if entry is not None]


def is_active(granted: Consent, at: Seconds) -> bool:
    """Whether a consent opens anything at a time: granted, not revoked, begun and not over."""
    return granted.status == "granted" and granted.starts <= at < granted.ends


def covers(granted: Consent, segment: Count, registered: Height) -> bool:
    """Whether a segment, registered at a height, is within the consent's scope."""
    if granted.scope.kind == "listed":
        return segment in granted.scope.segments
    return granted.scope.kind == "future" or registered <= granted.scope.height


def consent_id(stream: StreamId, salt: bytes) -> ConsentId:
    """The id that a consent of this stream with this salt (16 bytes) has, before it exists."""
    return tagged_hash("caremesh/v1/consent", stream, salt)


def fragment_commitment(consent: ConsentId, custodian: Did, epoch: Count, fragment: bytes) -> Digest:
    """What the ledger holds of a fragment."""
    return tagged_hash("caremesh/v1/fragment", consent, custodian.encode(), epoch.to_bytes(8), fragment)


def consent_key(consent_id: ConsentId) -> bytes:
    """The state key of a consent, for proofs."""
    return CONSENTS.key(consent_id)
