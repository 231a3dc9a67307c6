"""Every question about a consent ends in a receipt or in a recorded refusal; any other question is just refused."""

from typing import Any

import msgspec
import pytest

from caremesh import codec
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.messages import Close, Report
from caremesh.contracts.consent.messages import Conditions, Revoke, Scope
from caremesh.contracts.identity.messages import Rotate
from caremesh.contracts.members.messages import Dismiss, Suspend, SuspendPerson
from caremesh.contracts.members.state import APPOINTMENTS, MEMBERS, appointment_key
from caremesh.contracts.network.messages import Brake
from caremesh.crypto.hashes import tagged_hash
from caremesh.ledger.transactions import Signer
from caremesh.types import DAY_S
from tests.support.world import BASIS, NOW, Actor, World


@pytest.mark.promise("P2")
def test_a_receipt_says_who_when_why_and_by_which_rules(world: World) -> None:
    consent, height = world.granted(), world.height
    assert world.asked(consent) == ("", "")
    [receipt] = access.of_consent(world.view, consent)
    assert isinstance(receipt, access.Receipt)
    assert receipt == access.Receipt(
        id=receipt.id,
        consent=consent,
        stream=world.stream,
        member=str(world.practice.did),
        requester=str(world.doctor.did),
        asserted=False,
        action="read",
        purpose="TREAT",
        legal_basis=BASIS,
        segments=[],
        height=height,
        at=NOW,
        expires=NOW + 900,
        policies=["hipaa/506-c-2", "house/access", "iso22600/care-profession"],
        closed=False,
        first=receipt.id,
        began=NOW,
    )
    assert world.told("access/permitted") == {
        "receipt": receipt.id, "consent": consent, "stream": world.stream, "notify": 0,
    }  # fmt: skip
    assert access.receipt(world.view, receipt.id) == receipt
    assert access.is_alive(receipt, receipt.at)
    assert not access.is_alive(receipt, receipt.at - 1)
    assert access.is_alive(receipt, receipt.expires - 1)
    assert not access.is_alive(receipt, receipt.expires)
    assert access.covers(receipt, 0, receipt.height)
    assert not access.covers(receipt, 0, receipt.height + 1)


@pytest.mark.promise("P4")
def test_what_was_asked_is_in_the_lists_of_stream_consent_and_requester(world: World) -> None:
    one, two = world.granted(), world.granted(purposes=["COC"])
    nurse = world.appointed("nurse", "nurse")
    for consent, who, purpose in ((one, world.doctor, "TREAT"), (two, nurse, "COC"), (one, nurse, "HPAYMT")):
        assert world.asked(consent, [who, world.practice], requester=str(who.did), purpose=purpose)[0] == ""
    first, second, third = access.of_stream(world.view, world.stream)
    assert access.of_consent(world.view, one) == [first, third]
    assert access.of_consent(world.view, two) == [second]
    assert access.of_requester(world.view, str(world.doctor.did)) == [first]
    assert access.of_requester(world.view, str(nurse.did)) == [second, third]
    assert [access.record(world.view, entry.id) for entry in (first, second, third)] == [first, second, third]
    counts = {
        access.stream_count_key(world.stream): 3,
        access.count_key(one): 2,
        access.requester_count_key(str(nurse.did)): 2,
    }
    assert {key: codec.decode(world.view.get(key) or b"") for key in counts} == counts
    assert world.view.get(access.receipt_key(first.id)) is not None


def test_a_receipts_id_is_that_of_the_formula() -> None:
    assert access.receipt_id(b"tx", 3) == tagged_hash("caremesh/v1/receipt", b"tx", (3).to_bytes(4))


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
    assert records[0] == access.Refusal(
        id=records[0].id,
        consent=consent,
        stream=world.stream,
        member=str(world.practice.did),
        requester=str(world.doctor.did),
        asserted=False,
        action="read",
        purpose="HPAYMT",
        legal_basis=BASIS,
        at=NOW,
        why="access.11",
        policies=[],
    )
    assert records[4].policies == ["hipaa/no-permit"]
    assert world.told("access/denied") == {
        "refusal": records[4].id, "consent": consent, "stream": world.stream, "why": "access.17",
    }  # fmt: skip
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
    assert world.asked(consent, [world.practice, world.practice])[0] == "access.02"
    assert world.asked(consent, [Actor("another"), world.practice])[0] == "access.02"
    assert world.asked(consent, [world.practice], asserted=True)[0] == "access.03"
    assert access.of_consent(world.view, consent) == []


