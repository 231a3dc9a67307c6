"""Ask a person for a consent: an offer a stream on the ledger, and the words to the person alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, NamedTuple

from caremesh.consensus.refusals import refusal
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Offer
from caremesh.gateway.ask import Ledger, Requester
from caremesh.ledger.succession import chain_of
from caremesh.ledger.transactions import Signer, Signs, Tx, encode, sign
from caremesh.sealing import inquiry
from caremesh.sealing.channel import Share, SharedStream
from caremesh.sealing.inquiry import AskedOf, Inquiry
from caremesh.types import Code, Seconds

_TX_LIFE_S: Final[Seconds] = 300


class Wish(NamedTuple):
    """What is asked for. ``until``, ``expires``: seconds UTC, whole days; ``text``: why, in plain words."""

    purposes: Sequence[Code]
    actions: Sequence[Code]
    until: Seconds
    expires: Seconds
    text: str


def inquire(
    chain: str,
    member: Requester,
    node_key: Signs,
    person: Share,
    streams: Sequence[SharedStream],
    wish: Wish,
    ledger: Ledger,
    now: Seconds,
) -> tuple[list[bytes], bytes]:
    """(ids of the offers, the message for the person). ``person``: a share that says how to reach them.

    Raises Refused with the ledger's code, and what ``Ledger.submit`` raises.
    """
    asked = []
    for item in streams:
        salt = os.urandom(16)
        message = Offer(
            stream=item.stream,
            actions=list(wish.actions),
            purposes=list(wish.purposes),
            until=wish.until,
            text=inquiry.text_digest(salt, wish.text),
            expires=wish.expires,
        )
        tx = encode(
            Tx(
                chain=chain_of(ledger.reader(), chain),
                expires_at=now + _TX_LIFE_S,
                salt=os.urandom(8),
                signers=[Signer(key=member.key.public, did=member.did)],
                msgs=[message],
            )
        )
        committed = ledger.submit(sign(tx, [member.key]))
        if committed.code:
            raise refusal(committed)
        asked.append(AskedOf(offer=consents.offer_id(committed.tx, 0), stream=item.stream, salt=salt))
    said = Inquiry(chain=chain, member=member.did, channel_key=person.channel_key, text=wish.text, asked=asked)
    return [entry.offer for entry in asked], inquiry.tell(said, person.channel_hpke, node_key)
