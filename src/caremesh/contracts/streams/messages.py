"""Messages of the streams contract, and the write permit that other contracts' messages carry."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from caremesh.ledger.transactions import Message
from caremesh.types import Count, Did, Multikey, ReencryptionKey, Seconds, SignedPermit, StreamId

__all__ = ["PERMIT_DOMAIN", "Permit", "RenewPermit", "RevokePermit", "SignedPermit"]

PERMIT_DOMAIN: Final = b"caremesh/permit/v1\0"


class Permit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """May this source write to this stream? Signed, as bytes, by the stream's key under ``PERMIT_DOMAIN``."""

    chain: str
    stream: StreamId
    key: Multikey
    rotation: Count
    source: Did
    epoch: Count
    reading_key: ReencryptionKey
    custodians: list[Did]
    """Sorted."""
    threshold: Count
    serial: Count
    until: Seconds
    max_segments: Count


class RevokePermit(Message, frozen=True, kw_only=True, tag="streams/revoke-permit"):
    """The source may write no more. Signed by the stream's key; costs no quota."""

    stream: StreamId
    permit: SignedPermit | None = None
    """Needed only while the stream is not open."""


class RenewPermit(Message, frozen=True, kw_only=True, tag="streams/permit"):
    """A newer permit takes the place of the last. Signed by the stream's key through the permit itself."""

    permit: SignedPermit
