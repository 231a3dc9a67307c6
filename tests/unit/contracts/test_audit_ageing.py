"""What was asked stays provable for as long as audits last, and then leaves every list at once, a little at a time."""

import pytest

from caremesh.contracts.access import queries as access
from caremesh.contracts.access.messages import BreakGlass, Dispute, Report
from caremesh.contracts.access.state import ANCHORS, EVERYTHING, GIVEN, OF_CONSENT, OF_REQUESTER, OF_STREAM
from caremesh.contracts.consent.messages import Conditions, Revoke
from caremesh.contracts.consent.queries import consent_id
from caremesh.contracts.network.messages import Params, SetParams
from caremesh.crypto.signatures import stream_of
from caremesh.types import DAY_S
from tests.support.world import NOW, Actor, World

pytestmark = pytest.mark.promise("P8")

DAY = NOW // DAY_S * DAY_S
YEARS_S = 6 * 366 * DAY_S


def ask(world: World, consent: bytes, who: Actor | None = None) -> bytes:
    """The id of what a request left behind: here, after so many years, a denial."""
    person = who or world.doctor
    assert world.asked(consent, [person, world.practice], requester=str(person.did))[0] == ""
    return ids(world)[-1]


def ids(world: World) -> list[bytes]:
    return [entry.id for entry in access.of_stream(world.view, world.stream)]


def glass(world: World) -> bytes:
    message = BreakGlass(
        stream=world.stream,
        purpose="ETREAT",
        legal_basis=["HIPAA:164.506.c.2"],
        reason=bytes(32),
        requester=str(world.doctor.did),
    )
    world.must(message, world.doctor, world.practice)
    return ids(world)[-1]


def test_nothing_leaves_before_its_time(world: World) -> None:
    consent = world.granted()
    first = ask(world, consent)
    world.now += YEARS_S - 1
    second = ask(world, consent)
    assert ids(world) == [first, second]
    world.now += 1
    third = ask(world, consent)
    assert ids(world) == [second, third]
    assert access.record(world.view, first) is None


def test_what_leaves_leaves_every_list(world: World) -> None:
    one, two = world.granted(), world.granted(purposes=["COC"])
    nurse = world.appointed("nurse", "nurse")
    old = [ask(world, one), ask(world, one, nurse), ask(world, two), glass(world)]
    world.must(Dispute(receipt=old[0], statement=bytes(32)), world.stream_key, world.practice)
    world.now += YEARS_S
    new = ask(world, one)
    assert [access.record(world.view, entry) for entry in old] == [None] * 4
    assert access.dispute(world.view, old[0]) is None
    doctor = str(world.doctor.did).encode()
    assert EVERYTHING.items(world.view) == [new]
    assert OF_STREAM.items(world.view, world.stream) == [new]
    assert OF_CONSENT.items(world.view, one) == [new]
    assert OF_CONSENT.items(world.view, two) == []
    assert OF_REQUESTER.items(world.view, doctor) == [new]
    assert OF_REQUESTER.items(world.view, str(nurse.did).encode()) == []
    assert OF_STREAM.bounds(world.view, world.stream) == (4, 5)
    assert OF_REQUESTER.bounds(world.view, doctor) == (3, 4)
    held = {key for key, _, value in world.view.changes() if value is not None}
    assert not [key for key in held for entry in old if entry in key]


def test_at_most_four_leave_with_each_new_one(world: World) -> None:
    consent = world.granted()
    old = [ask(world, consent) for _ in range(5)]
    world.now += YEARS_S
    first = ask(world, consent)
    assert ids(world) == [old[4], first]
    second = ask(world, consent)
    assert ids(world) == [first, second]


def test_a_request_anywhere_lets_the_old_go_everywhere(world: World) -> None:
    consent = world.granted()
    old = ask(world, consent)
    world.now += YEARS_S
    other = World()
    other.view, other.now, other.events = world.view, world.now, world.events
    other.height, other.count = world.height, world.count
    other.stream_key = Actor("another stream", stream=True)
    other.stream = stream_of(other.stream_key.key.public)
    day = other.now // DAY_S * DAY_S
    permit = other.permit(until=day + 9 * DAY_S)
    message = other.grant(permit=permit, from_=day, until=day + DAY_S)
    other.must(message, other.stream_key, other.practice)
    assert other.asked(consent_id(other.stream, message.salt)) == ("", "access.14")
    assert access.record(world.view, old) is None
    assert ids(world) == []


def test_a_limit_of_receipts_is_kept_as_long_as_its_consent_is_active(world: World) -> None:
    limited = Conditions(max_receipts=1)
    long = world.granted(until=DAY + 3_000 * DAY_S, conditions=limited)
    short = world.granted(purposes=["COC"], conditions=limited)
    assert world.asked(long) == ("", "")
    assert world.asked(short, purpose="COC") == ("", "")
    world.must(Revoke(consent=short), world.stream_key, world.practice)
    world.now += YEARS_S
    ask(world, long)
    assert (GIVEN.get(world.view, long), GIVEN.get(world.view, short)) == (1, None)
    world.must(Revoke(consent=long), world.stream_key, world.practice)
    assert access.visits(world.view, long) == 1


def test_audits_last_as_long_as_the_network_says(world: World) -> None:
    consent = world.granted()
    old = ask(world, consent)
    world.must(SetParams(params=Params(audit_years=3)), *world.custodians[:2])
    world.now += YEARS_S // 2
    ask(world, consent)
    assert access.record(world.view, old) is None


def test_roots_of_release_logs_leave_likewise_and_never_the_last(world: World) -> None:
    custodian, another = world.custodians[:2]
    owner = str(custodian.did).encode()
    for count in range(5):
        world.must(Report(root=bytes(32), count=count), custodian)
    world.now += YEARS_S - 1
    world.must(Report(root=bytes(32), count=5), custodian)
    assert ANCHORS.bounds(world.view, owner) == (0, 6)
    world.now += 1
    world.must(Report(root=bytes(32), count=1), another)
    assert ANCHORS.bounds(world.view, owner) == (0, 6)
    world.must(Report(root=bytes(32), count=6), custodian)
    assert ANCHORS.bounds(world.view, owner) == (4, 7)
    world.now += YEARS_S
    world.must(Report(root=bytes(32), count=7), custodian)
    assert [anchor.count for anchor in ANCHORS.items(world.view, owner)] == [7]
    assert world.do(Report(root=bytes(32), count=6), custodian) == "access.07"