@pytest.mark.promise("P2")
def test_what_its_requester_signed_is_recorded_whatever_it_lacks(world: World) -> None:
    consent = world.granted()
    assert world.asked(consent, legal_basis=[]) == ("", "access.04")
    assert world.asked(consent, legal_basis=BASIS * 2) == ("", "access.04")
    assert world.asked(consent, renews=bytes(32)) == ("", "access.19")
    world.must(Brake(scope="receipts", reason="drill", until=NOW + 1_000), *world.custodians[:2])
    assert world.asked(consent) == ("", "access.06")
    world.now += 1_000
    assert world.asked(consent) == ("", "")
    kinds = [type(entry).__name__ for entry in access.of_requester(world.view, str(world.doctor.did))]
    assert kinds == ["Refusal"] * 4 + ["Receipt"]


def test_a_practitioner_signs_with_the_current_key(world: World) -> None:
    consent, later = world.granted(), Actor("later")
    later.did, later.signer = world.doctor.did, Signer(key=later.key.public, did=world.doctor.did)
    rotate = Rotate(did=str(world.doctor.did), key=later.key.public)
    world.must(rotate, world.doctor, later, world.practice)
    assert world.asked(consent)[0] == "access.02"
    assert world.asked(consent, [later, world.practice]) == ("", "")


def asserted(world: World, consent: bytes, **changes: Any) -> tuple[str, str]:
    given = {"asserted": True, "requester": str(world.practice.did)}
    return world.asked(consent, [world.practice], **given | changes)


@pytest.mark.promise("P2")
def test_a_member_alone_may_assert_and_is_marked_so(world: World) -> None:
    consent = world.granted()
    assert asserted(world, consent) == ("", "")
    [record] = access.of_consent(world.view, consent)
    assert isinstance(record, access.Receipt)
    assert (record.asserted, record.requester) == (True, world.practice.did)
    assert record.policies == ["hipaa/506-c-2", "house/access", "iso22600/organisation"]


def test_a_member_that_asserts_has_no_role_of_its_own(world: World) -> None:
    consent, practice = world.granted(), str(world.practice.did)
    doctors = APPOINTMENTS.get(world.view, appointment_key(str(world.doctor.did), practice))
    assert doctors is not None
    own = msgspec.structs.replace(doctors, practitioner=practice)
    APPOINTMENTS.put(world.view, own, appointment_key(practice, practice))
    assert asserted(world, consent) == ("", "")
    record = access.of_consent(world.view, consent)[0]
    assert record.policies == ["hipaa/506-c-2", "house/access", "iso22600/organisation"]


def test_policy_limits_what_a_member_alone_may_assert(world: World) -> None:
    day = NOW // DAY_S * DAY_S
    consent = world.granted(purposes=["ETREAT", "HRESCH", "PUBHLTH"], actions=["read", "decide"])
    care = world.granted(actions=["decide"], until=day + DAY_S)
    for purpose in ("ETREAT", "HRESCH", "PUBHLTH"):
        assert asserted(world, consent, purpose=purpose) == ("", "access.17")
        denied = access.of_consent(world.view, consent)[-1]
        assert "house/asserted-purpose" in denied.policies
    assert asserted(world, care, action="decide") == ("", "access.17")
    assert "house/asserted-decision" in access.of_consent(world.view, care)[-1].policies


def test_only_custodians_and_issuers_open_nothing(world: World) -> None:
    assert world.asked(world.granted()) == ("", "")
    member = MEMBERS.get(world.view, str(world.practice.did).encode())
    assert member is not None
    custodian = msgspec.structs.replace(member, roles=["custodian"])
    MEMBERS.put(world.view, custodian, str(world.practice.did).encode())
    consent = access.of_stream(world.view, world.stream)[0]
    assert isinstance(consent, access.Receipt)
    assert world.asked(consent.consent) == ("", "access.17")


def test_where_a_member_is_not_known_nothing_is_permitted(world: World) -> None:
    consent = world.granted()
    MEMBERS.delete(world.view, str(world.hospital.did).encode())
    assert world.asked(consent) == ("", "access.17")
    assert access.of_consent(world.view, consent)[0].policies == ["policy/no-set"]


# --- conditions ------------------------------------------------------------------------------------


