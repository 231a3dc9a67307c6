"""A member asks for a consent: one offer a stream on the ledger, and the words to the person alone."""

from __future__ import annotations

import pytest

from caremesh.contracts.consent import queries as consents
from caremesh.contracts.members.messages import Reinstate, Suspend
from caremesh.errors import Refused
from caremesh.gateway.inquiring import Wish, inquire
from caremesh.node.founding import CHAIN
from caremesh.sealing import inquiry
from caremesh.sealing.channel import Share
from caremesh.sealing.inquiry import Inquiry
from caremesh.types import DAY_S, Seconds
from caremesh.wallet import state as states
from tests.support.case import Case

WHY = "To plan your care with the clinic."


def wish(case: Case, **changes: object) -> Wish:
    start = case.clock() // DAY_S * DAY_S
    return Wish(["COC"], ["read", "copy"], start + 9 * DAY_S, start + 30 * DAY_S, WHY)._replace(**changes)


def known(case: Case) -> Share:
    shared = case.share(categories=("conditions", "laboratory"))
    return next(
        each for each in case.mesh.member("practice").gateway(case.mesh).shares() if each.id == shared.record.id
    )


def ask(case: Case, share: Share, wanted: Wish) -> tuple[list[bytes], bytes, Seconds]:
    member = case.mesh.member("practice")
    home = member.home
    now = case.clock()
    ids, sealed = inquire(CHAIN, home.requester, home.node_key, share, share.streams, wanted, member.ledger, now)
    return ids, sealed, now


def hear(case: Case, sealed: bytes) -> Inquiry:
    practice = case.mesh.member("practice").home
    channel = states.keys_of(case.wallet.state, practice.did).channel()
    signed = inquiry.unseal(channel.hpke_private, channel.signing.public, sealed)
    return inquiry.hear(CHAIN, channel.signing.public, practice.did, practice.node_key.public, signed)


@pytest.mark.promise("P1")
def test_the_offers_say_what_is_wished_for_in_codes_and_the_message_says_why(case: Case) -> None:
    share, wanted = known(case), wish(case)
    before = case.mesh.engine.status().height
    ids, sealed, now = ask(case, share, wanted)
    said = hear(case, sealed)
    assert (said.chain, said.member, said.text) == (CHAIN, case.did("practice"), WHY)
    assert [entry.offer for entry in said.asked] == ids
    assert [entry.stream for entry in said.asked] == [item.stream for item in share.streams]
    assert len({entry.salt for entry in said.asked}) == 2
    assert all(len(entry.salt) == 16 for entry in said.asked)
    for asked in said.asked:
        offer = consents.offer(case.reader, asked.offer)
        assert offer is not None
        assert (offer.member, offer.stream) == (case.did("practice"), asked.stream)
        assert (offer.purposes, offer.actions) == (["COC"], ["read", "copy"])
        assert (offer.until, offer.expires) == (wanted.until, wanted.expires)
        assert offer.text == inquiry.text_digest(asked.salt, WHY)
    codec = case.mesh.engine.machine.codec
    sent = [codec.read(raw)[0].tx for block in case.mesh.engine.blocks(before + 1) for raw in block.txs]
    assert [len(tx.msgs) for tx in sent] == [1, 1], "one transaction a stream"
    assert {tx.expires_at for tx in sent} == {now + 300}
    assert len({tx.salt for tx in sent}) == 2


def test_an_offer_that_the_ledger_refuses_is_said(case: Case) -> None:
    share = known(case)
    with pytest.raises(Refused, match=r"consent\.\d+") as caught:
        ask(case, share, wish(case, purposes=["NONSENSE"]))
    assert caught.value.place == "msgs[0]"
    assert caught.value.error.sentence
    regulator = case.mesh.member("regulator").home.requester
    case.mesh.send([regulator], Suspend(member=case.did("practice")))
    try:
        with pytest.raises(Refused):
            ask(case, share, wish(case))
    finally:
        case.mesh.send([regulator], Reinstate(member=case.did("practice")))
