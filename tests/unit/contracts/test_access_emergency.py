"""Breaking the glass is recorded either way and reviewed; any access may be disputed, and is answered."""

from typing import Any

import pytest

from caremesh.contracts.access import queries as access
from caremesh.contracts.access.messages import Answer, BreakGlass, Close, Dispute, Review
from caremesh.contracts.identity.messages import Rotate
from caremesh.contracts.members.messages import SuspendPerson
from caremesh.contracts.members.state import MEMBERS
from caremesh.contracts.network.messages import Brake, Params, SetParams
from caremesh.contracts.policy.acceptance import PolicyTest
from caremesh.contracts.policy.library import shipped
from caremesh.contracts.policy.messages import Adopt, PolicySet
from caremesh.contracts.streams.messages import AddController
from caremesh.ledger.transactions import Signer
from caremesh.types import DAY_S
from tests.support.world import NOW, Actor, World

BASIS = ["HIPAA:164.506.c.2"]
WEEK_S, MONTH_S = 604_800, 2_592_000


@pytest.fixture
def opened(world: World) -> World:
    """A world whose stream is open; nothing is granted."""
    world.must(world.register(), world.hospital)
    return world


def glass(world: World, *signers: Actor, **changes: Any) -> str:
    given: dict[str, Any] = {
        "stream": world.stream,
        "purpose": "ETREAT",
        "legal_basis": BASIS,
        "reason": b"r" * 32,
        "requester": str(world.doctor.did),
    }
    return world.do(BreakGlass(**given | changes), *(signers or (world.doctor, world.practice)))


def broken(world: World) -> access.Emergency:
    assert glass(world) == ""
    found = access.of_stream(world.view, world.stream)[-1]
    assert isinstance(found, access.Emergency)
    assert found.why is None
    return found


def denied(world: World) -> str | None:
    found = access.of_stream(world.view, world.stream)[-1]
    assert isinstance(found, access.Emergency)
    assert (found.expires, found.review_due) == (0, 0)
    assert not access.is_open(found, found.at)
    assert world.told("access/glass-broken")["why"] == found.why
    return found.why


@pytest.mark.promise("P2")
def test_breaking_the_glass_is_marked_and_a_review_is_due(opened: World) -> None:
    height = opened.height
    emergency = broken(opened)
    assert emergency == access.Emergency(
        id=emergency.id,
        stream=opened.stream,
        member=str(opened.practice.did),
        requester=str(opened.doctor.did),
        purpose="ETREAT",
        legal_basis=BASIS,
        reason=b"r" * 32,
        height=height,
        at=NOW,
        policies=["hipaa/506-c-2", "house/access", "iso22600/care-profession"],
        why=None,
        expires=NOW + 900,
        review_due=NOW + WEEK_S,
        review=None,
    )
    assert opened.told("access/glass-broken") == {
        "receipt": emergency.id, "stream": opened.stream, "member": opened.practice.did, "why": "",
    }  # fmt: skip
    assert access.emergency(opened.view, emergency.id) == emergency
    assert access.of_requester(opened.view, str(opened.doctor.did)) == [emergency]
    assert [access.is_open(emergency, at) for at in (NOW - 1, NOW, NOW + 899, NOW + 900)] == [False, True, True, False]


def test_an_emergency_access_is_no_receipt(opened: World) -> None:
    emergency = broken(opened)
    assert access.receipt(opened.view, emergency.id) is None
    assert opened.do(Close(receipt=emergency.id), opened.practice) == "access.08"
    assert opened.asked(opened.granted(), renews=emergency.id) == ("", "access.19")


def test_what_is_refused_and_not_recorded(opened: World) -> None:
    assert glass(opened, stream=bytes(32)) == "access.22"
    assert glass(opened, opened.practice) == "access.02"
    assert glass(opened, Actor("another"), opened.practice) == "access.02"
    assert glass(opened, opened.practice, requester=str(opened.practice.did)) == "access.02"
    assert access.of_stream(opened.view, opened.stream) == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"legal_basis": []}, "access.04"),
        ({"legal_basis": BASIS * 2}, "access.04"),
        ({"purpose": "TREAT"}, "access.17"),
        ({"legal_basis": ["HIPAA:164.508"]}, "access.17"),
    ],
)
def test_what_is_denied_is_recorded(opened: World, changes: dict[str, Any], why: str) -> None:
    assert glass(opened, **changes) == ""
    assert denied(opened) == why


