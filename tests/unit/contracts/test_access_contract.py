"""Every question about a consent ends in a receipt or in a recorded refusal; any other question is just refused."""

import pytest

from caremesh.contracts.access import queries as access
from caremesh.contracts.access.messages import Close, Report
from caremesh.contracts.consent.messages import Conditions, Revoke, Scope
from caremesh.contracts.members.messages import Dismiss, Suspend, SuspendPerson
from caremesh.contracts.network.messages import Brake
from caremesh.types import DAY_S
from tests.support.world import BASIS, NOW, Actor, World


@pytest.mark.promise("P2")
def test_a_receipt_says_who_when_why_and_by_which_rules(world: World) -> None:
    consent = world.granted()
    assert world.asked(consent) == ("", "")
    [receipt] = access.of_consent(world.view, consent)
    assert isinstance(receipt, access.Receipt)
    assert (receipt.requester, receipt.member) == (world.doctor.did, world.practice.did)
    assert (receipt.purpose, receipt.legal_basis, receipt.at) == ("TREAT", BASIS, NOW)
    assert receipt.policies == sorted(receipt.policies)
    assert receipt.policies
    assert access.is_alive(receipt, receipt.at)
    assert not access.is_alive(receipt, receipt.expires)
    assert access.covers(receipt, 0, receipt.height)
    assert not access.covers(receipt, 0, receipt.height + 1)


@pytest.mark.promise("P3")
def test_a_receipt_never_outlives_its_consent(world: World) -> None:
    consent = world.granted()
    world.now = world.now // DAY_S * DAY_S + 30 * DAY_S - 60
    assert world.asked(consent) == ("", "")
    [receipt] = access.of_consent(world.view, consent)
    assert isinstance(receipt, access.Receipt)
    assert receipt.expires == world.now + 60


@pytest.mark.promise("P2")
def test_denials_are_recorded_with_their_reason(world: World) -> None:
    consent = world.granted()
    world.must(world.register(0), world.hospital)
    assert world.asked(consent, purpose="HPAYMT") == ("", "access.11")
    assert world.asked(consent, action="copy") == ("", "access.12")
    assert world.asked(consent, segments=[7]) == ("", "access.13")
    assert world.asked(consent, segments=[0, 0]) == ("", "access.13")
    assert world.asked(consent, legal_basis=["HIPAA:164.506.c.3"]) == ("", "access.17")
    records = access.of_consent(world.view, consent)
    assert [record.why for record in records if isinstance(record, access.Refusal)] == [
        "access.11", "access.12", "access.13", "access.13", "access.17",
    ]  # fmt: skip


@pytest.mark.promise("P3")
def test_no_receipt_after_revocation_or_out_of_time(world: World) -> None:
    consent = world.granted()
    world.must(Revoke(consent=consent), world.stream_key, world.practice)
    assert world.asked(consent) == ("", "access.10")
    later = world.granted(from_=NOW // DAY_S * DAY_S + DAY_S)
    assert world.asked(later) == ("", "access.10")
    world.now += 40 * DAY_S
    assert world.asked(later) == ("", "access.10")


def test_who_may_not_ask(world: World) -> None:
    consent = world.granted()
    world.must(SuspendPerson(practitioner=str(world.doctor.did), suspended=True), world.practice)
    assert world.asked(consent) == ("", "access.14")
    world.must(SuspendPerson(practitioner=str(world.doctor.did), suspended=False), world.practice)
    assert world.asked(consent) == ("", "")
    world.now += 1
    world.must(Dismiss(practitioner=str(world.doctor.did)), world.practice)
    assert world.asked(consent) == ("", "access.14")


def test_a_licence_that_has_ended(world: World) -> None:
    day = NOW // DAY_S * DAY_S
    consent = world.granted(until=day + 500 * DAY_S)
    world.now += 450 * DAY_S
    assert world.asked(consent) == ("", "access.14")


def test_what_is_refused_and_not_recorded(world: World) -> None:
    consent = world.granted()
    assert world.asked(bytes(32))[0] == "access.01"
    assert world.asked(consent, [world.doctor, world.hospital])[0] == "access.01"
    assert world.asked(consent, [world.practice])[0] == "access.02"
    assert world.asked(consent, [Actor("another"), world.practice])[0] == "access.02"
    assert world.asked(consent, [world.practice], asserted=True)[0] == "access.03"
    assert world.asked(consent, legal_basis=[])[0] == "access.04"
    assert world.asked(consent, legal_basis=BASIS * 2)[0] == "access.04"
    assert access.of_consent(world.view, consent) == []


def test_a_member_alone_may_assert_and_is_marked_so(world: World) -> None:
    consent = world.granted()
    code, why = world.asked(consent, [world.practice], asserted=True, requester=str(world.practice.did))
    assert code == ""
    [record] = access.of_consent(world.view, consent)
    assert record.asserted
    assert why in ("", "access.17")


def test_the_brake_stops_receipts(world: World) -> None:
    consent = world.granted()
    world.must(Brake(scope="receipts", reason="drill", until=NOW + 1_000), *world.custodians[:2])
    assert world.asked(consent)[0] == "access.06"
    world.now += 1_000
    assert world.asked(consent) == ("", "")


def test_conditions(world: World) -> None:
    few = world.granted(conditions=Conditions(max_receipts=1))
    assert [world.asked(few), world.asked(few)] == [("", ""), ("", "access.15")]
    abroad = world.granted(conditions=Conditions(jurisdiction="FR"), purposes=["COC"])
    assert world.asked(abroad, purpose="COC") == ("", "access.16")


def test_a_suspended_member_cannot_even_sponsor(world: World) -> None:
    consent = world.granted()
    world.must(Suspend(member=str(world.practice.did)), *world.custodians[:2])
    assert world.asked(consent)[0] == "members.04"


def test_listed_segments_outside_the_consent(world: World) -> None:
    world.must(world.register(0), world.hospital)
    world.must(world.register(1), world.hospital)
    consent = world.granted(scope=Scope(kind="listed", segments=[1]))
    assert world.asked(consent, segments=[0]) == ("", "access.13")
    assert world.asked(consent, segments=[1]) == ("", "")


def test_closing(world: World) -> None:
    consent = world.granted()
    world.asked(consent)
    [receipt] = access.of_consent(world.view, consent)
    assert world.do(Close(receipt=bytes(32)), world.practice) == "access.08"
    assert world.do(Close(receipt=receipt.id), world.hospital) == "access.08"
    world.must(Close(receipt=receipt.id), world.practice)
    assert world.do(Close(receipt=receipt.id), world.practice) == "access.09"
    closed = access.receipt(world.view, receipt.id)
    assert closed is not None
    assert not access.is_alive(closed, NOW)


def test_release_logs_only_grow(world: World) -> None:
    custodian = world.custodians[0]
    assert world.do(Report(root=bytes(32), count=1), world.hospital) == "access.05"
    world.must(Report(root=bytes(32), count=5), custodian)
    assert world.do(Report(root=b"x" * 32, count=4), custodian) == "access.07"
    assert world.do(Report(root=b"x" * 32, count=5), custodian) == "access.07"
    world.must(Report(root=b"x" * 32, count=6), custodian)
    anchored = access.anchor(world.view, str(custodian.did))
    assert anchored is not None
    assert anchored.count == 6
