"""A member asks for a consent; the subject accepts, grants less, declines, or lets it lapse."""

from typing import Any

import pytest

from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Accept, Decline, Offer, Revoke
from caremesh.contracts.consent.state import OFFERS_OF_STREAM, OPEN
from caremesh.contracts.network.messages import Params, SetParams
from caremesh.contracts.streams.messages import AddController, Close
from caremesh.types import DAY_S
from tests.support.world import NOW, Actor, World

DAY = NOW // DAY_S * DAY_S
YEARS_S = 6 * 366 * DAY_S


def offer(world: World, **changes: Any) -> Offer:
    given: dict[str, Any] = {
        "stream": world.stream,
        "actions": ["read", "copy"],
        "purposes": ["TREAT", "COC"],
        "until": DAY + 90 * DAY_S,
        "text": b"t" * 32,
        "expires": DAY + 14 * DAY_S,
    }
    return Offer(**given | changes)


def offered(world: World, *by: Actor, **changes: Any) -> bytes:
    world.must(offer(world, **changes), *(by or (world.practice,)))
    made = world.told("consent/offered")["offer"]
    assert isinstance(made, bytes)
    return made


def accept(world: World, offer_id: bytes, **changes: Any) -> Accept:
    grant = world.grant(**changes)
    return Accept(offer=offer_id, **{name: getattr(grant, name) for name in grant.__struct_fields__})


@pytest.fixture
def opened(world: World) -> World:
    """A world whose stream is open."""
    world.must(world.register(), world.hospital)
    return world


def test_an_offer_waits_for_its_answer(opened: World) -> None:
    identity = offered(opened)
    [asked] = consents.offers_to(opened.view, opened.stream)
    assert (asked.id, asked.member, asked.status) == (identity, opened.practice.did, "open")
    assert (asked.actions, asked.purposes, asked.text) == (["read", "copy"], ["TREAT", "COC"], b"t" * 32)
    assert (asked.until, asked.expires) == (DAY + 90 * DAY_S, DAY + 14 * DAY_S)
    assert consents.open_offer(opened.view, opened.stream, str(opened.practice.did), NOW) == asked
    assert consents.open_offer(opened.view, opened.stream, str(opened.hospital.did), NOW) is None
    assert consents.open_offer(opened.view, opened.stream, str(opened.practice.did), asked.expires) is None
    assert opened.told("consent/offered") == {
        "offer": identity, "stream": opened.stream, "member": opened.practice.did,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"stream": bytes(32)}, "consent.01"),
        ({"until": DAY}, "consent.03"),
        ({"purposes": ["NOSUCH"]}, "consent.08"),
        ({"until": DAY + DAY_S + 1}, "consent.12"),
        ({"actions": []}, "consent.13"),
        ({"expires": DAY}, "consent.34"),
        ({"expires": DAY + DAY_S + 1}, "consent.34"),
        ({"expires": DAY + 93 * DAY_S}, "consent.34"),
    ],
)
def test_what_cannot_be_asked_for(opened: World, changes: dict[str, Any], code: str) -> None:
    assert opened.do(offer(opened, **changes), opened.practice) == code


def test_what_ends_this_second_is_over(opened: World) -> None:
    opened.now = DAY + DAY_S
    assert opened.do(offer(opened, until=DAY + DAY_S), opened.practice) == "consent.03"
    assert opened.do(offer(opened, expires=DAY + DAY_S), opened.practice) == "consent.34"
    assert opened.do(offer(opened, expires=DAY + 94 * DAY_S), opened.practice) == "consent.34"
    assert opened.do(offer(opened, expires=DAY + 93 * DAY_S), opened.practice) == ""


def test_an_offer_may_wait_for_ninety_two_days(opened: World) -> None:
    assert opened.do(offer(opened, expires=DAY + 92 * DAY_S), opened.practice) == ""


def test_nobody_asks_a_closed_stream(opened: World) -> None:
    opened.must(Close(stream=opened.stream), opened.stream_key, opened.practice)
    assert opened.do(offer(opened), opened.practice) == "consent.25"


def test_one_offer_of_a_member_at_a_time(opened: World) -> None:
    first = offered(opened)
    assert opened.do(offer(opened), opened.practice) == "consent.33"
    offered(opened, opened.hospital)
    opened.must(Decline(offer=first), opened.stream_key, opened.practice)
    offered(opened)
    opened.now = DAY + 14 * DAY_S
    offered(opened, until=DAY + 99 * DAY_S, expires=DAY + 20 * DAY_S)


