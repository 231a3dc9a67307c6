"""Messages of the streams contract, and the write permit that other contracts' messages carry."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Struct

from caremesh.ledger.transactions import Message
from caremesh.types import Count, Did, Multikey, ReencryptionKey, Seconds, SignedPermit, StreamId

__all__ = [
    "PERMIT_DOMAIN",
    "AddController",
    "Close",
    "NewEpoch",
    "Permit",
    "Power",
    "RemoveController",
    "RenewPermit",
    "RevokePermit",
    "RotateKey",
    "SetCustodians",
    "SignedPermit",
]

PERMIT_DOMAIN: Final = b"caremesh/permit/v1\0"


Custodians: TypeAlias = Annotated[list[Did], Meta(max_length=32)]
"""Sorted, each once."""
Power: TypeAlias = Literal["dispute", "erase", "grant", "revoke"]
"""What a controller may do in the subject's place. ``grant``: all that gives; ``revoke``: all that takes back."""


class Permit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """May this source write to this stream? Signed, as bytes, by the stream's key under ``PERMIT_DOMAIN``."""

    chain: str
    stream: StreamId
    key: Multikey
    rotation: Count
    source: Did
    epoch: Count
    reading_key: ReencryptionKey
    custodians: Custodians
    threshold: Count
    serial: Count
    until: Seconds
    """A whole day."""
    max_segments: Count
    """A power of two."""


class RevokePermit(Message, frozen=True, kw_only=True, tag="streams/revoke-permit"):
    """The source may write no more. Signed by the stream's key; costs no quota."""

    stream: StreamId
    permit: SignedPermit | None = None
    """Needed only while the stream is not open."""


class RenewPermit(Message, frozen=True, kw_only=True, tag="streams/permit"):
    """A newer permit takes the place of the last. Signed by the stream's key through the permit itself."""

    permit: SignedPermit


class RotateKey(Message, frozen=True, kw_only=True, tag="streams/rotate-key"):
    """Replace the stream's signing key. Signed by the old key and by the new one."""

    stream: StreamId
    key: Multikey
    permit: SignedPermit | None = None
    """The next permit, by the new key: until there is one, the source may not write."""


class NewEpoch(Message, frozen=True, kw_only=True, tag="streams/new-epoch"):
    """Replace the reading key: old delegations are dead. Signed by the stream's key."""

    stream: StreamId
    reading_key: ReencryptionKey
    permit: SignedPermit | None = None


class SetCustodians(Message, frozen=True, kw_only=True, tag="streams/set-custodians"):
    """Replace the custodians; until a consent is delegated anew, its old ones serve it. Signed by the stream's key."""

    stream: StreamId
    custodians: Custodians
    threshold: Count
    permit: SignedPermit | None = None


class AddController(Message, frozen=True, kw_only=True, tag="streams/add-controller"):
    """Let a parent's or carer's key, made for this stream alone, act in the subject's place; sent again, it renews.

    Signed by the stream's key and, unless it renews, by the controller's.
    """

    stream: StreamId
    key: Multikey
    powers: list[Power]
    """Sorted."""
    until: Seconds
    """A whole day, at most 366 days ahead."""


class RemoveController(Message, frozen=True, kw_only=True, tag="streams/remove-controller"):
    """End a controller's powers. Signed by the stream's key, or by the controller's own."""

    stream: StreamId
    key: Multikey


class Close(Message, frozen=True, kw_only=True, tag="streams/close"):
    """Nothing more is written or granted; what was granted ends by revocation or time. Signed by the stream's key."""

    stream: StreamId
