"""Nothing is opened without a committed receipt, and every question about a consent leaves a trace."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from caremesh import codec
from caremesh.contracts.access import errors
from caremesh.contracts.access.messages import VISIT_DOMAIN, Close, Report, Request, SignedVisit, Visit
from caremesh.contracts.access.needs import ConsentLike, Needs
from caremesh.contracts.access.queries import anchor, is_alive, receipt_id, visits
from caremesh.contracts.access.state import (
    ANCHORS,
    DISPUTES,
    EMERGENCIES,
    GIVEN,
    OF_CONSENT,
    OF_REQUESTER,
    OF_STREAM,
    RECEIPTS,
    REFUSALS,
    Anchor,
    Receipt,
    Refusal,
)
from caremesh.crypto import signatures
from caremesh.errors import BadInput, ErrorCode, Refused, Tampered
from caremesh.ledger.machine import Context
from caremesh.ledger.state import CountedList
from caremesh.types import Code, ConsentId, Did, Multikey, Seconds, StreamId

MAX_VISIT_S: Final[Seconds] = 12 * 3_600
MAX_AGED: Final = 4
"""How many entries that are older than audits last leave a list with each new one."""


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
    if msg.asserted and (msg.requester != ctx.sponsor or msg.visit is not None):
        raise Refused(errors.NOT_ASSERTABLE)
    if msg.visit is not None:
        _check_visit(ctx, msg.visit, msg.requester, needs)
    elif not msg.asserted and not signed_by_person(ctx, msg.requester, needs):
        raise Refused(errors.WRONG_SIGNER)
    check_basis(msg.legal_basis)
    renewed = _renewed(ctx, msg)
    decision = _decide(ctx, msg, consent, renewed, needs)

    identity = receipt_id(ctx.tx_id, ctx.index)
    list_record(ctx, identity, consent.stream, msg.requester, needs)
    _append(ctx, OF_CONSENT, identity, consent.id, _forgets(ctx, needs))
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
        REFUSALS.put(ctx.state, refusal, identity)
        ctx.emit("access/denied", refusal=identity, consent=consent.id, stream=consent.stream, why=decision.why.code)
        return
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
        first=identity if renewed is None else renewed.first,
        began=ctx.time if renewed is None else renewed.began,
        visit_key=None if msg.visit is None else _read(msg.visit).key,
    )
    RECEIPTS.put(ctx.state, receipt, identity)
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

    ANCHORS.append(ctx.state, Anchor(root=msg.root, count=msg.count, height=ctx.height), ctx.sponsor.encode())
    ctx.emit("access/reported", custodian=ctx.sponsor, count=msg.count)


def check_basis(legal_basis: list[Code]) -> None:
    """Raises Refused access.04."""
    if not legal_basis or len(set(legal_basis)) != len(legal_basis):
        raise Refused(errors.UNKNOWN_BASIS)


def signed_by_person(ctx: Context, person: Did, needs: Needs) -> bool:
    """Whether someone's own current key signed, beside the member's."""
    return any(
        signer.did == person and needs.is_current_key(ctx.state, person, signer.key) for signer in ctx.signers[:-1]
    )


def list_record(ctx: Context, identity: bytes, stream: StreamId, requester: Did, needs: Needs) -> None:
    """Enter a record into the lists that prove an audit complete; what is older than audits last leaves the state."""
    before = _forgets(ctx, needs)
    _append(ctx, OF_STREAM, identity, stream, before)
    _append(ctx, OF_REQUESTER, identity, requester.encode(), before)


def _forgets(ctx: Context, needs: Needs) -> Seconds:
    """Up to when records may leave the state."""
    return ctx.time - needs.audit_s(ctx.state)


def _append(ctx: Context, entries: CountedList[bytes], identity: bytes, owner: bytes, before: Seconds) -> None:
    for _ in range(MAX_AGED):
        first, count = entries.bounds(ctx.state, owner)
        oldest = entries.get(ctx.state, first, owner) if first < count else None
        if oldest is None or not _forgotten(ctx, oldest, before):
            break
        entries.drop_first(ctx.state, owner)
    entries.append(ctx.state, identity, owner)


def _forgotten(ctx: Context, identity: bytes, before: Seconds) -> bool:
    """Whether a record is gone or old enough to go; then it goes."""
    for table in (RECEIPTS, REFUSALS, EMERGENCIES):
        known = table.get(ctx.state, identity)
        if known is not None and known.at > before:
            return False
        if known is not None:
            table.delete(ctx.state, identity)
            DISPUTES.delete(ctx.state, identity)
    return True


def _decide(  # noqa: PLR0911 - one return per rule reads as the rules do
    ctx: Context, msg: Request, consent: ConsentLike, renewed: Receipt | None, needs: Needs
) -> _Decision:
    """Active? purpose, action, segments covered? appointed and licensed? within the conditions? lawful?"""
    conditions = consent.conditions
    member, source = needs.member(ctx.state, consent.grantee), needs.member(ctx.state, consent.source)
    if not needs.is_active(ctx.state, consent.id, ctx.time) or member is None or source is None:
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
    if (
        renewed is None
        and conditions.max_receipts is not None
        and visits(ctx.state, consent.id) >= conditions.max_receipts
    ):
        return _Decision(errors.USED_UP, [])
    if conditions.jurisdiction not in (None, member.jurisdiction):
        return _Decision(errors.OTHER_JURISDICTION, [])
    if conditions.second_signature and not _signed_by_second(ctx, msg.requester, needs):
        return _Decision(errors.NEEDS_SECOND, [])
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
        break_glass=False,
        entire=not msg.segments,
        starts=consent.starts,
        ends=consent.ends,
    )
    return _Decision(None if permit else errors.NOT_PERMITTED, policies)


def _signed_by_second(ctx: Context, requester: Did, needs: Needs) -> bool:
    """Whether another practitioner who may act for the member signed too."""
    return any(
        signer.did is not None
        and signer.did != requester
        and needs.is_current_key(ctx.state, signer.did, signer.key)
        and needs.appointed_roles(ctx.state, signer.did, ctx.sponsor, ctx.time) is not None
        for signer in ctx.signers[:-1]
    )


def _renewed(ctx: Context, msg: Request) -> Receipt | None:
    """The living receipt that this request continues: the same question, in a visit of at most twelve hours."""
    if msg.renews is None:
        return None
    given = RECEIPTS.get(ctx.state, msg.renews)
    if (
        given is None
        or not is_alive(given, ctx.time)
        or ctx.time >= given.began + MAX_VISIT_S
        or _question(given, given.member, given.consent) != _question(msg, ctx.sponsor, msg.consent)
    ):
        raise Refused(errors.BAD_RENEWAL)
    return given


def _question(asked: Receipt | Request, member: Did, consent: ConsentId) -> tuple[object, ...]:
    return (member, consent, asked.requester, asked.asserted, asked.action, asked.purpose, asked.segments)


def _check_visit(ctx: Context, signed: SignedVisit, requester: Did, needs: Needs) -> None:
    """The practitioner's own current key signed the visit, its key signed this, and its time is now."""
    visit = _read(signed)
    if (visit.chain, visit.practitioner, visit.member) != (ctx.chain, requester, ctx.sponsor):
        raise Refused(errors.BAD_VISIT)
    if not visit.starts <= ctx.time < visit.ends or visit.ends - visit.starts > MAX_VISIT_S:
        raise Refused(errors.BAD_VISIT)
    if not any((signer.did, signer.key) == (requester, visit.key) for signer in ctx.signers[:-1]):
        raise Refused(errors.WRONG_SIGNER)
    own = needs.current_key(ctx.state, requester)
    if own is None:
        raise Refused(errors.WRONG_SIGNER)
    _verify(own, signed)


def _verify(key: Multikey, signed: SignedVisit) -> None:
    try:
        signatures.verify(key, VISIT_DOMAIN + signed.visit, signed.signature)
    except Tampered as error:
        raise Refused(errors.BAD_VISIT) from error


def _read(signed: SignedVisit) -> Visit:
    try:
        return codec.decode_as(signed.visit, Visit)
    except BadInput as error:
        raise Refused(errors.BAD_VISIT) from error
