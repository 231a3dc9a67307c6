"""Each check by itself, at its edges: what the ledger says now beats what a receipt said then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh.codec import cid_of_cbor
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Narrow
from caremesh.contracts.consent.state import Consent
from caremesh.contracts.identity.messages import Deactivate
from caremesh.contracts.members.messages import Suspend
from caremesh.contracts.records import queries as records
from caremesh.contracts.records.messages import Erase
from caremesh.contracts.records.state import Segment
from caremesh.contracts.streams.messages import NewEpoch
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.reencryption import ReadingKey
from caremesh.custodian import checks
from caremesh.custodian.checks import Head
from caremesh.errors import Refused
from caremesh.gateway.ask import Asked
from caremesh.sealing.custody import FragmentDeposit, ReleaseRequest
from caremesh.wallet import state as states
from tests.support.clinic import BASIS, Clinic

pytestmark = pytest.mark.slow


class Asking(Clinic):
    """Receipts of the practice, and the ledger as a custodian sees it."""

    def given(self, category: str, **changes: Any) -> tuple[Receipt, Consent, Segment]:
        """A share of a category, a receipt for it, and the stream's first segment."""
        self.mesh.tick()
        consent = self.share(category, **changes).record.items[0].consent
        receipt = self.gateway.ask(Asked(consent, "read", "TREAT", BASIS), self.doctor)
        return receipt, self.consent(receipt), records.segments(self.head.reader, receipt.stream)[0]

    def consent(self, receipt: Receipt) -> Consent:
        """As it is now."""
        found = consents.consent(self.head.reader, receipt.consent)
        assert found is not None
        return found

    @property
    def head(self) -> Head:
        return Head(self.mesh.engine.reader(), self.mesh.engine.header().time, 0.0)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    made = Asking(tmp_path_factory.mktemp("checks"))
    yield made
    made.mesh.close()


