"""Each check by itself, at its edges: what the ledger says now beats what a receipt said then."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from caremesh.codec import cid_of_cbor
from caremesh.contracts.access.messages import Close
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent.messages import Narrow, Revoke, Scope
from caremesh.contracts.consent.state import Consent
from caremesh.contracts.identity.messages import Deactivate
from caremesh.contracts.members.messages import Appoint, Suspend, SuspendPerson
from caremesh.contracts.network.messages import Brake
from caremesh.contracts.records import queries as records
from caremesh.contracts.records.messages import Erase
from caremesh.contracts.records.state import Segment
from caremesh.contracts.streams.messages import NewEpoch
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.reencryption import ReadingKey
from caremesh.custodian import checks
from caremesh.custodian.checks import Head
from caremesh.errors import Refused
from caremesh.sealing.custody import FragmentDeposit, ReleaseRequest, StreamRequest
from caremesh.types import DAY_S
from tests.support.keepers import Keepers

NOBODY = "did:caremesh:test:" + "a" * 32
STRANGER = ReadingKey.from_secret(b"s" * 32).public


def code(attempt: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        attempt()
    assert caught.value.place == ""
    return caught.value.code


def head(keepers: Keepers, time: int | None = None) -> Head:
    return Head(keepers.view, keepers.now if time is None else time)


def given(keepers: Keepers, **changes: object) -> tuple[Receipt, Consent, Segment]:
    """A segment, a consent, a receipt."""
    keepers.add()
    consent = keepers.share(**changes)
    return keepers.receipt(consent), consent, records.segments(keepers.view, keepers.stream)[0]


def permission(keepers: Keepers, receipt: Receipt, time: int | None = None, now: int | None = None) -> Consent:
    own = keepers.now if now is None else now
    return checks.check_permission(head(keepers, time), receipt, keepers.keeper.did, own)


@pytest.mark.promise("P3")
@pytest.mark.parametrize(
    ("time", "seen_s", "refused"),
    [
        (1_000, 0.0, ""),
        (970, 0.0, ""),
        (969, 0.0, "custodian.01"),
        (1_000, 30.0, ""),
        (1_000, 30.5, "custodian.01"),
        (1_000, float("inf"), "custodian.01"),
        (1_005, 0.0, ""),
        (1_006, 0.0, "custodian.02"),
        (1_006, 31.0, "custodian.02"),
    ],
)
def test_only_a_fresh_copy_decides(time: int, seen_s: float, refused: str) -> None:
    if refused:
        assert code(lambda: checks.check_fresh(time, seen_s, 1_000)) == refused
    else:
        checks.check_fresh(time, seen_s, 1_000)


@pytest.mark.promise("P2")
def test_a_receipt_ends_by_the_later_of_header_and_clock(keepers: Keepers) -> None:
    receipt, *_ = given(keepers)
    ends = receipt.expires
    assert checks.check_receipt(head(keepers, ends - 1), receipt.id, ends - 1) == receipt
    assert code(lambda: checks.check_receipt(head(keepers, ends), receipt.id, ends - 1)) == "custodian.04"
    assert code(lambda: checks.check_receipt(head(keepers, ends - 1), receipt.id, ends)) == "custodian.04"
    assert code(lambda: checks.check_receipt(head(keepers), bytes(32), keepers.now)) == "custodian.03"
    keepers.must(Close(receipt=receipt.id), keepers.practice)
    assert code(lambda: checks.check_receipt(head(keepers), receipt.id, keepers.now)) == "custodian.04"


@pytest.mark.promise("P3")
def test_a_consent_ends_by_the_later_of_header_and_clock(keepers: Keepers) -> None:
    receipt, consent, _ = given(keepers)
    ends = consent.ends
    assert permission(keepers, receipt, ends - 1, ends - 1) == consent
    for time, now in ((ends, ends - 1), (ends - 1, ends)):
        assert code(lambda at=time, own=now: permission(keepers, receipt, at, own)) == "custodian.05"  # type: ignore[misc]
    assert code(lambda: permission(keepers, replace(receipt, consent=bytes(32)))) == "custodian.05"
    keepers.must(Revoke(consent=consent.id), keepers.stream_key, keepers.practice)
    assert code(lambda: permission(keepers, receipt)) == "custodian.05"


@pytest.mark.promise("P3")
def test_an_appointment_ends_by_the_later_of_header_and_clock(keepers: Keepers) -> None:
    """The doctor's licence is shorter than this consent."""
    receipt, consent, _ = given(keepers)
    ends = consent.ends - DAY_S
    doctor = Appoint(practitioner=str(keepers.doctor.did), roles=["physician"], licensed_until=ends)
    keepers.must(doctor, keepers.practice)
    assert permission(keepers, receipt, ends - 1, ends - 1) == consent
    for time, now in ((ends, ends - 1), (ends - 1, ends)):
        assert code(lambda at=time, own=now: permission(keepers, receipt, at, own)) == "custodian.07"  # type: ignore[misc]


