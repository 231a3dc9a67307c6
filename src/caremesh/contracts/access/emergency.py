"""Breaking the glass: emergency access without the subject's permission, recorded either way, and reviewed."""

from __future__ import annotations

import msgspec

from caremesh.contracts.access import errors
from caremesh.contracts.access.audit import enter
from caremesh.contracts.access.logic import is_stated, signed_by_person
from caremesh.contracts.access.messages import BreakGlass, Review
from caremesh.contracts.access.needs import Needs
from caremesh.contracts.access.queries import receipt_id
from caremesh.contracts.access.state import EMERGENCIES, Emergency, Reviewed
from caremesh.errors import ErrorCode, Refused
from caremesh.ledger.machine import Context
from caremesh.types import Did, Seconds

OFFICER: str = "privacy-officer"


def break_glass(ctx: Context, msg: BreakGlass, needs: Needs) -> None:
    """A practitioner of the sponsoring member asks for a stream's emergency data; the law alone decides.

    That a stream exists is all that the ledger knows: whether it holds an emergency summary, its custodians know.
    """
    source = needs.source_of(ctx.state, msg.stream)
    if source is None:
        raise Refused(errors.UNKNOWN_STREAM)
    if not signed_by_person(ctx, msg.requester, needs):
        raise Refused(errors.WRONG_SIGNER)
    expires = ctx.time + needs.receipt_life_s(ctx.state)
    why, policies = _decide(ctx, msg, source, expires, needs)
    permit = why is None

    identity = receipt_id(ctx.tx_id, ctx.index)
    emergency = Emergency(
        id=identity,
        stream=msg.stream,
        member=ctx.sponsor,
        requester=msg.requester,
        purpose=msg.purpose,
        legal_basis=msg.legal_basis,
        reason=msg.reason,
        height=ctx.height,
        at=ctx.time,
        policies=policies,
        why=None if why is None else why.code,
        expires=expires if permit else 0,
        review_due=ctx.time + needs.review_s(ctx.state) if permit else 0,
    )
    enter(ctx, emergency, needs)
    ctx.emit(
        "access/glass-broken",
        receipt=identity,
        stream=msg.stream,
        member=ctx.sponsor,
        why="" if why is None else why.code,
    )


def _decide(
    ctx: Context, msg: BreakGlass, source: Did, expires: Seconds, needs: Needs
) -> tuple[ErrorCode | None, list[str]]:
    """Brake off? appointed and licensed? lawful?"""
    if needs.brake_on(ctx.state, ctx.time):
        return errors.BRAKE_ON, []
    roles = needs.appointed_roles(ctx.state, msg.requester, ctx.sponsor, ctx.time)
    if roles is None:
        return errors.NOT_APPOINTED, []
    if not is_stated(msg.legal_basis):
        return errors.UNKNOWN_BASIS, []
    permit, policies = needs.may_access(
        ctx.state,
        height=ctx.height,
        at=ctx.time,
        action="read",
        purpose=msg.purpose,
        legal_basis=msg.legal_basis,
        source=source,
        grantee=ctx.sponsor,
        requester_roles=sorted(roles),
        explicit=False,
        asserted=False,
        licensed=True,
        break_glass=True,
        entire=True,
        starts=ctx.time,
        ends=expires,
    )
    return (None if permit else errors.NOT_PERMITTED), policies


def review(ctx: Context, msg: Review, needs: Needs) -> None:
    """The member's privacy officer says whether an emergency access was justified; late is recorded as late."""
    emergency = EMERGENCIES.get(ctx.state, msg.receipt)
    if emergency is None or emergency.member != ctx.sponsor:
        raise Refused(errors.NO_RECEIPT)
    if emergency.why is not None or emergency.review is not None:
        raise Refused(errors.ALREADY_REVIEWED)
    roles = needs.appointed_roles(ctx.state, msg.officer, ctx.sponsor, ctx.time) or []
    if OFFICER not in roles or msg.officer == emergency.requester:
        raise Refused(errors.NOT_AN_OFFICER)
    if not signed_by_person(ctx, msg.officer, needs):
        raise Refused(errors.WRONG_SIGNER)

    found = Reviewed(officer=msg.officer, justified=msg.justified, statement=msg.statement, at=ctx.time)
    EMERGENCIES.put(ctx.state, msgspec.structs.replace(emergency, review=found), msg.receipt)
    ctx.emit(
        "access/reviewed",
        receipt=msg.receipt,
        stream=emergency.stream,
        justified=int(msg.justified),
        late=int(ctx.time > emergency.review_due),
    )
