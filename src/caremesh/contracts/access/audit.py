"""The lists that prove an audit complete, and how what audits no longer ask for leaves them.

Every record is in one queue in order of time, and so it is in every list: what is oldest of all is the head of each
list that holds it. A new record therefore takes the oldest few out of everywhere at once, and no list holds an id
without its record.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from caremesh.contracts.access.needs import Needs
from caremesh.contracts.access.queries import record
from caremesh.contracts.access.state import (
    DISPUTES,
    EMERGENCIES,
    EVERYTHING,
    GIVEN,
    OF_CONSENT,
    OF_REQUESTER,
    OF_STREAM,
    RECEIPTS,
    REFUSALS,
    Emergency,
    Receipt,
    Refusal,
)
from caremesh.ledger.machine import Context
from caremesh.ledger.state import CountedList

Record: TypeAlias = Receipt | Refusal | Emergency

MAX_AGED: Final = 4
"""How many records that are older than audits last leave the state with each new one."""


def enter(ctx: Context, new: Record, needs: Needs) -> None:
    """Keep a record and enter it into the lists of its stream, its requester and its consent."""
    _age_out(ctx, needs)
    if isinstance(new, Receipt):
        RECEIPTS.put(ctx.state, new, new.id)
    elif isinstance(new, Refusal):
        REFUSALS.put(ctx.state, new, new.id)
    else:
        EMERGENCIES.put(ctx.state, new, new.id)
    EVERYTHING.append(ctx.state, new.id)
    for entries, owner in _lists(new):
        entries.append(ctx.state, new.id, owner)


def _age_out(ctx: Context, needs: Needs) -> None:
    before = ctx.time - needs.audit_s(ctx.state)
    for _ in range(MAX_AGED):
        identity = EVERYTHING.get(ctx.state, EVERYTHING.bounds(ctx.state)[0])
        oldest = None if identity is None else record(ctx.state, identity)
        if oldest is None or oldest.at > before:
            return
        EVERYTHING.drop_first(ctx.state)
        for entries, owner in _lists(oldest):
            entries.drop_first(ctx.state, owner)
        for table in (RECEIPTS, REFUSALS, EMERGENCIES, DISPUTES):
            table.delete(ctx.state, oldest.id)
        if not isinstance(oldest, Emergency) and not needs.is_active(ctx.state, oldest.consent, ctx.time):
            GIVEN.delete(ctx.state, oldest.consent)


def _lists(entry: Record) -> list[tuple[CountedList[bytes], bytes]]:
    """The lists that hold a record, each with its owner."""
    lists = [(OF_STREAM, entry.stream), (OF_REQUESTER, entry.requester.encode())]
    return lists if isinstance(entry, Emergency) else [*lists, (OF_CONSENT, entry.consent)]