def test_accepting_grants_what_was_asked_for_or_less(opened: World) -> None:
    identity = offered(opened)
    message = accept(opened, identity)
    opened.must(message, opened.stream_key, opened.practice)
    assert opened.told("consent/accepted") == {
        "offer": identity, "stream": opened.stream, "member": opened.practice.did,
    }  # fmt: skip
    granted = consents.consent(opened.view, consents.consent_id(opened.stream, message.salt))
    assert granted is not None
    assert (granted.offer, granted.purposes) == (identity, ["TREAT"])
    asked = consents.offer(opened.view, identity)
    assert asked is not None
    assert asked.status == "accepted"
    assert consents.open_offer(opened.view, opened.stream, str(opened.practice.did), NOW) is None
    assert OPEN.get(opened.view, opened.stream, str(opened.practice.did).encode()) is None
    assert opened.do(message, opened.stream_key, opened.practice) == "consent.31"
    assert opened.do(Decline(offer=identity), opened.stream_key, opened.practice) == "consent.31"
    assert opened.asked(granted.id) == ("", "")


def test_a_grant_without_an_offer_names_none(opened: World) -> None:
    granted = consents.consent(opened.view, opened.granted())
    assert granted is not None
    assert granted.offer is None


def test_accepting_may_grant_all_that_was_asked_for(opened: World) -> None:
    everything = {"actions": ["read", "copy"], "purposes": ["TREAT", "COC"], "until": DAY + 90 * DAY_S}
    opened.must(accept(opened, offered(opened), **everything), opened.stream_key, opened.practice)


@pytest.mark.parametrize(
    "changes",
    [
        {"purposes": ["TREAT", "HOPERAT"]},
        {"actions": ["read", "compute"]},
        {"until": DAY + 91 * DAY_S},
    ],
)
def test_accepting_grants_no_more_than_was_asked_for(opened: World, changes: dict[str, Any]) -> None:
    message = accept(opened, offered(opened), **changes)
    assert opened.do(message, opened.stream_key, opened.practice) == "consent.32"


def test_accepting_is_for_the_stream_and_the_member_of_the_offer(opened: World) -> None:
    identity = offered(opened, opened.hospital)
    assert opened.do(accept(opened, identity), opened.stream_key, opened.practice) == "consent.32"
    mine = offered(opened)
    elsewhere = accept(opened, mine, stream=bytes(32))
    assert opened.do(elsewhere, opened.stream_key, opened.practice) == "consent.32"
    assert opened.do(accept(opened, bytes(32)), opened.stream_key, opened.practice) == "consent.30"
    opened.now = DAY + 14 * DAY_S
    assert opened.do(accept(opened, mine), opened.stream_key, opened.practice) == "consent.31"


def test_accepting_passes_the_checks_of_a_grant(opened: World) -> None:
    identity = offered(opened)
    assert opened.do(accept(opened, identity), opened.practice) == "consent.09"
    assert opened.do(accept(opened, identity, epoch=1), opened.stream_key, opened.practice) == "consent.14"
    asked = consents.offer(opened.view, identity)
    assert asked is not None
    assert asked.status == "open"


def test_declining_is_the_subjects(opened: World) -> None:
    identity = offered(opened)
    decline = Decline(offer=identity)
    assert opened.do(Decline(offer=bytes(32)), opened.stream_key, opened.practice) == "consent.30"
    assert opened.do(decline, opened.practice) == "consent.09"
    assert opened.do(decline, opened.stream_key, opened.practice, alone=False) == "consent.17"
    opened.must(decline, opened.stream_key, opened.practice)
    asked = consents.offer(opened.view, identity)
    assert asked is not None
    assert asked.status == "declined"
    assert opened.told("consent/declined") == {
        "offer": identity, "stream": opened.stream, "member": opened.practice.did,
    }  # fmt: skip
    assert opened.do(decline, opened.stream_key, opened.practice) == "consent.31"


def test_a_controller_that_may_grant_answers(opened: World) -> None:
    carer = Actor("carer", stream=True)
    message = AddController(stream=opened.stream, key=carer.key.public, powers=["grant"], until=DAY + 200 * DAY_S)
    opened.must(message, opened.stream_key, carer, opened.practice)
    assert opened.do(Decline(offer=offered(opened)), carer, opened.practice) == ""
    assert opened.do(accept(opened, offered(opened)), carer, opened.practice) == ""


# --- what has aged out -----------------------------------------------------------------------------


@pytest.mark.promise("P8")
def test_offers_leave_when_audits_no_longer_ask_for_them(opened: World) -> None:
    first = offered(opened)
    opened.now += YEARS_S
    today = opened.now // DAY_S * DAY_S
    second = offered(opened, opened.hospital, until=today + 9 * DAY_S, expires=today + 9 * DAY_S)
    assert [asked.id for asked in consents.offers_to(opened.view, opened.stream)] == [first, second]
    opened.now = DAY + 14 * DAY_S + YEARS_S
    today = opened.now // DAY_S * DAY_S
    third = offered(opened, opened.custodians[0], until=today + 9 * DAY_S, expires=today + 9 * DAY_S)
    assert [asked.id for asked in consents.offers_to(opened.view, opened.stream)] == [second, third]
    assert consents.offer(opened.view, first) is None
    assert OPEN.get(opened.view, opened.stream, str(opened.practice.did).encode()) is None
    assert OPEN.get(opened.view, opened.stream, str(opened.hospital.did).encode()) == second


