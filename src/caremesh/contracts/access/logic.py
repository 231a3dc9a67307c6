"""Nothing is opened without a committed receipt, and every question about a consent leaves a trace."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec

from caremesh.contracts.access import errors
from caremesh.contracts.access.messages import Close, Report, Request
from caremesh.contracts.access.queries import anchor, is_alive, receipt_id
from caremesh.contracts.access.state import ANCHORS, OF_CONSENT, RECEIPTS, REFUSALS, Anchor, Receipt, Refusal
from caremesh.errors import ErrorCode, Refused
from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader
from caremesh.types import Code, ConsentId, Count, CountryCode, Did, Height, Multikey, Seconds, StreamId


class ConditionsLike(Protocol):
    """What this contract needs to know of a consent's conditions."""

    @property
    def jurisdiction(self) -> CountryCode | None: ...
    @property
    def max_receipts(self) -> Count | None: ...


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


class MemberLike(Protocol):
    """What this contract needs to know of a member."""

    @property
    def roles(self) -> list[Code]: ...
    @property
    def jurisdiction(self) -> CountryCode: ...


class Needs(Protocol):
    """What this contract needs of others."""

    def consent(self, reader: Reader, consent: ConsentId, /) -> ConsentLike | None:
        """A consent, or None."""
        ...

    def is_active(self, reader: Reader, consent: ConsentId, at: Seconds, /) -> bool:
        """Whether a consent opens anything at a time."""
        ...

    def covers_all(self, reader: Reader, consent: ConsentId, segments: list[Count], /) -> bool:
        """Whether these segments exist, are not erased, and are within the consent's scope."""
        ...

    def member(self, reader: Reader, did: Did, /) -> MemberLike | None:
        """A member, or None."""
        ...

    def is_custodian(self, reader: Reader, did: Did, /) -> bool:
        """Whether an active member has the role of custodian."""
        ...

    def is_current_key(self, reader: Reader, did: Did, key: Multikey, /) -> bool:
        """Whether a key acts for a DID now."""
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
        member_roles: list[Code],
        requester_roles: list[Code],
        source_jurisdiction: CountryCode,
        grantee_jurisdiction: CountryCode,
        explicit: bool,
        asserted: bool,
        licensed: bool,
        entire: bool,
        starts: Seconds,
        ends: Seconds,
    ) -> tuple[bool, list[str]]:
        """Whether the regulations permit the access, and which policies decide."""
        ...


class _Decision(NamedTuple):
    why: ErrorCode | None
    policies: list[str]


def request(ctx: Context, msg: Request, needs: Needs) -> None:
    """A request for a consent of this member ends in a receipt or in a recorded refusal; any other is just refused."""
    consent = needs.consent(ctx.state, msg.consent)
    if consent is None or consent.grantee != ctx.sponsor:
        raise Refused(errors.NO_CONSENT)
    if needs.brake_on(ctx.state, ctx.time):
        raise Refused(errors.BRAKE_ON)
    if msg.asserted and msg.requester != ctx.sponsor:
        raise Refused(errors.NOT_ASSERTABLE)
    if not msg.asserted and not _signed_by_requester(ctx, msg.requester, needs):
        raise Refused(errors.WRONG_SIGNER)
    if not msg.legal_basis or len(set(msg.legal_basis)) != len(msg.legal_basis):
        raise Refused(errors.UNKNOWN_BASIS)
    decision = _decide(ctx, msg, consent, needs)

    identity = receipt_id(ctx.tx_id, ctx.index)
    OF_CONSENT.append(ctx.state, identity, consent.id)
    if decision.why is None:
        receipt = Receipt(
            id=identity,
            consent=consent.id,
            stream=consent.stream,
            member=ctx.sponsor,
            requester=msg.requester,
            asserted=msg.asserted,
            action=msg.action,
            purpose=msg.purpose,
            legal_basis=msg.legal_basis,
            segments=msg.segments,
            height=ctx.height,
            at=ctx.time,
            expires=min(ctx.time + needs.receipt_life_s(ctx.state), consent.ends),
            policies=decision.policies,
            closed=False,
        )
        RECEIPTS.put(ctx.state, receipt, identity)
        ctx.emit("access/permitted", receipt=identity, consent=consent.id, stream=consent.stream)
    else:
        refusal = Refusal(
            id=identity,
            consent=consent.id,
            stream=consent.stream,
            member=ctx.sponsor,
            requester=msg.requester,
            asserted=msg.asserted,
            action=msg.action,
            purpose=msg.purpose,
            legal_basis=msg.legal_basis,
            at=ctx.time,
            why=decision.why.code,
            policies=decision.policies,
        )
        REFUSALS.put(ctx.state, refusal, identity)
        ctx.emit("access/denied", refusal=identity, consent=consent.id, stream=consent.stream, why=decision.why.code)