def test_who_may_not_break_the_glass(opened: World) -> None:
    other = opened.appointed("other", "physician", member=opened.hospital)
    assert glass(opened, other, opened.practice, requester=str(other.did)) == ""
    assert denied(opened) == "access.14"
    suspend = SuspendPerson(practitioner=str(opened.doctor.did), suspended=True)
    opened.must(suspend, opened.practice)
    assert glass(opened) == ""
    assert denied(opened) == "access.14"


def test_the_brake_stops_emergency_accesses_too(opened: World) -> None:
    opened.must(Brake(scope="receipts", reason="drill", until=NOW + 10), *opened.custodians[:2])
    assert glass(opened) == ""
    assert denied(opened) == "access.06"
    opened.now += 10
    assert broken(opened).at == NOW + 10


def test_where_the_source_is_not_known_no_glass_is_broken(opened: World) -> None:
    MEMBERS.delete(opened.view, str(opened.hospital.did).encode())
    assert glass(opened) == ""
    assert denied(opened) == "access.17"
    assert access.of_stream(opened.view, opened.stream)[-1].policies == ["policy/no-set"]


@pytest.mark.parametrize(
    ("condition", "yes"), [("!context.entire", {"entire": False}), ("context.explicit", {"explicit": True})]
)
def test_the_law_is_told_that_all_is_asked_for_and_nothing_was_said(
    opened: World, condition: str, yes: dict[str, bool]
) -> None:
    house = shipped("house")[0]
    text = (
        '@id("p") @legal("§ 1") @sentence("A sentence.") '
        f'permit (principal, action in Action::"access", resource) when {{ {condition} }};'
    )
    no = {name: not value for name, value in yes.items()}
    rules = PolicySet(
        set="law", jurisdictions=[], text=text, access=house.access, grant=house.grant,
        tests=[PolicyTest("p", "access", {**yes}, {**no})],
    )  # fmt: skip
    opened.must(Adopt(rules, opened.height + 1), *opened.custodians[:2])
    assert glass(opened) == ""
    assert denied(opened) == "access.17"
    assert access.of_stream(opened.view, opened.stream)[-1].policies == ["law/no-permit"]


# --- review ----------------------------------------------------------------------------------------


def review(world: World, emergency: access.Emergency, officer: Actor, *signers: Actor, **changes: Any) -> str:
    given: dict[str, Any] = {
        "receipt": emergency.id,
        "officer": str(officer.did),
        "justified": True,
        "statement": b"s" * 32,
    }
    return world.do(Review(**given | changes), *(signers or (officer, world.practice)))


def test_the_privacy_officer_reviews_once(opened: World) -> None:
    officer, emergency = opened.appointed("officer", "privacy-officer"), broken(opened)
    opened.now += 60
    assert review(opened, emergency, officer) == ""
    after = access.emergency(opened.view, emergency.id)
    assert after is not None
    assert after.review is not None
    assert (after.review.officer, after.review.justified) == (officer.did, True)
    assert (after.review.statement, after.review.at) == (b"s" * 32, NOW + 60)
    assert (after.at, after.expires, after.policies) == (emergency.at, emergency.expires, emergency.policies)
    assert opened.told("access/reviewed") == {
        "receipt": emergency.id, "stream": opened.stream, "justified": 1, "late": 0,
    }  # fmt: skip
    assert review(opened, emergency, officer) == "access.28"


def test_a_late_review_says_so(opened: World) -> None:
    officer, first, second = opened.appointed("officer", "privacy-officer"), broken(opened), broken(opened)
    opened.now = first.review_due
    assert review(opened, first, officer, justified=False) == ""
    assert (opened.told("access/reviewed")["late"], opened.told("access/reviewed")["justified"]) == (0, 0)
    opened.now += 1
    assert review(opened, second, officer) == ""
    assert opened.told("access/reviewed")["late"] == 1


def test_who_may_not_review(opened: World) -> None:
    officer, nurse = opened.appointed("officer", "privacy-officer"), opened.appointed("nurse", "nurse")
    elsewhere = opened.appointed("elsewhere", "privacy-officer", member=opened.hospital)
    emergency = broken(opened)
    assert review(opened, emergency, elsewhere, elsewhere, opened.hospital) == "access.08"
    assert review(opened, emergency, officer, receipt=bytes(32)) == "access.08"
    assert review(opened, emergency, nurse) == "access.27"
    assert review(opened, emergency, elsewhere) == "access.27"
    assert review(opened, emergency, officer, opened.practice) == "access.02"
    assert review(opened, emergency, officer, nurse, opened.practice) == "access.02"
    later = Actor("later")
    later.did, later.signer = officer.did, Signer(key=later.key.public, did=officer.did)
    opened.must(Rotate(did=str(officer.did), key=later.key.public), officer, later, opened.practice)
    assert review(opened, emergency, officer) == "access.02"
    assert review(opened, emergency, officer, later, opened.practice) == ""


