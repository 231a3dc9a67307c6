"""Nothing is opened without a committed receipt, and every question about a consent leaves a trace."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from caremesh import codec
from caremesh.contracts.access import errors
from caremesh.contracts.access.audit import MAX_AGED, enter
from caremesh.contracts.access.messages import VISIT_DOMAIN, Close, Report, Request, SignedVisit, Visit
from caremesh.contracts.access.needs import ConsentLike, Needs
from caremesh.contracts.access.queries import anchor, is_alive, receipt_id, visits
from caremesh.contracts.access.state import (
    ANCHORS,
    GIVEN,
    RECEIPTS,
    Anchor,
    Receipt,
    Refusal,
)
from caremesh.crypto import signatures
from caremesh.errors import BadInput, ErrorCode, Refused, Tampered
from caremesh.ledger.machine import Context
from caremesh.types import Code, ConsentId, Did, Seconds

MAX_VISIT_S: Final[Seconds] = 12 * 3_600


class _Decision(NamedTuple):
    why: ErrorCode | None
    policies: list[str]


def request(ctx: Context, msg: Request, needs: Needs) -> None:
    """A request for a consent of this member ends in a receipt or in a recorded refusal; any other is just refused."""
    consent = needs.consent(ctx.state, msg.consent)
    if consent is None or consent.grantee != ctx.sponsor:
        raise Refused(errors.NO_CONSENT)
    if msg.asserted and (msg.requester != ctx.sponsor or msg.visit is not None):
        raise Refused(errors.NOT_ASSERTABLE)
    visit = None if msg.visit is None else _checked(ctx, msg.visit, msg.requester, needs)
    if visit is None and not msg.asserted and not signed_by_person(ctx, msg.requester, needs):
        raise Refused(errors.WRONG_SIGNER)
    renewed = None if msg.renews is None else RECEIPTS.get(ctx.state, msg.renews)
    decision = _decide(ctx, msg, consent, renewed, needs)

    identity = receipt_id(ctx.tx_id, ctx.index)
    if decision.why is not None:
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
        enter(ctx, refusal, needs)
        ctx.emit("access/denied", refusal=identity, consent=consent.id, stream=consent.stream, why=decision.why.code)
        return
    began = ctx.time if renewed is None else renewed.began
    ends = [began + MAX_VISIT_S, consent.ends] if visit is None else [began + MAX_VISIT_S, consent.ends, visit.ends]
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
        expires=min(ctx.time + needs.receipt_life_s(ctx.state), *ends),
        policies=decision.policies,
        closed=False,
        first=identity if renewed is None else renewed.first,
        began=began,
        visit_key=None if visit is None else visit.key,
    )
    enter(ctx, receipt, needs)
    if renewed is None:
        GIVEN.put(ctx.state, visits(ctx.state, consent.id) + 1, consent.id)
    ctx.emit(
        "access/permitted",
        receipt=identity,
        consent=consent.id,
        stream=consent.stream,
        notify=int(consent.conditions.notify),
    )


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

    owner, before = ctx.sponsor.encode(), ctx.time - needs.audit_s(ctx.state)
    for _ in range(MAX_AGED):
        oldest = ANCHORS.get(ctx.state, ANCHORS.bounds(ctx.state, owner)[0], owner)
        if oldest is None or oldest.at > before:
            break
        ANCHORS.drop_first(ctx.state, owner)
    ANCHORS.append(ctx.state, Anchor(root=msg.root, count=msg.count, height=ctx.height, at=ctx.time), owner)
    ctx.emit("access/reported", custodian=ctx.sponsor, count=msg.count)


def is_stated(legal_basis: list[Code]) -> bool:
    """Whether a legal basis is stated, each provision once."""
    return bool(legal_basis) and len(set(legal_basis)) == len(legal_basis)


def signed_by_person(ctx: Context, person: Did, needs: Needs) -> bool:
    """Whether someone's own current key signed, beside the member's."""
    return any(
        signer.did == person and needs.is_current_key(ctx.state, person, signer.key) for signer in ctx.signers[:-1]
    )


def _decide(  # noqa: PLR0911 - one return per rule reads as the rules do
    ctx: Context, msg: Request, consent: ConsentLike, renewed: Receipt | None, needs: Needs
) -> _Decision:
    """Brake off? active? purpose, action, segments covered? appointed and licensed? the same visit? within the
    conditions? lawful?"""
    if needs.brake_on(ctx.state, ctx.time):
        return _Decision(errors.BRAKE_ON, [])
    if not needs.is_active(ctx.state, consent.id, ctx.time):
        return _Decision(errors.NOT_ACTIVE, [])
    if not needs.is_delegated(ctx.state, consent.id):
        return _Decision(errors.NOT_DELEGATED, [])
    if msg.purpose not in consent.purposes:
        return _Decision(errors.OTHER_PURPOSE, [])
    if msg.action not in consent.actions:
        return _Decision(errors.OTHER_ACTION, [])
    if msg.segments != sorted(set(msg.segments)) or not needs.covers_all(ctx.state, consent.id, msg.segments):
        return _Decision(errors.OUT_OF_SCOPE, [])
    roles = None if msg.asserted else needs.appointed_roles(ctx.state, msg.requester, ctx.sponsor, ctx.time)
    if not msg.asserted and roles is None:
        return _Decision(errors.NOT_APPOINTED, [])
    if not is_stated(msg.legal_basis):
        return _Decision(errors.UNKNOWN_BASIS, [])
    if msg.renews is not None and (renewed is None or not _continues(ctx, msg, renewed)):
        return _Decision(errors.BAD_RENEWAL, [])
    against = _outside(ctx, msg, consent, renewed, needs)
    if against is not None:
        return _Decision(against, [])
    permit, policies = needs.may_access(
        ctx.state,
        height=ctx.height,
        at=ctx.time,
        action=msg.action,
        purpose=msg.purpose,
        legal_basis=msg.legal_basis,
        source=consent.source,
        grantee=consent.grantee,
        requester_roles=sorted(roles or []),
        explicit=consent.explicit,
        asserted=msg.asserted,
        licensed=roles is not None,
        break_glass=False,
        entire=not msg.segments,
        starts=consent.starts,
        ends=consent.ends,
    )
    return _Decision(None if permit else errors.NOT_PERMITTED, policies)


def _outside(
    ctx: Context, msg: Request, consent: ConsentLike, renewed: Receipt | None, needs: Needs
) -> ErrorCode | None:
    """The condition of the consent that a request does not keep to, if there is one."""
    conditions = consent.conditions
    limit = conditions.max_receipts
    if renewed is None and limit is not None and visits(ctx.state, consent.id) >= limit:
        return errors.USED_UP
    if conditions.jurisdiction not in (None, needs.jurisdiction(ctx.state, consent.grantee)):
        return errors.OTHER_JURISDICTION
    if conditions.second_signature and (msg.asserted or not _signed_by_second(ctx, msg.requester, needs)):
        return errors.NEEDS_SECOND
    return None


def _signed_by_second(ctx: Context, requester: Did, needs: Needs) -> bool:
    """Whether another practitioner who may act for the member signed too."""
    return any(
        signer.did is not None
        and signer.did != requester
        and needs.is_current_key(ctx.state, signer.did, signer.key)
        and needs.appointed_roles(ctx.state, signer.did, ctx.sponsor, ctx.time) is not None
        for signer in ctx.signers[:-1]
    )


def _continues(ctx: Context, msg: Request, given: Receipt) -> bool:
    """Whether a request asks again what a living receipt permits; none outlives its visit's twelve hours."""
    again = _question(given, given.member, given.consent) == _question(msg, ctx.sponsor, msg.consent)
    return again and is_alive(given, ctx.time)


