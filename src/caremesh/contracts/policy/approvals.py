"""What competent bodies have approved of a member: recorded and withdrawn by a quorum of the authorities.

An approval is a fact that policies ask for (a data permit, an ethics vote, standard clauses). It opens nothing by
itself: consent and the rest of the law are asked all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from caremesh.contracts.policy.errors import BAD_UNTIL, NOT_A_MEMBER, NOT_APPROVED, NOT_AUTHORISED, UNKNOWN_APPROVAL
from caremesh.contracts.policy.messages import Approve, Withdraw
from caremesh.contracts.policy.state import APPROVALS, Approval, Approvals
from caremesh.contracts.policy.vocabulary import APPROVALS as KNOWN
from caremesh.errors import Refused
from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Signer
from caremesh.types import DAY_S, Code, Did


class Needs(Protocol):
    """What this part needs of other contracts."""

    def is_quorum(self, reader: Reader, signers: Sequence[Signer], /) -> bool:
        """Whether enough of the network's authorities are among the signers, under their current keys."""
        ...

    def is_member(self, reader: Reader, did: Did, /) -> bool:
        """Whether there is such a member, in whatever standing."""
        ...


def approve(ctx: Context, msg: Approve, needs: Needs) -> None:
    """From now until a day, policies see this approval of the member."""
    if not needs.is_quorum(ctx.state, ctx.signers):
        raise Refused(NOT_AUTHORISED)
    if msg.approval not in KNOWN:
        raise Refused(UNKNOWN_APPROVAL)
    if msg.until % DAY_S or msg.until <= ctx.time:
        raise Refused(BAD_UNTIL)
    if not needs.is_member(ctx.state, msg.member):
        raise Refused(NOT_A_MEMBER)

    _put(ctx, msg.member, [*_others(ctx, msg.member, msg.approval), Approval(approval=msg.approval, until=msg.until)])
    ctx.emit("policy/approved", member=msg.member, approval=msg.approval, until=msg.until)


def withdraw(ctx: Context, msg: Withdraw, needs: Needs) -> None:
    """From now on, policies no longer see this approval."""
    if not needs.is_quorum(ctx.state, ctx.signers):
        raise Refused(NOT_AUTHORISED)
    others = _others(ctx, msg.member, msg.approval)
    if len(others) == len(_entries(ctx, msg.member)):
        raise Refused(NOT_APPROVED)

    _put(ctx, msg.member, others)
    ctx.emit("policy/withdrawn", member=msg.member, approval=msg.approval)


def _entries(ctx: Context, member: Did) -> list[Approval]:
    stored = APPROVALS.get(ctx.state, member.encode())
    return [] if stored is None else stored.entries


def _others(ctx: Context, member: Did, approval: Code) -> list[Approval]:
    return [entry for entry in _entries(ctx, member) if entry.approval != approval]


def _put(ctx: Context, member: Did, entries: list[Approval]) -> None:
    APPROVALS.put(ctx.state, Approvals(sorted(entries, key=lambda entry: entry.approval)), member.encode())
