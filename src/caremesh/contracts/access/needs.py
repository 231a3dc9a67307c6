"""What the access contract needs of others."""

from __future__ import annotations

from typing import Literal, Protocol

from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader
from caremesh.types import Code, ConsentId, Count, CountryCode, Did, Height, Multikey, Seconds, StreamId


class ConditionsLike(Protocol):
    """What this contract needs to know of a consent's conditions."""

    @property
    def jurisdiction(self) -> CountryCode | None: ...
    @property
    def max_receipts(self) -> Count | None: ...
    @property
    def second_signature(self) -> bool: ...
    @property
    def notify(self) -> bool: ...


class ConsentLike(Protocol):
    """What this contract needs to know of a consent."""

    @property
    def id(self) -> ConsentId: ...
    @property
    def stream(self) -> StreamId: ...
    @property
    def source(self) -> Did: ...
    @property
    def grantee(self) -> Did: ...
    @property
    def actions(self) -> list[Code]: ...
    @property
    def purposes(self) -> list[Code]: ...
    @property
    def starts(self) -> Seconds: ...
    @property
    def ends(self) -> Seconds: ...
    @property
    def explicit(self) -> bool: ...
    @property
    def conditions(self) -> ConditionsLike: ...


class Needs(Protocol):
    """What this contract needs of others."""

    def consent(self, reader: Reader, consent: ConsentId, /) -> ConsentLike | None:
        """A consent, or None."""
        ...

    def is_active(self, reader: Reader, consent: ConsentId, at: Seconds, /) -> bool:
        """Whether a consent opens anything at a time."""
        ...

    def is_delegated(self, reader: Reader, consent: ConsentId, /) -> bool:
        """Whether a consent's fragments are for the epoch that its stream is in."""
        ...

    def source_of(self, reader: Reader, stream: StreamId, /) -> Did | None:
        """The source of an open stream, or None."""
        ...

    def signed_for(self, ctx: Context, stream: StreamId, power: Literal["dispute"], /) -> bool:
        """Whether the stream's key, or a controller's with this power, signed."""
        ...

    def covers_all(self, reader: Reader, consent: ConsentId, segments: list[Count], /) -> bool:
        """Whether these segments exist, are not erased, and are within the consent's scope."""
        ...

    def jurisdiction(self, reader: Reader, did: Did, /) -> CountryCode | None:
        """Where a member is, or None when there is no such member."""
        ...

    def is_custodian(self, reader: Reader, did: Did, /) -> bool:
        """Whether an active member has the role of custodian."""
        ...

    def is_current_key(self, reader: Reader, did: Did, key: Multikey, /) -> bool:
        """Whether a key acts for a DID now."""
        ...

    def current_key(self, reader: Reader, did: Did, /) -> Multikey | None:
        """The key that acts for a DID now; None when there is none."""
        ...

    def appointed_roles(self, reader: Reader, practitioner: Did, member: Did, at: Seconds, /) -> list[Code] | None:
        """The roles in which a practitioner may act for a member at a time; None when they may not."""
        ...

    def brake_on(self, reader: Reader, at: Seconds, /) -> bool:
        """Whether the emergency brake is on."""
        ...

    def receipt_life_s(self, reader: Reader, /) -> Seconds:
        """How long a receipt lives."""
        ...

    def audit_s(self, reader: Reader, /) -> Seconds:
        """For how long what was asked stays provable."""
        ...

    def answer_s(self, reader: Reader, /) -> Seconds:
        """Within which a member answers a dispute."""
        ...

    def review_s(self, reader: Reader, /) -> Seconds:
        """Within which an emergency access is reviewed."""
        ...

    def may_access(
        self,
        reader: Reader,
        /,
        *,
        height: Height,
        at: Seconds,
        action: Code,
        purpose: Code,
        legal_basis: list[Code],
        source: Did,
        grantee: Did,
        requester_roles: list[Code],
        explicit: bool,
        asserted: bool,
        licensed: bool,
        break_glass: bool,
        entire: bool,
        starts: Seconds,
        ends: Seconds,
    ) -> tuple[bool, list[str]]:
        """Whether the regulations permit the access, and which policies decide."""
        ...