def _question(asked: Receipt | Request, member: Did, consent: ConsentId) -> tuple[object, ...]:
    return (member, consent, asked.requester, asked.asserted, asked.action, asked.purpose, asked.segments)


def _checked(ctx: Context, signed: SignedVisit, requester: Did, needs: Needs) -> Visit:
    """The visit: the practitioner's own current key signed it, its key signed this, and its time is now."""
    try:
        visit = codec.decode_as(signed.visit, Visit)
    except BadInput as error:
        raise Refused(errors.BAD_VISIT) from error
    if (visit.chain, visit.practitioner, visit.member) != (ctx.chain, requester, ctx.sponsor):
        raise Refused(errors.BAD_VISIT)
    if not visit.starts <= ctx.time < visit.ends or visit.ends - visit.starts > MAX_VISIT_S:
        raise Refused(errors.BAD_VISIT)
    if not any((signer.did, signer.key) == (requester, visit.key) for signer in ctx.signers[:-1]):
        raise Refused(errors.WRONG_SIGNER)
    own = needs.current_key(ctx.state, requester)
    if own is None:
        raise Refused(errors.WRONG_SIGNER)
    try:
        signatures.verify(own, VISIT_DOMAIN + signed.visit, signed.signature)
    except Tampered as error:
        raise Refused(errors.BAD_VISIT) from error
    return visit