def test_an_offer_that_is_forgotten_leaves_a_later_one_of_its_member_open(opened: World) -> None:
    offered(opened)
    opened.now += YEARS_S
    today = opened.now // DAY_S * DAY_S
    later = offered(opened, until=today + 90 * DAY_S, expires=today + 90 * DAY_S)
    opened.now += 20 * DAY_S
    offered(opened, opened.hospital, until=today + 90 * DAY_S, expires=today + 90 * DAY_S)
    assert OPEN.get(opened.view, opened.stream, str(opened.practice.did).encode()) == later


def consents_of(world: World) -> list[bytes]:
    return [consent.id for consent in consents.of_stream(world.view, world.stream)]


@pytest.mark.promise("P8")
def test_consents_leave_when_they_were_over_for_as_long_as_audits_last(world: World) -> None:
    first = world.granted(until=DAY + 10 * DAY_S)
    world.now = DAY + 10 * DAY_S + YEARS_S - 1
    later = {"from_": world.now // DAY_S * DAY_S, "until": world.now // DAY_S * DAY_S + 5 * DAY_S, "permit": None}
    second = world.granted(**later)
    assert consents_of(world) == [first, second]
    world.now += 1
    third = world.granted(**later | {"purposes": ["COC"]})
    assert consents_of(world) == [second, third]
    assert consents.consent(world.view, first) is None


@pytest.mark.promise("P8")
def test_a_revoked_consent_leaves_by_the_day_of_its_revocation(world: World) -> None:
    first = world.granted(until=DAY + 300 * DAY_S)
    world.must(Revoke(consent=first), world.stream_key, world.practice)
    today = DAY + YEARS_S
    world.now = today - 1
    second = world.granted(from_=today, until=today + DAY_S, permit=None)
    assert consents_of(world) == [first, second]
    world.now = today
    third = world.granted(from_=today, until=today + DAY_S, permit=None, purposes=["COC"])
    assert consents_of(world) == [second, third]


def test_at_most_four_leave_with_each_new_one_and_none_before_the_first(world: World) -> None:
    short = [
        world.granted(until=DAY + DAY_S, purposes=[code]) for code in ("TREAT", "COC", "HPAYMT", "HMARKT", "TRAIN")
    ]
    today = DAY + DAY_S + YEARS_S
    world.now = today
    new = {"from_": today, "until": today + DAY_S, "permit": None}
    first = world.granted(**new)
    assert consents_of(world) == [short[4], first]
    second = world.granted(**new | {"purposes": ["COC"]})
    assert consents_of(world) == [first, second]


def test_a_long_consent_keeps_what_came_after_it(world: World) -> None:
    long = world.granted(until=DAY + 3_000 * DAY_S)
    short = world.granted(until=DAY + DAY_S, purposes=["COC"])
    today = DAY + DAY_S + YEARS_S
    world.now = today
    new = world.granted(from_=today, until=today + DAY_S, permit=None, purposes=["COC"])
    assert consents_of(world) == [long, short, new]


def test_audits_last_as_long_as_the_network_says(opened: World) -> None:
    first = offered(opened)
    opened.must(SetParams(params=Params(audit_years=3)), *opened.custodians[:2])
    opened.now = DAY + 14 * DAY_S + YEARS_S // 2
    today = opened.now // DAY_S * DAY_S
    offered(opened, until=today + 9 * DAY_S, expires=today + 9 * DAY_S)
    assert consents.offer(opened.view, first) is None
    assert OFFERS_OF_STREAM.bounds(opened.view, opened.stream) == (1, 2)


def test_at_most_four_offers_leave_with_each_new_one(opened: World) -> None:
    members = [opened.practice, opened.hospital, *opened.custodians]
    made = [offered(opened, member) for member in members]
    opened.now = DAY + 14 * DAY_S + YEARS_S
    today = opened.now // DAY_S * DAY_S
    new = {"until": today + 9 * DAY_S, "expires": today + 9 * DAY_S}
    first = offered(opened, **new)
    assert [asked.id for asked in consents.offers_to(opened.view, opened.stream)] == [made[4], first]
    second = offered(opened, opened.hospital, **new)
    assert [asked.id for asked in consents.offers_to(opened.view, opened.stream)] == [first, second]