def test_at_most_so_many_receipts(world: World) -> None:
    few = world.granted(conditions=Conditions(max_receipts=2))
    assert world.asked(few, action="copy") == ("", "access.12")
    assert [world.asked(few) for _ in range(3)] == [("", ""), ("", ""), ("", "access.15")]
    assert access.visits(world.view, few) == 2


def test_only_in_a_jurisdiction(world: World) -> None:
    abroad = world.granted(conditions=Conditions(jurisdiction="FR"), purposes=["COC"])
    home = world.granted(conditions=Conditions(jurisdiction="US"))
    assert world.asked(abroad, purpose="COC") == ("", "access.16")
    assert world.asked(home) == ("", "")


def test_a_second_practitioner_signs(world: World) -> None:
    consent = world.granted(conditions=Conditions(second_signature=True))
    nurse, elsewhere = world.appointed("nurse", "nurse"), world.appointed("elsewhere", "nurse", member=world.hospital)
    assert world.asked(consent) == ("", "access.20")
    assert world.asked(consent, [world.doctor, world.doctor, world.practice]) == ("", "access.20")
    assert world.asked(consent, [world.doctor, elsewhere, world.practice]) == ("", "access.20")
    assert world.asked(consent, [world.doctor, world.hospital, world.practice]) == ("", "access.20")
    stolen = Actor("stolen")
    stolen.signer = Signer(key=stolen.key.public, did=nurse.did)
    assert world.asked(consent, [world.doctor, stolen, world.practice]) == ("", "access.20")
    assert world.asked(consent, [world.doctor, world.stream_key, world.practice]) == ("", "access.20")
    assert world.asked(consent, [world.doctor, nurse, world.practice]) == ("", "")
    assert world.asked(consent, [nurse, world.doctor, world.practice]) == ("", "")


def test_a_member_that_asserts_has_no_first_signature_to_add_a_second_to(world: World) -> None:
    consent = world.granted(conditions=Conditions(second_signature=True))
    signers = [world.doctor, world.practice]
    given = {"asserted": True, "requester": str(world.practice.did)}
    assert world.asked(consent, signers, **given) == ("", "access.20")


def test_a_subject_that_asked_for_it_is_told_at_once(world: World) -> None:
    assert world.asked(world.granted(conditions=Conditions(notify=True))) == ("", "")
    assert world.told("access/permitted")["notify"] == 1


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
    receipt = access.of_consent(world.view, consent)[-1]
    assert isinstance(receipt, access.Receipt)
    assert receipt.segments == [1]
    assert access.covers(receipt, 1, receipt.height)
    assert not access.covers(receipt, 0, receipt.height)
    assert not access.covers(receipt, 1, receipt.height + 1)


def test_closing(world: World) -> None:
    consent = world.granted()
    world.asked(consent)
    [receipt] = access.of_consent(world.view, consent)
    assert world.do(Close(receipt=bytes(32)), world.practice) == "access.08"
    assert world.do(Close(receipt=receipt.id), world.hospital) == "access.08"
    world.must(Close(receipt=receipt.id), world.practice)
    assert world.told("access/closed") == {"receipt": receipt.id, "stream": world.stream}
    assert world.do(Close(receipt=receipt.id), world.practice) == "access.09"
    closed = access.receipt(world.view, receipt.id)
    assert closed is not None
    assert not access.is_alive(closed, NOW)
    world.asked(consent)
    world.now += 900
    late = access.of_consent(world.view, consent)[1]
    assert world.do(Close(receipt=late.id), world.practice) == "access.09"


def test_release_logs_only_grow(world: World) -> None:
    custodian = world.custodians[0]
    assert world.do(Report(root=bytes(32), count=1), world.hospital) == "access.05"
    world.must(Report(root=bytes(32), count=5), custodian)
    assert world.do(Report(root=b"x" * 32, count=4), custodian) == "access.07"
    assert world.do(Report(root=b"x" * 32, count=5), custodian) == "access.07"
    world.must(Report(root=bytes(32), count=5), custodian)
    height = world.height
    world.must(Report(root=b"x" * 32, count=6), custodian)
    assert access.anchor(world.view, str(custodian.did)) == access.Anchor(
        root=b"x" * 32, count=6, height=height, at=NOW
    )
    assert world.told("access/reported") == {"custodian": custodian.did, "count": 6}
    assert access.anchor(world.view, str(world.custodians[1].did)) is None
