"""What the consent contract needs of others."""

from __future__ import annotations

from typing import Literal, Protocol

from caremesh.contracts.consent.queries import SegmentLike
from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader
from caremesh.types import (
    Code,
    Count,
    Did,
    Height,
    Multikey,
    ReencryptionKey,
    Seconds,
    SignedPermit,
    StreamId,
)


class StreamLike(Protocol):
    """What this contract needs to know of a stream."""

    @property
    def id(self) -> StreamId: ...
    @property
    def key(self) -> Multikey: ...
    @property
    def source(self) -> Did: ...
    @property
    def epoch(self) -> Count: ...
    @property
    def custodians(self) -> list[Did]: ...
    @property
    def threshold(self) -> Count: ...
    @property
    def closed(self) -> bool: ...


class Needs(Protocol):
    """What this contract needs of others."""

    def permitted(self, ctx: Context, permit: SignedPermit, /) -> StreamLike:
        """The stream of a valid permit, opened or renewed by it. Raises Refused."""
        ...

    def stream(self, reader: Reader, stream: StreamId, /) -> StreamLike | None:
        """An open stream, or None."""
        ...

    def signed_for(self, ctx: Context, stream: StreamId, power: Literal["grant", "revoke"], /) -> bool:
        """Whether the stream's key, or a controller's with this power, signed."""
        ...

    def segment(self, reader: Reader, stream: StreamId, index: Count, /) -> SegmentLike | None:
        """A segment, or None."""
        ...

    def audit_s(self, reader: Reader, /) -> Seconds:
        """For how long what is over stays provable."""
        ...

    def standing(self, reader: Reader, did: Did, /) -> str | None:
        """Whether a member is ``active``, suspended or has left; None when there is no such member."""
        ...

    def receiving_key(self, reader: Reader, did: Did, /) -> ReencryptionKey | None:
        """The key that grants to a member are made to."""
        ...

    def brake_on(self, reader: Reader, at: Seconds, /) -> bool:
        """Whether the emergency brake is on."""
        ...

    def purpose_is_known(self, code: Code, /) -> bool:
        """Whether the regulations can speak of a purpose."""
        ...

    def action_is_known(self, code: Code, /) -> bool:
        """Whether the regulations can speak of an action."""
        ...

    def may_grant(
        self,
        reader: Reader,
        /,
        *,
        height: Height,
        at: Seconds,
        action: Code,
        purpose: Code,
        source: Did,
        grantee: Did,
        explicit: bool,
        entire: bool,
        starts: Seconds,
        ends: Seconds,
    ) -> tuple[bool, list[str]]:
        """Whether the regulations permit the grant, and which policies decide."""
        ...