def test_nobody_reviews_what_they_asked_for(opened: World) -> None:
    both = opened.appointed("both", "physician", "privacy-officer")
    assert glass(opened, both, opened.practice, requester=str(both.did)) == ""
    emergency = access.of_stream(opened.view, opened.stream)[-1]
    assert isinstance(emergency, access.Emergency)
    assert review(opened, emergency, both) == "access.27"


def test_what_was_denied_is_not_reviewed(opened: World) -> None:
    officer = opened.appointed("officer", "privacy-officer")
    assert glass(opened, purpose="TREAT") == ""
    emergency = access.of_stream(opened.view, opened.stream)[-1]
    assert isinstance(emergency, access.Emergency)
    assert review(opened, emergency, officer) == "access.28"


# --- disputes --------------------------------------------------------------------------------------


def given(world: World) -> bytes:
    assert world.asked(world.granted()) == ("", "")
    return access.of_stream(world.view, world.stream)[-1].id


def test_the_subject_asks_and_the_member_answers(opened: World) -> None:
    receipt = given(opened)
    dispute, answer = Dispute(receipt=receipt, statement=b"q" * 32), Answer(receipt=receipt, statement=b"a" * 32)
    assert opened.do(answer, opened.practice) == "access.26"
    opened.must(dispute, opened.stream_key, opened.hospital)
    assert access.dispute(opened.view, receipt) == access.Disputed(
        receipt=receipt,
        stream=opened.stream,
        member=str(opened.practice.did),
        statement=b"q" * 32,
        raised=NOW,
        due=NOW + MONTH_S,
    )
    assert opened.told("access/disputed") == {
        "receipt": receipt, "stream": opened.stream, "member": opened.practice.did, "due": NOW + MONTH_S,
    }  # fmt: skip
    assert opened.do(dispute, opened.stream_key, opened.hospital) == "access.25"
    assert opened.do(answer, opened.hospital) == "access.26"
    opened.now += MONTH_S
    opened.must(answer, opened.practice)
    answered = access.dispute(opened.view, receipt)
    assert answered is not None
    assert (answered.statement, answered.answer, answered.answered) == (b"q" * 32, b"a" * 32, NOW + MONTH_S)
    assert opened.told("access/answered") == {"receipt": receipt, "stream": opened.stream, "late": 0}
    assert opened.do(answer, opened.practice) == "access.26"


def test_a_late_answer_says_so(opened: World) -> None:
    receipt = given(opened)
    opened.must(Dispute(receipt=receipt, statement=bytes(32)), opened.stream_key, opened.practice)
    opened.now += MONTH_S + 1
    opened.must(Answer(receipt=receipt, statement=bytes(32)), opened.practice)
    assert opened.told("access/answered")["late"] == 1


def test_the_network_sets_when_answers_and_reviews_are_due(opened: World) -> None:
    params = Params(answer_s=2 * DAY_S, review_s=3 * DAY_S)
    opened.must(SetParams(params=params), *opened.custodians[:2])
    assert broken(opened).review_due == NOW + 3 * DAY_S
    receipt = given(opened)
    opened.must(Dispute(receipt=receipt, statement=bytes(32)), opened.stream_key, opened.practice)
    assert opened.told("access/disputed")["due"] == NOW + 2 * DAY_S


def test_an_emergency_access_is_disputed_like_any_other(opened: World) -> None:
    emergency = broken(opened)
    opened.must(Dispute(receipt=emergency.id, statement=bytes(32)), opened.stream_key, opened.practice)
    assert access.dispute(opened.view, emergency.id) is not None


def test_who_may_not_dispute(opened: World) -> None:
    receipt = given(opened)
    dispute = Dispute(receipt=receipt, statement=bytes(32))
    assert opened.do(Dispute(receipt=bytes(32), statement=bytes(32)), opened.stream_key, opened.practice) == "access.08"
    assert opened.do(dispute, opened.practice) == "access.23"
    assert opened.do(dispute, Actor("other", stream=True), opened.practice) == "access.23"
    assert opened.do(dispute, opened.stream_key, opened.practice, alone=False) == "access.24"
    carer = Actor("carer", stream=True)
    day = NOW // DAY_S * DAY_S
    for powers, code in ((["grant", "revoke"], "access.23"), (["dispute"], "")):
        add = AddController(stream=opened.stream, key=carer.key.public, powers=powers, until=day + DAY_S)  # type: ignore[arg-type]
        opened.must(add, opened.stream_key, carer, opened.practice)
        assert opened.do(dispute, carer, opened.practice) == code