@pytest.mark.promise("P3")
def test_a_brake_holds_and_ends_by_the_later_of_header_and_clock(keepers: Keepers) -> None:
    receipt, consent, _ = given(keepers)
    until = keepers.now + 60
    keepers.must(Brake(scope="receipts", reason="drill", until=until), *keepers.custodians[:2])
    assert code(lambda: permission(keepers, receipt, until - 1, until - 1)) == "custodian.08"
    for time, now in ((until, until - 1), (until - 1, until), (until, until)):
        assert permission(keepers, receipt, time, now) == consent


@pytest.mark.promise("P3")
def test_a_suspended_practitioner_gets_nothing_unless_the_member_asserts(keepers: Keepers) -> None:
    receipt, consent, _ = given(keepers)
    keepers.must(SuspendPerson(practitioner=str(keepers.doctor.did), suspended=True), keepers.practice)
    assert code(lambda: permission(keepers, receipt)) == "custodian.07"
    assert permission(keepers, replace(receipt, asserted=True)) == consent


def test_a_member_that_the_consent_does_not_name(keepers: Keepers) -> None:
    receipt, consent, _ = given(keepers)
    for each in keepers.keepers:
        assert checks.check_permission(head(keepers), receipt, each.did, keepers.now) == consent
    stranger = str(keepers.hospital.did)
    assert code(lambda: checks.check_permission(head(keepers), receipt, stranger, keepers.now)) == "custodian.09"


@pytest.mark.promise("P2")
def test_a_segment_is_within_receipt_and_consent_as_they_are_now(keepers: Keepers) -> None:
    receipt, consent, segment = given(keepers, purposes=["HPAYMT", "TREAT"])
    cid = segment.descriptor
    assert cid is not None

    def outside(asked: Receipt = receipt, allowed: Consent = consent) -> str:
        return code(lambda: checks.check_segment(head(keepers), asked, allowed, cid))

    assert checks.check_segment(head(keepers), receipt, consent, cid) == segment
    assert checks.check_segment(head(keepers), replace(receipt, segments=[0]), consent, cid) == segment
    assert outside(asked=replace(receipt, segments=[1])) == "custodian.11"
    assert outside(asked=replace(receipt, height=segment.registered - 1)) == "custodian.11"
    assert outside(asked=replace(receipt, action="export")) == "custodian.11"
    assert outside(asked=replace(receipt, purpose="HRESCH")) == "custodian.11"
    listed = [replace(consent, scope=Scope(kind="listed", segments=[number])) for number in range(2)]
    assert checks.check_segment(head(keepers), receipt, listed[0], cid) == segment
    assert outside(allowed=listed[1]) == "custodian.11"
    assert outside(allowed=replace(consent, epoch=consent.epoch + 1)) == "custodian.11"
    keepers.must(Narrow(consent=consent.id, purposes=["HPAYMT"]), keepers.stream_key, keepers.practice)
    assert outside(allowed=keepers.consent(consent.id)) == "custodian.11"
    unknown = cid_of_cbor(b"no")
    assert code(lambda: checks.check_segment(head(keepers), receipt, consent, unknown)) == "custodian.10"


@pytest.mark.promise("P8")
def test_what_is_erased_is_unknown(keepers: Keepers) -> None:
    receipt, consent, segment = given(keepers)
    cid = segment.descriptor
    assert cid is not None
    keepers.must(Erase(stream=keepers.stream, segment=0), keepers.stream_key, keepers.practice)
    assert code(lambda: checks.check_segment(head(keepers), receipt, consent, cid)) == "custodian.10"


@pytest.mark.promise("P2")
def test_a_fragment_is_for_the_keys_of_now_and_the_one_committed_to(keepers: Keepers) -> None:
    _, consent, _ = given(keepers)
    me, other = keepers.keepers[:2]
    kept, others = me._keeping.fragment(consent), other._keeping.fragment(consent)
    assert kept is not None
    assert others is not None

    def wrong(made: FragmentDeposit = kept, allowed: Consent = consent, who: str = me.did) -> str:
        return code(lambda: checks.check_fragment_keys(head(keepers), allowed, made, who))

    checks.check_fragment_keys(head(keepers), consent, kept, me.did)
    assert wrong(replace(kept, delegating=STRANGER)) == "custodian.15"
    assert wrong(replace(kept, receiving=STRANGER)) == "custodian.15"
    assert wrong(replace(kept, verifying=STRANGER)) == "custodian.15"
    assert wrong(allowed=replace(consent, stream=bytes(32))) == "custodian.15"
    assert wrong(replace(kept, fragment=others.fragment)) == "custodian.16"
    assert wrong(who=other.did) == "custodian.16"
    keepers.must(NewEpoch(stream=keepers.stream, reading_key=STRANGER), keepers.stream_key, keepers.practice)
    assert wrong() == "custodian.15"
    assert wrong(replace(kept, delegating=STRANGER)) == "custodian.15", "the consent is of the epoch before"