def close(ctx: Context, msg: Close) -> None:
    """The member ends a receipt before its time."""
    receipt = RECEIPTS.get(ctx.state, msg.receipt)
    if receipt is None or receipt.member != ctx.sponsor:
        raise Refused(errors.NO_RECEIPT)
    if not is_alive(receipt, ctx.time):
        raise Refused(errors.ALREADY_CLOSED)

    RECEIPTS.put(ctx.state, msgspec.structs.replace(receipt, closed=True), msg.receipt)
    ctx.emit("access/closed", receipt=msg.receipt, stream=receipt.stream)


def report(ctx: Context, msg: Report, needs: Needs) -> None:
    """A custodian states the root of its release log; it can only grow, and never be unsaid."""
    if not needs.is_custodian(ctx.state, ctx.sponsor):
        raise Refused(errors.NOT_A_CUSTODIAN)
    last = anchor(ctx.state, ctx.sponsor)
    if last is not None and (msg.count < last.count or (msg.count == last.count and msg.root != last.root)):
        raise Refused(errors.OLD_REPORT)

    ANCHORS.append(ctx.state, Anchor(root=msg.root, count=msg.count, height=ctx.height), ctx.sponsor.encode())
    ctx.emit("access/reported", custodian=ctx.sponsor, count=msg.count)


def _decide(  # noqa: PLR0911 - one return per rule reads as the rules do
    ctx: Context, msg: Request, consent: ConsentLike, needs: Needs
) -> _Decision:
    """Active? purpose, action, segments covered? appointed and licensed? within the conditions? lawful?"""
    member, source = needs.member(ctx.state, consent.grantee), needs.member(ctx.state, consent.source)
    if not needs.is_active(ctx.state, consent.id, ctx.time):
        return _Decision(errors.NOT_ACTIVE, [])
    if msg.purpose not in consent.purposes:
        return _Decision(errors.OTHER_PURPOSE, [])
    if msg.action not in consent.actions:
        return _Decision(errors.OTHER_ACTION, [])
    if msg.segments != sorted(set(msg.segments)) or not needs.covers_all(ctx.state, consent.id, msg.segments):
        return _Decision(errors.OUT_OF_SCOPE, [])
    roles = None if msg.asserted else needs.appointed_roles(ctx.state, msg.requester, ctx.sponsor, ctx.time)
    if not msg.asserted and roles is None:
        return _Decision(errors.NOT_APPOINTED, [])
    if consent.conditions.max_receipts is not None and _given(ctx, consent.id) >= consent.conditions.max_receipts:
        return _Decision(errors.USED_UP, [])
    if member is None or source is None:
        return _Decision(errors.NOT_ACTIVE, [])
    if consent.conditions.jurisdiction not in (None, member.jurisdiction):
        return _Decision(errors.OTHER_JURISDICTION, [])
    permit, policies = needs.may_access(
        ctx.state,
        height=ctx.height,
        at=ctx.time,
        action=msg.action,
        purpose=msg.purpose,
        legal_basis=msg.legal_basis,
        member_roles=sorted(member.roles),
        requester_roles=sorted(roles or []),
        source_jurisdiction=source.jurisdiction,
        grantee_jurisdiction=member.jurisdiction,
        explicit=consent.explicit,
        asserted=msg.asserted,
        licensed=roles is not None,
        entire=not msg.segments,
        starts=consent.starts,
        ends=consent.ends,
    )
    return _Decision(None if permit else errors.NOT_PERMITTED, policies)


def _signed_by_requester(ctx: Context, requester: Did, needs: Needs) -> bool:
    return any(
        signer.did == requester and needs.is_current_key(ctx.state, requester, signer.key)
        for signer in ctx.signers[:-1]
    )


def _given(ctx: Context, consent: ConsentId) -> Count:
    """How many receipts a consent has led to."""
    entries = OF_CONSENT.items(ctx.state, consent)
    return sum(RECEIPTS.get(ctx.state, entry) is not None for entry in entries)
