"""The subject questions an access, and the member answers in a set time."""

from __future__ import annotations

import msgspec

from caremesh.contracts.access import errors
from caremesh.contracts.access.messages import Answer, Dispute
from caremesh.contracts.access.needs import Needs
from caremesh.contracts.access.state import DISPUTES, EMERGENCIES, RECEIPTS, Disputed
from caremesh.errors import Refused
from caremesh.ledger.machine import Context


def dispute(ctx: Context, msg: Dispute, needs: Needs) -> None:
    """The subject asks why; emergency accesses too."""
    given = RECEIPTS.get(ctx.state, msg.receipt) or EMERGENCIES.get(ctx.state, msg.receipt)
    if given is None:
        raise Refused(errors.NO_RECEIPT)
    if not needs.signed_for(ctx, given.stream, "dispute"):
        raise Refused(errors.NOT_THE_SUBJECT)
    if not ctx.alone:
        raise Refused(errors.NOT_ALONE)
    if DISPUTES.get(ctx.state, msg.receipt) is not None:
        raise Refused(errors.ALREADY_DISPUTED)

    raised = Disputed(
        receipt=msg.receipt,
        stream=given.stream,
        member=given.member,
        statement=msg.statement,
        raised=ctx.time,
        due=ctx.time + needs.answer_s(ctx.state),
    )
    DISPUTES.put(ctx.state, raised, msg.receipt)
    ctx.emit("access/disputed", receipt=msg.receipt, stream=given.stream, member=given.member, due=raised.due)


def answer(ctx: Context, msg: Answer) -> None:
    """The member answers, once; late is recorded as late."""
    raised = DISPUTES.get(ctx.state, msg.receipt)
    if raised is None or raised.member != ctx.sponsor or raised.answer is not None:
        raise Refused(errors.NO_DISPUTE)

    answered = msgspec.structs.replace(raised, answer=msg.statement, answered=ctx.time)
    DISPUTES.put(ctx.state, answered, msg.receipt)
    ctx.emit("access/answered", receipt=msg.receipt, stream=raised.stream, late=int(ctx.time > raised.due))