@pytest.mark.promise("P2")
def test_whose_key_must_have_signed(keepers: Keepers) -> None:
    receipt, *_ = given(keepers)
    assert checks.key_of_requester(head(keepers), receipt) == keepers.doctor.key.public
    session = SigningKey.generate().public
    assert checks.key_of_requester(head(keepers), replace(receipt, visit_key=session)) == session
    asserted = replace(receipt, asserted=True, requester=str(keepers.practice.did))
    assert checks.key_of_requester(head(keepers), asserted) == keepers.practice.key.public
    for asked in (replace(receipt, requester=NOBODY), replace(asserted, member=NOBODY)):
        assert code(lambda asked=asked: checks.key_of_requester(head(keepers), asked)) == "custodian.17"  # type: ignore[misc]


def test_a_request_names_stream_and_custodian(keepers: Keepers) -> None:
    receipt, _, segment = given(keepers)
    me, other = keepers.keepers[:2]
    assert segment.descriptor is not None
    request = ReleaseRequest(
        receipt=receipt.id,
        stream=receipt.stream,
        descriptors=[segment.descriptor],
        custodian=me.did,
        nonce=bytes(16),
        at=keepers.now,
    )
    checks.check_stream(request, receipt)
    checks.check_addressed(request, me.did)
    assert code(lambda: checks.check_stream(replace(request, stream=bytes(32)), receipt)) == "custodian.11"
    assert code(lambda: checks.check_addressed(request, other.did)) == "custodian.18"


@pytest.mark.promise("P3")
def test_a_member_or_a_person_that_is_gone_gets_nothing(keepers: Keepers) -> None:
    receipt, consent, _ = given(keepers)
    keepers.must(Deactivate(did=str(keepers.doctor.did)), keepers.doctor, keepers.practice)
    assert code(lambda: checks.key_of_requester(head(keepers), receipt)) == "custodian.17"
    asserted = replace(receipt, asserted=True)
    assert permission(keepers, asserted) == consent
    keepers.must(Suspend(member=str(keepers.practice.did)), *keepers.custodians[:2])
    assert code(lambda: permission(keepers, asserted)) == "custodian.06"


@pytest.mark.promise("P6")
def test_descriptor_and_seal_are_those_of_the_ledger(keepers: Keepers) -> None:
    _, _, segment = given(keepers)
    assert segment.descriptor is not None
    kept = keepers.keeper._keeping.seal(keepers.stream, segment.descriptor)
    assert kept is not None
    checks.check_seal(segment, kept.descriptor, kept.seal)
    other = replace(kept.seal, ciphertext=kept.seal.ciphertext + b"?")
    for descriptor, seal in ((kept.descriptor + b"?", kept.seal), (kept.descriptor, other)):
        assert code(lambda d=descriptor, s=seal: checks.check_seal(segment, d, s)) == "custodian.13"  # type: ignore[misc]


@pytest.mark.promise("P2")
def test_a_stream_is_asked_about_by_its_key_or_by_a_custodian_of_it(keepers: Keepers) -> None:
    me, fellow, owner = keepers.keeper.did, keepers.keepers[1].actor.key.public, keepers.stream_key.key.public
    asked = StreamRequest(stream=keepers.stream, custodian=me, nonce=bytes(16), at=keepers.now)

    def check(key: bytes, request: StreamRequest = asked, *, fellows: bool = True) -> None:
        checks.check_stream_request(keepers.view, request, key, me, fellows=fellows)

    check(owner)  # nothing is on the ledger of this stream: its id is that of its first key
    assert code(lambda: check(fellow)) == "custodian.22"
    assert code(lambda: check(owner, replace(asked, stream=bytes(32)))) == "custodian.22"
    keepers.add()
    check(owner)
    check(owner, fellows=False)
    check(fellow)
    assert code(lambda: check(fellow, fellows=False)) == "custodian.22"
    for stranger in (keepers.hospital, keepers.doctor):
        assert code(lambda key=stranger.key.public: check(key)) == "custodian.22"  # type: ignore[misc]
    assert code(lambda: check(owner, replace(asked, custodian=keepers.keepers[1].did))) == "custodian.18"
    keepers.must(Suspend(member=keepers.keepers[1].did), keepers.custodians[0], keepers.custodians[2])
    assert code(lambda: check(fellow)) == "custodian.22", "it is suspended"
