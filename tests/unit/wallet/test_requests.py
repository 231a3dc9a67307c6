"""A member asks; the person sees who, why and what they would see; yes grants, no is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.consent import queries as consents
from caremesh.crypto.keys import SigningKey
from caremesh.errors import CareMeshError, Refused, Tampered
from caremesh.gateway.inquiring import Wish, inquire
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.sealing import inquiry
from caremesh.sealing.inquiry import AskedOf, Inquiry
from caremesh.testing.clock import SettableClock
from caremesh.wallet import requests
from caremesh.wallet import state as states
from caremesh.wallet.templates import period
from tests.support.case import Case

WHY = "To plan your care with the clinic."


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("requests") / "mesh", SettableClock()) as made:
        yield made


@pytest.fixture
def case(mesh: LocalMesh, tmp_path: Path) -> Case:
    made = Case(mesh, tmp_path)
    made.add(1)
    return made


def ask(case: Case, *categories: str, text: str = WHY, days: int = 9) -> list[bytes]:
    """The practice asks, for coordination, about streams that were shared with it for treatment."""
    practice = case.mesh.member("practice")
    mine = {located.stream.id for located in states.streams(case.wallet.state)}
    known = next(entry for entry in practice.gateway(case.mesh).shares() if entry.streams[0].stream in mine)
    streams = [item for item in known.streams if item.category in categories]
    until, expires = period(case.clock(), days)[1], period(case.clock(), 30)[1]
    wish = Wish(["COC"], ["read"], until, expires, text)
    offers, sealed = inquire(
        CHAIN, practice.home.requester, practice.home.node_key, known, streams, wish, practice.ledger, case.clock()
    )
    case.mesh.leave_message(known.channel_key, sealed, known.relay, practice.home.did)
    return offers


def test_yes_grants_what_was_asked_and_is_recorded(case: Case) -> None:
    first = case.share()
    [offer] = ask(case, "conditions")
    [request] = case.person.requests()
    assert (request.offer, request.member, request.category) == (offer, case.did("practice"), "conditions")
    assert (request.text, request.purposes, request.status) == (WHY, ["COC"], "open")
    asked = consents.offer(case.reader, offer)
    assert asked is not None
    assert (request.until, request.expires, request.actions) == (asked.until, asked.expires, ["read"])
    assert request.stream == case.stream
    terms = case.person.accepting(offer)
    (seen,) = case.person.preview(terms)
    assert (seen.segments, seen.already) == ([0], [first.record.items[0].consent])
    assert case.refusal(first, "COC") == "access.11"
    shared = case.person.grant(terms)
    assert case.read(shared, "COC") == [1]
    granted = case.consent(shared)
    assert (granted.offer, granted.scope.kind, granted.explicit) == (offer, "future", True)
    assert [entry.status for entry in case.person.requests()] == ["accepted"]
    with pytest.raises(Refused, match=r"wallet\.36.*\(accepted\)"):
        case.person.accepting(offer)


def test_yes_to_less_than_was_asked(case: Case) -> None:
    case.share()
    [offer] = ask(case, "conditions", days=9)
    shared = case.person.grant(case.person.accepting(offer, days=2, future=False))
    consent = case.consent(shared)
    assert (consent.ends, consent.scope.kind) == (period(case.clock(), 2)[1], "existing")
    [second] = ask(case, "conditions", days=9)
    terms = replace(case.person.accepting(second), purposes=["COC", "TREAT"])
    with pytest.raises(Refused, match=r"consent\.32"):
        case.person.grant(terms)


def test_no_is_recorded_and_grants_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.share()
    [offer] = ask(case, "conditions")
    with monkeypatch.context() as patch:
        patch.setattr(case.ledger, "submit", None)  # there is no hurry: it goes among others
        case.person.decline(offer)
    found = consents.offer(case.reader, offer)
    assert found is not None
    assert found.status == "declined"
    assert len(consents.of_stream(case.reader, case.stream)) == 1
    for attempt in (case.person.accepting, case.person.decline):
        with pytest.raises(Refused, match=r"wallet\.36.*\(declined\)"):
            attempt(offer)
    for attempt in (case.person.accepting, case.person.decline):
        with pytest.raises(Refused, match=r"wallet\.35"):
            attempt(bytes(32))


def test_a_request_that_expired_is_shown_as_that(case: Case) -> None:
    case.share()
    ask(case, "conditions", days=60)
    case.clock.advance(31 * 86_400)
    case.mesh.tick()
    assert [request.status for request in case.person.requests()] == ["expired"]


@pytest.mark.promise("P1")
def test_the_words_and_the_connection_of_two_streams_stay_off_the_ledger(case: Case) -> None:
    case.share(categories=("conditions", "laboratory"))
    before = case.mesh.engine.status().height
    offers = ask(case, "conditions", "laboratory")
    asked = [consents.offer(case.reader, offer) for offer in offers]
    assert len({entry.text for entry in asked if entry}) == 2, "one salt an offer"
    for block in case.mesh.engine.blocks(before + 1):
        for raw in block.txs:
            assert WHY.encode() not in raw
            assert sum(entry.stream in raw for entry in asked if entry) <= 1
    assert {request.text for request in case.person.requests()} == {WHY}
    assert states.read_state(case.wallet._file.open(case.path, "correct horse battery staple")[1]) == case.wallet.state


@pytest.mark.promise("P6")
def test_words_that_are_not_those_of_the_offer_or_of_the_member_are_refused(case: Case) -> None:
    case.share()
    [offer] = ask(case, "conditions")
    practice = case.mesh.member("practice").home
    channel = states.keys_of(case.wallet.state, practice.did).channel()
    asked = AskedOf(offer=offer, stream=case.stream, salt=bytes(16))
    good = Inquiry(chain=CHAIN, member=practice.did, channel_key=channel.signing.public, text=WHY, asked=[asked])

    def code(said: Inquiry, key: SigningKey = practice.node_key, to: bytes = channel.hpke_public) -> str:
        with pytest.raises(CareMeshError) as caught:
            case.wallet.hear(inquiry.tell(said, to, key), case.reader)
        return caught.value.code

    def place(said: Inquiry) -> str:
        with pytest.raises(CareMeshError) as caught:
            case.wallet.hear(inquiry.tell(said, channel.hpke_public, practice.node_key), case.reader)
        return caught.value.place

    assert code(good) == "wallet.34", "another salt"
    assert place(good) == practice.did
    assert code(replace(good, text="Nothing much.")) == "wallet.34"
    assert code(replace(good, asked=[replace(asked, offer=bytes(32))])) == "wallet.34"
    assert code(replace(good, asked=[replace(asked, stream=bytes(32))])) == "wallet.34"
    assert code(good, SigningKey.generate()) == "custody.02"
    assert code(replace(good, chain="another")) == "custody.06"
    assert code(replace(good, member=case.did("payer"))) == "custody.06"
    assert code(replace(good, channel_key=SigningKey.generate().public)) == "wallet.34", "for somebody else"
    assert code(good, to=case.mesh.member("payer").home.hpke_public) == "wallet.34"
    with pytest.raises(Tampered, match=r"wallet\.34"):
        case.wallet.hear(b"", case.reader)
    assert [request.text for request in case.person.requests()] == [WHY], "the true words are not lost"


def test_a_request_without_words_is_shown_with_what_the_ledger_says(case: Case) -> None:
    case.share()
    ask(case, "conditions")
    channel = states.keys_of(case.wallet.state, case.did("practice")).channel()
    waiting = case.mesh.messages(case.mesh.relay, channel.signing).messages
    case.mesh.acknowledge(case.mesh.relay, channel.signing, [message.id for message in waiting])
    case.mesh.leave_message(channel.signing.public, b"noise", None, case.did("practice"))
    assert [request.text for request in case.person.requests()] == [""]


@pytest.mark.promise("P1")
def test_the_words_of_a_request_to_somebody_else_are_not_kept(case: Case, tmp_path: Path) -> None:
    case.share()
    other = Case(case.mesh, tmp_path)
    other.share()
    ask(other, "conditions")
    practice = case.mesh.member("practice").home
    theirs = states.keys_of(other.wallet.state, practice.did).channel()
    [waiting] = case.mesh.messages(case.mesh.relay, theirs.signing).messages
    signed = inquiry.unseal(theirs.hpke_private, theirs.signing.public, waiting.sealed)
    said = codec.decode_as(signed.payload, Inquiry)
    mine = states.keys_of(case.wallet.state, practice.did).channel()
    forwarded = inquiry.tell(replace(said, channel_key=mine.signing.public), mine.hpke_public, practice.node_key)
    with pytest.raises(Tampered, match=r"wallet\.34"):
        case.wallet.hear(forwarded, case.reader)
    assert case.wallet.state.heard == []


def test_whoever_of_the_members_asks_is_heard(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.share()
    [share] = [
        each
        for each in case.mesh.member("practice").gateway(case.mesh).shares()
        if each.streams[0].stream == case.stream
    ]
    until, expires = period(case.clock(), 9)[1], period(case.clock(), 30)[1]
    heard = {}
    for name in ("practice", "hospital"):
        home, ledger = case.mesh.member(name).home, case.mesh.member(name).ledger
        channel = states.keys_of(case.wallet.state, home.did).channel()
        to = replace(share, channel_key=channel.signing.public, channel_hpke=channel.hpke_public)
        wish = Wish(["COC"], ["read"], until, expires, f"The {name} asks.")
        [offer], sealed = inquire(CHAIN, home.requester, home.node_key, to, share.streams, wish, ledger, case.clock())
        case.wallet.hear(sealed, case.reader)
        heard[offer] = wish.text
    assert {entry.offer: entry.text for entry in case.wallet.state.heard} == heard
    assert [entry.offer for entry in case.wallet.state.heard] == sorted(heard)
    with monkeypatch.context() as patch:
        patch.setattr(requests.members, "member", lambda *_: None)
        with pytest.raises(Tampered) as caught:
            case.wallet.hear(sealed, case.reader)
    assert (caught.value.code, caught.value.place) == ("wallet.34", case.did("hospital"))
    with pytest.raises(Tampered) as caught:
        case.wallet.hear(b"", case.reader)
    assert (caught.value.code, caught.value.place) == ("wallet.34", "")
