"""Members ask for a consent; the subject accepts or declines."""

from __future__ import annotations

from typing import Final

import msgspec

from caremesh.contracts.consent import errors
from caremesh.contracts.consent.logic import MAX_AGED, check_codes, grant, known_stream
from caremesh.contracts.consent.messages import Accept, Decline, Offer, OfferId
from caremesh.contracts.consent.needs import Needs
from caremesh.contracts.consent.queries import is_open, offer_id, open_offer
from caremesh.contracts.consent.state import OFFERS, OFFERS_OF_STREAM, OPEN, Asked
from caremesh.errors import Refused
from caremesh.ledger.machine import Context
from caremesh.types import DAY_S, Seconds, StreamId

MAX_OFFER_S: Final[Seconds] = 92 * DAY_S


def offer(ctx: Context, msg: Offer, needs: Needs) -> None:
    """The sponsoring member asks a stream's subject; one question at a time."""
    if known_stream(ctx, msg.stream, needs).closed:
        raise Refused(errors.CLOSED)
    check_codes(msg.actions, msg.purposes, needs)
    if msg.until % DAY_S:
        raise Refused(errors.NOT_WHOLE_DAYS)
    if msg.until <= ctx.time:
        raise Refused(errors.EMPTY_PERIOD)
    if msg.expires % DAY_S or not ctx.time < msg.expires <= ctx.time + MAX_OFFER_S:
        raise Refused(errors.BAD_OFFER)
    if open_offer(ctx.state, msg.stream, ctx.sponsor, ctx.time) is not None:
        raise Refused(errors.OFFER_WAITING)

    identity = offer_id(ctx.tx_id, ctx.index)
    asked = Asked(
        id=identity,
        stream=msg.stream,
        member=ctx.sponsor,
        actions=msg.actions,
        purposes=msg.purposes,
        until=msg.until,
        text=msg.text,
        expires=msg.expires,
        status="open",
    )
    _age_out(ctx, msg.stream, needs)
    OFFERS.put(ctx.state, asked, identity)
    OFFERS_OF_STREAM.append(ctx.state, identity, msg.stream)
    OPEN.put(ctx.state, identity, msg.stream, ctx.sponsor.encode())
    ctx.emit("consent/offered", offer=identity, stream=msg.stream, member=ctx.sponsor)


def accept(ctx: Context, msg: Accept, needs: Needs) -> None:
    """The subject grants what was asked for, or less; all checks of a grant hold."""
    asked = _open(ctx, msg.offer)
    if (
        (msg.stream, msg.grantee) != (asked.stream, asked.member)
        or not set(msg.actions).issubset(asked.actions)
        or not set(msg.purposes).issubset(asked.purposes)
        or msg.until > asked.until
    ):
        raise Refused(errors.BEYOND_OFFER)
    grant(ctx, msg, needs, offer=asked.id)

    _answer(ctx, msgspec.structs.replace(asked, status="accepted"))
    ctx.emit("consent/accepted", offer=asked.id, stream=asked.stream, member=asked.member)


def decline(ctx: Context, msg: Decline, needs: Needs) -> None:
    """The subject says no; the member may ask again."""
    asked = _open(ctx, msg.offer)
    if not needs.signed_for(ctx, asked.stream, "grant"):
        raise Refused(errors.WRONG_KEY)
    if not ctx.alone:
        raise Refused(errors.NOT_ALONE)

    _answer(ctx, msgspec.structs.replace(asked, status="declined"))
    ctx.emit("consent/declined", offer=asked.id, stream=asked.stream, member=asked.member)


def _open(ctx: Context, identity: OfferId) -> Asked:
    asked = OFFERS.get(ctx.state, identity)
    if asked is None:
        raise Refused(errors.UNKNOWN_OFFER)
    if not is_open(asked, ctx.time):
        raise Refused(errors.OFFER_OVER)
    return asked


def _age_out(ctx: Context, stream: StreamId, needs: Needs) -> None:
    """Offers at the head of the list that expired longer ago than audits last leave the state."""
    before = ctx.time - needs.audit_s(ctx.state)
    for _ in range(MAX_AGED):
        oldest = OFFERS_OF_STREAM.get(ctx.state, OFFERS_OF_STREAM.bounds(ctx.state, stream)[0], stream)
        asked = None if oldest is None else OFFERS.get(ctx.state, oldest)
        if asked is None or asked.expires > before:
            return
        if OPEN.get(ctx.state, stream, asked.member.encode()) == asked.id:
            OPEN.delete(ctx.state, stream, asked.member.encode())
        OFFERS.delete(ctx.state, asked.id)
        OFFERS_OF_STREAM.drop_first(ctx.state, stream)


def _answer(ctx: Context, asked: Asked) -> None:
    OFFERS.put(ctx.state, asked, asked.id)
    OPEN.delete(ctx.state, asked.stream, asked.member.encode())
