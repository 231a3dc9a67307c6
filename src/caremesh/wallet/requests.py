"""Requests: a member asks for a consent; the wallet shows who, why and what they would see; the person says yes or no.

The ledger has what is asked, in codes, and a salted hash of the words; the words come over the channel, and count only
when they hash to it. A request without words is shown as one, with what the ledger says of it.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Decline, OfferId
from caremesh.contracts.members import queries as members
from caremesh.crypto.keys import SigningKey
from caremesh.errors import Refused, Tampered
from caremesh.ledger.state import Reader
from caremesh.sealing import inquiry as inquiries
from caremesh.sealing.inquiry import text_digest
from caremesh.types import DAY_S, Code, Did, Seconds, StreamId
from caremesh.wallet import state as states
from caremesh.wallet.errors import NOT_MY_INQUIRY, OFFER_ANSWERED, UNKNOWN_OFFER
from caremesh.wallet.share import Terms
from caremesh.wallet.standing import standing
from caremesh.wallet.state import Heard, WalletState


class Request(Struct, frozen=True, kw_only=True):
    """One request for one stream. ``text``: the member's words; empty when they have not come."""

    offer: OfferId
    member: Did
    category: Code
    stream: StreamId
    purposes: list[Code]
    actions: list[Code]
    until: Seconds
    expires: Seconds
    status: Literal["open", "accepted", "declined", "expired"]
    text: str


def hear(state: WalletState, reader: Reader, sealed: bytes) -> WalletState:
    """The state that has the words of an inquiry. Raises Tampered custody.05, custody.01, custody.02, custody.06,
    wallet.34 (words that are not those whose hash the ledger has)."""
    known = {entry.member for entry in state.relationships} | {record.grantee for record in state.shares}
    for member in sorted(known):
        channel = states.keys_of(state, member).channel()
        asking = members.member(reader, member)
        try:
            signed = inquiries.unseal(channel.hpke_private, channel.signing.public, sealed)
        except Tampered:
            continue
        if asking is None:
            raise Tampered(NOT_MY_INQUIRY, member)
        said = inquiries.hear(state.chain, channel.signing.public, member, asking.keys.node, signed)
        heard = {entry.offer: entry for entry in state.heard}
        for asked in said.asked:
            offer = consents.offer(reader, asked.offer)
            mine = asked.stream in {located.stream.id for located in states.streams(state)}
            text = text_digest(asked.salt, said.text)
            if offer is None or not mine or (offer.member, offer.stream, offer.text) != (member, asked.stream, text):
                raise Tampered(NOT_MY_INQUIRY, member)
            heard[asked.offer] = Heard(offer=asked.offer, text=said.text)
        return replace(state, heard=[heard[offer] for offer in sorted(heard)])
    raise Tampered(NOT_MY_INQUIRY)


def requests(state: WalletState, reader: Reader, now: Seconds) -> list[Request]:
    """Every request that was made of one's own streams, oldest first within a stream."""
    words = {entry.offer: entry.text for entry in state.heard}
    return [
        Request(
            offer=offer.id,
            member=offer.member,
            category=located.stream.category,
            stream=offer.stream,
            purposes=offer.purposes,
            actions=offer.actions,
            until=offer.until,
            expires=offer.expires,
            status="expired" if offer.status == "open" and not consents.is_open(offer, now) else offer.status,
            text=words.get(offer.id, ""),
        )
        for located in states.streams(state)
        for offer in consents.offers_to(reader, located.stream.id)
    ]


def terms(state: WalletState, reader: Reader, now: Seconds, offer: OfferId, *, future: bool, days: int | None) -> Terms:
    """What to grant to accept a request: what is asked, today the first day; or for fewer days.

    Raises Refused wallet.35, wallet.36.
    """
    request = _open(state, reader, now, offer)
    start = now // DAY_S * DAY_S
    return Terms(
        grantee=request.member,
        streams=[request.stream],
        purposes=request.purposes,
        actions=request.actions,
        from_=start,
        until=request.until if days is None else min(request.until, start + days * DAY_S),
        explicit=True,
        future=future,
        offers={request.stream: request.offer},
    )


def declining(state: WalletState, reader: Reader, now: Seconds, offer: OfferId) -> tuple[SigningKey, Decline]:
    """What to send to decline, and the key that signs it. Raises Refused wallet.21, wallet.25, wallet.35, wallet.36."""
    located = states.locate(state, _open(state, reader, now, offer).stream)
    return located.keys.signing(standing(reader, located).rotation), Decline(offer=offer)


def _open(state: WalletState, reader: Reader, now: Seconds, offer: OfferId) -> Request:
    for request in requests(state, reader, now):
        if request.offer == offer:
            if request.status != "open":
                raise Refused(OFFER_ANSWERED, request.status)
            return request
    raise Refused(UNKNOWN_OFFER)