def code(attempt: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        attempt()
    return caught.value.code


@pytest.mark.promise("P2")
def test_a_receipt_ends_by_the_later_of_header_and_clock(clinic: Asking) -> None:
    receipt, *_ = clinic.given("laboratory")
    ends, reader = receipt.expires, clinic.head.reader
    assert checks.check_receipt(Head(reader, ends - 1, 0.0), receipt.id, ends - 1) == receipt
    assert code(lambda: checks.check_receipt(Head(reader, ends, 0.0), receipt.id, ends - 1)) == "custodian.04"
    assert code(lambda: checks.check_receipt(Head(reader, ends - 1, 0.0), receipt.id, ends)) == "custodian.04"


@pytest.mark.promise("P3")
def test_a_consent_ends_by_the_later_of_header_and_clock(clinic: Asking) -> None:
    receipt, consent, _ = clinic.given("vital-signs")
    reader, me, ends = clinic.head.reader, consent.fragments[0].custodian, consent.ends
    assert checks.check_permission(clinic.head, receipt, me, clinic.clock()) == consent
    for head, now in ((ends, ends - 1), (ends - 1, ends)):
        assert code(lambda at=head, own=now: checks.check_permission(Head(reader, at, 0.0), receipt, me, own)) == (  # type: ignore[misc]
            "custodian.05"
        )


@pytest.mark.promise("P2")
def test_a_segment_is_within_receipt_and_consent_as_they_are_now(clinic: Asking) -> None:
    receipt, consent, segment = clinic.given("medications", purposes=["TREAT", "HPAYMT"])
    cid = segment.descriptor
    assert cid is not None

    def outside(given: Receipt = receipt, allowed: Consent = consent) -> str:
        return code(lambda: checks.check_segment(clinic.head, given, allowed, cid))

    assert checks.check_segment(clinic.head, receipt, consent, cid) == segment
    assert outside(given=replace(receipt, segments=[1])) == "custodian.11"
    assert outside(given=replace(receipt, height=segment.registered - 1)) == "custodian.11"
    listed = replace(consent.scope, kind="listed", segments=[1])
    assert outside(allowed=replace(consent, scope=listed)) == "custodian.11"
    assert outside(allowed=replace(consent, epoch=consent.epoch + 1)) == "custodian.11"
    clinic.send(receipt.stream, Narrow(consent=consent.id, purposes=["HPAYMT"]))
    assert outside(allowed=clinic.consent(receipt)) == "custodian.11"
    assert code(lambda: checks.check_segment(clinic.head, receipt, consent, cid_of_cbor(b"no"))) == "custodian.10"


@pytest.mark.promise("P8")
def test_what_is_erased_is_unknown(clinic: Asking) -> None:
    receipt, consent, segment = clinic.given("procedures")
    cid = segment.descriptor
    assert cid is not None
    clinic.send(receipt.stream, Erase(stream=receipt.stream, segment=0))
    assert code(lambda: checks.check_segment(clinic.head, receipt, consent, cid)) == "custodian.10"


def deposit(clinic: Asking, receipt: Receipt, consent: Consent, me: str) -> FragmentDeposit:
    """The fragment that this custodian keeps."""
    custodian = clinic.mesh.custodians[me]
    found = custodian._keeping.fragment(consent)
    assert found is not None
    assert found.stream == receipt.stream
    return found


@pytest.mark.promise("P2")
def test_a_fragment_is_for_the_keys_of_now_and_the_one_committed_to(clinic: Asking) -> None:
    receipt, consent, _ = clinic.given("encounters")
    me, other = (entry.custodian for entry in consent.fragments[:2])
    kept = deposit(clinic, receipt, consent, me)

    def wrong(given: FragmentDeposit = kept, allowed: Consent = consent, who: str = me) -> str:
        return code(lambda: checks.check_fragment_keys(clinic.head, allowed, given, who))

    checks.check_fragment_keys(clinic.head, consent, kept, me)
    stranger = ReadingKey.from_secret(b"s" * 32).public
    assert wrong(replace(kept, delegating=stranger)) == "custodian.15"
    assert wrong(replace(kept, receiving=stranger)) == "custodian.15"
    assert wrong(replace(kept, verifying=stranger)) == "custodian.15"
    assert wrong(replace(kept, fragment=deposit(clinic, receipt, consent, other).fragment)) == "custodian.16"
    assert wrong(who=other) == "custodian.16"
    clinic.send(receipt.stream, NewEpoch(stream=receipt.stream, reading_key=stranger))
    assert wrong() == "custodian.15"
    assert wrong(replace(kept, delegating=stranger)) == "custodian.15", "the consent is of the epoch before"


@pytest.mark.promise("P2")
def test_whose_key_must_have_signed(clinic: Asking) -> None:
    receipt, *_ = clinic.given("conditions")
    practice = clinic.practice.home
    assert checks.key_of_requester(clinic.head, receipt) == clinic.doctor.key.public
    session = SigningKey.generate().public
    assert checks.key_of_requester(clinic.head, replace(receipt, visit_key=session)) == session
    asserted = replace(receipt, asserted=True, requester=practice.did)
    assert checks.key_of_requester(clinic.head, asserted) == practice.node_key.public
    nobody = "did:caremesh:caremesh-local:" + "a" * 32
    for given in (replace(receipt, requester=nobody), replace(asserted, member=nobody)):
        assert code(lambda given=given: checks.key_of_requester(clinic.head, given)) == "custodian.17"  # type: ignore[misc]


def test_a_request_names_stream_and_custodian(clinic: Asking) -> None:
    receipt, consent, segment = clinic.given("immunizations")
    me, other = (entry.custodian for entry in consent.fragments[:2])
    assert segment.descriptor is not None
    request = ReleaseRequest(
        receipt=receipt.id,
        stream=receipt.stream,
        descriptors=[segment.descriptor],
        custodian=me,
        nonce=bytes(16),
        at=clinic.clock(),
    )
    checks.check_stream(request, receipt)
    checks.check_addressed(request, me)
    assert code(lambda: checks.check_stream(replace(request, stream=bytes(32)), receipt)) == "custodian.11"
    assert code(lambda: checks.check_addressed(request, other)) == "custodian.18"


@pytest.mark.promise("P3")
def test_a_member_or_a_person_that_is_gone_gets_nothing(clinic: Asking) -> None:
    """Last: the practitioner and the practice do not come back."""
    receipt, consent, _ = clinic.given("documents")
    me, regulator = consent.fragments[0].custodian, clinic.mesh.member("regulator").home.requester
    clinic.mesh.send([clinic.doctor, clinic.practice.home.requester], Deactivate(did=clinic.doctor.did))
    assert code(lambda: checks.key_of_requester(clinic.head, receipt)) == "custodian.17"
    asserted = replace(receipt, asserted=True)
    assert checks.check_permission(clinic.head, asserted, me, clinic.clock()) == consent
    clinic.mesh.send([regulator], Suspend(member=clinic.practice.home.did))
    assert code(lambda: checks.check_permission(clinic.head, asserted, me, clinic.clock())) == "custodian.06"


@pytest.mark.promise("P6")
def test_descriptor_and_seal_are_those_of_the_ledger(clinic: Asking) -> None:
    [located] = [each for each in states.streams(clinic.patient.wallet.state) if each.stream.category == "vital-signs"]
    [segment] = records.segments(clinic.head.reader, located.stream.id)
    assert segment.descriptor is not None
    kept = next(iter(clinic.mesh.custodians.values()))._keeping.seal(located.stream.id, segment.descriptor)
    assert kept is not None
    checks.check_seal(segment, kept.descriptor, kept.seal)
    other = replace(kept.seal, ciphertext=kept.seal.ciphertext + b"?")
    for descriptor, seal in ((kept.descriptor + b"?", kept.seal), (kept.descriptor, other)):
        assert code(lambda d=descriptor, s=seal: checks.check_seal(segment, d, s)) == "custodian.13"  # type: ignore[misc]
