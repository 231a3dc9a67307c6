"""A member's signature is its own word: as a sponsor it gives it to nothing but what a subject alone may say."""

from __future__ import annotations

import pytest

from caremesh.contracts.access.messages import Dispute, Report
from caremesh.contracts.consent.messages import Decline, Revoke
from caremesh.contracts.members.messages import Leave
from caremesh.contracts.records.messages import Attest, Erase
from caremesh.contracts.streams.messages import Close, RotateKey
from caremesh.crypto import signatures
from caremesh.crypto.keys import SigningKey
from caremesh.errors import CareMeshError
from caremesh.ledger.transactions import SIGNING_DOMAIN, Message, Signer, Tx, encode
from caremesh.node.sponsoring import SUBJECTS, Proven, Sponsoring, SponsorLimits
from caremesh.testing.clock import SettableClock

KEY, SUBJECT, OTHER = (SigningKey.from_seed(bytes([number]) * 32) for number in (1, 2, 3))
DID = signatures.did_of("test", KEY.public)
STREAM = bytes(32)


class Nothing:
    def get(self, _: bytes, /) -> bytes | None:
        return None


def sponsoring(**limits: int) -> Sponsoring:
    return Sponsoring(DID, KEY, Nothing, SettableClock(), SponsorLimits(**limits))


def tx(*messages: Message, signers: list[Signer] | None = None) -> bytes:
    given = [Signer(key=SUBJECT.public), Signer(key=KEY.public, did=DID)] if signers is None else signers
    return encode(Tx(chain="test", expires_at=1, salt=bytes(8), signers=given, msgs=list(messages)))


def refusal(data: bytes, caller: bytes = SUBJECT.public, sponsor: Sponsoring | None = None) -> str:
    with pytest.raises(CareMeshError) as caught:
        (sponsor or sponsoring()).sponsor(data, Proven(caller))
    return caught.value.code


DISPUTE = Dispute(receipt=STREAM, statement=STREAM)


def test_a_subjects_message_is_signed() -> None:
    data = tx(DISPUTE)
    signatures.verify(KEY.public, SIGNING_DOMAIN + data, sponsoring().sponsor(data, SUBJECT))


def test_what_a_member_or_a_practitioner_says_is_not() -> None:
    for message in (Report(root=STREAM, count=1), Leave(member=DID), Attest(stream=STREAM, segment=0)):
        assert refusal(tx(message)) == "relay.30"
    assert refusal(tx(DISPUTE, DISPUTE)) == "relay.30"
    assert refusal(tx(DISPUTE, Leave(member=DID))) == "relay.30"
    assert not {kind for kind in SUBJECTS if kind.__module__.startswith("caremesh.contracts.members")}


def test_an_erasure_under_a_legal_duty_would_be_the_sources_own_word() -> None:
    sponsoring().sponsor(tx(Erase(stream=STREAM, segment=0)), SUBJECT)
    assert refusal(tx(Erase(stream=STREAM, segment=0, duty="GDPR:17"))) == "relay.30"


def test_signers_are_the_callers_key_and_this_member() -> None:
    sponsor, subject = Signer(key=KEY.public, did=DID), Signer(key=SUBJECT.public)
    assert refusal(tx(DISPUTE), OTHER.public) == "relay.31"
    assert refusal(tx(DISPUTE, signers=[sponsor])) == "relay.31"
    assert refusal(tx(DISPUTE, signers=[sponsor, subject])) == "relay.31"
    assert refusal(tx(DISPUTE, signers=[subject, Signer(key=KEY.public)])) == "relay.31"
    named = Signer(key=SUBJECT.public, did=signatures.did_of("test", SUBJECT.public))
    assert refusal(tx(DISPUTE, signers=[named, sponsor])) == "relay.31"
    assert refusal(tx(DISPUTE, signers=[subject, Signer(key=OTHER.public, did=DID)])) == "relay.31"
    assert refusal(tx(DISPUTE, signers=[subject, Signer(key=OTHER.public), sponsor])) == "relay.31"
    rotate = RotateKey(stream=STREAM, key=OTHER.public)
    sponsoring().sponsor(tx(rotate, signers=[subject, Signer(key=OTHER.public), sponsor]), SUBJECT)


def test_a_key_and_all_keys_have_a_quota_that_taking_back_does_not_need() -> None:
    few = sponsoring(max_per_key=2)
    for _ in range(2):
        few.sponsor(tx(DISPUTE), SUBJECT)
    assert refusal(tx(DISPUTE), sponsor=few) == "relay.32"
    few.sponsor(tx(Revoke(consent=STREAM)), SUBJECT)
    few.sponsor(tx(Erase(stream=STREAM, segment=0)), SUBJECT)
    none = sponsoring(percent=0)
    assert refusal(tx(DISPUTE), sponsor=none) == "relay.33"
    none.sponsor(tx(Revoke(consent=STREAM)), SUBJECT)


def test_the_quota_comes_back_with_the_hour() -> None:
    clock = SettableClock()
    few = Sponsoring(DID, KEY, Nothing, clock, SponsorLimits(max_per_key=1))
    few.sponsor(tx(DISPUTE), SUBJECT)
    assert refusal(tx(Decline(offer=STREAM)), sponsor=few) == "relay.32"
    clock.advance(3_600)
    few.sponsor(tx(Close(stream=STREAM)), SUBJECT)


def test_what_is_no_transaction_is_refused() -> None:
    assert refusal(b"") == "codec.01"
    assert refusal(b"\xa0") == "codec.03"
    assert refusal(bytes(2**20 + 1)) == "relay.30"
