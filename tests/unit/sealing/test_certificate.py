"""A certificate of erasure, over a state in memory: who confirmed, who did not, who had read it, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.access.messages import BreakGlass
from caremesh.contracts.consent.messages import Scope
from caremesh.contracts.records.messages import Erase
from caremesh.crypto.keys import SigningKey
from caremesh.sealing import certificate, custody
from caremesh.sealing.certificate import Certificate, Confirmed
from caremesh.sealing.custody import ErasureConfirmation, Signed
from tests.support.keepers import Keepers, refusal
from tests.support.witnessed import Witnessed
from tests.support.world import BASIS, CHAIN, Actor

pytestmark = pytest.mark.promise("P8")
NOBODY = "did:caremesh:test:" + "a" * 32


def erase(keepers: Keepers, segment: int = 0) -> None:
    keepers.must(Erase(stream=keepers.stream, segment=segment), keepers.stream_key, keepers.practice)


def confirmation(keepers: Keepers, actor: Actor, key: SigningKey | None = None, /, **changes: Any) -> Signed:
    given: dict[str, Any] = {
        "stream": keepers.stream,
        "segment": 0,
        "version": 0,
        "erased": True,
        "member": str(actor.did),
        "kept": "seals",
        "at": keepers.now,
    }
    return custody.sign_payload(custody.ERASURE_CONFIRMATION, ErasureConfirmation(**given | changes), key or actor.key)


class Erased:
    """A segment that the practice read, erased; and all that its keepers confirmed."""

    def __init__(self, keepers: Keepers, folder: Path) -> None:
        self.keepers = keepers
        keepers.add(b"1")
        keepers.receipt(keepers.share())
        keepers.add(b"2")
        erase(keepers)
        keepers.now += 1
        self.all = [custody.read_signed(each.confirm_erased(keepers.stream, 0)) for each in keepers.keepers]
        self.all.append(confirmation(keepers, keepers.hospital, kept="keys"))
        self.all.append(confirmation(keepers, keepers.practice, kept="blocks", at=keepers.now + 5))
        self.seen = Witnessed(folder / "seen", keepers)

    def make(self, confirmations: list[Signed] | None = None, segment: int = 0, stream: bytes = b"") -> Certificate:
        given = self.all if confirmations is None else confirmations
        return certificate.make(stream or self.keepers.stream, segment, given, self.seen.block, self.seen.query)

    def verify(self, made: Certificate, now: int = 0) -> certificate.Erasure:
        return certificate.verify(made, self.seen.client(), now or self.keepers.now)


@pytest.fixture
def erased(keepers: Keepers, tmp_path: Path) -> Erased:
    return Erased(keepers, tmp_path)


def test_a_certificate_says_who_confirmed_and_what_it_stands_on(erased: Erased) -> None:
    keepers = erased.keepers
    made = erased.make()
    assert (made.v, made.kind, made.chain, made.stream, made.segment) == (1, "erasure", CHAIN, keepers.stream, 0)
    assert (made.confirmations, made.block) == (erased.all, erased.seen.block)
    again = certificate.read(codec.encode(made))
    assert again == made
    shown = erased.verify(again)
    assert shown == certificate.Erasure(
        stream=keepers.stream,
        segment=0,
        confirmed=[
            *[Confirmed(each.did, "seals", keepers.now) for each in keepers.keepers],
            Confirmed(str(keepers.hospital.did), "keys", keepers.now),
            Confirmed(str(keepers.practice.did), "blocks", keepers.now + 5),
        ],
        missing=[],
        source=str(keepers.hospital.did),
        source_confirmed=True,
        unreadable=True,
        by_duty="",
        read_by=[str(keepers.practice.did)],
        height=keepers.height,
        time=keepers.now,
    )


def test_fewer_seals_than_it_takes_is_what_makes_it_unreadable(erased: Erased) -> None:
    """Two of three open it: without two confirmations there may still be two seals."""
    keepers = erased.keepers
    dids = [each.did for each in keepers.keepers]
    for confirmed, unreadable in ((1, False), (2, True)):
        shown = erased.verify(erased.make(erased.all[:confirmed]))
        assert shown.missing == dids[confirmed:]
        assert shown.unreadable is unreadable
        assert not shown.source_confirmed
    custodians = [keepers.custodians[0], keepers.custodians[1]]
    blocks = [confirmation(keepers, actor, kept="blocks") for actor in custodians]
    shown = erased.verify(erased.make([*blocks, confirmation(keepers, keepers.hospital, kept="blocks")]))
    assert (shown.missing, shown.unreadable, shown.source_confirmed) == (dids, False, False)
    shown = erased.verify(erased.make([confirmation(keepers, custodians[0], kept="keys")]))
    assert not shown.source_confirmed, "these are not the source's keys"


def test_who_may_have_read_it_is_whose_receipts_were_for_it(keepers: Keepers, tmp_path: Path) -> None:
    keepers.add(b"1")
    keepers.add(b"2")
    keepers.receipt(keepers.share(scope=Scope(kind="listed", segments=[1])), segments=[1])
    keepers.receipt(
        keepers.share(purposes=["HPAYMT"]), purpose="HPAYMT", legal_basis=["HIPAA:164.506.c.3"], segments=[1]
    )
    keepers.add(b"3")
    glass = BreakGlass(
        stream=keepers.stream, purpose="BTG", legal_basis=BASIS, reason=bytes(32), requester=str(keepers.doctor.did)
    )
    keepers.do(glass, keepers.doctor, keepers.practice)
    for segment in range(3):
        erase(keepers, segment)
    seen = Witnessed(tmp_path / "seen", keepers)
    read_by = []
    for segment in range(3):
        made = certificate.make(keepers.stream, segment, [], seen.block, seen.query)
        read_by.append(certificate.verify(made, seen.client(), keepers.now).read_by)
    assert read_by == [[], [str(keepers.practice.did)], []]


def test_an_erasure_by_legal_duty_says_which(keepers: Keepers, tmp_path: Path) -> None:
    keepers.add()
    duty = Erase(stream=keepers.stream, segment=0, duty="GDPR:17.1.e")
    keepers.must(duty, keepers.hospital)
    seen = Witnessed(tmp_path / "seen", keepers)
    made = certificate.make(keepers.stream, 0, [], seen.block, seen.query)
    assert certificate.verify(made, seen.client(), keepers.now).by_duty == "GDPR:17.1.e"


def test_a_confirmation_is_of_this_segment_by_its_maker(erased: Erased) -> None:
    keepers = erased.keepers
    me, other = keepers.custodians[:2]

    def refused(signed: Signed) -> tuple[str, str]:
        found = refusal(lambda: erased.make([signed]))
        assert refusal(lambda: certificate.check(keepers.view, keepers.stream, 0, signed)) == found
        return found

    good = confirmation(keepers, me)
    assert certificate.check(keepers.view, keepers.stream, 0, good) == Confirmed(str(me.did), "seals", keepers.now)
    for wrong in ({"segment": 1}, {"stream": bytes(32)}, {"erased": False}):
        assert refused(confirmation(keepers, me, **wrong)) == ("certificate.03", str(me.did))
    assert refused(confirmation(keepers, me, member=NOBODY)) == ("certificate.03", NOBODY)
    assert refused(replace(good, payload=b"\xa0")) == ("certificate.03", "confirmation")
    assert refused(confirmation(keepers, me, other.key)) == ("custody.02", str(me.did))
    assert refused(replace(good, signature=bytes(64))) == ("custody.01", str(me.did))
    domain = custody.sign_payload(
        custody.DESTROY_CONFIRMATION, codec.decode_as(good.payload, ErasureConfirmation), me.key
    )
    assert refused(domain) == ("custody.01", str(me.did))


def test_what_the_ledger_does_not_say_is_erased(erased: Erased) -> None:
    for segment in (1, 2):
        assert refusal(lambda n=segment: erased.make([], n)) == ("certificate.02", f"segment {segment}")  # type: ignore[misc]
    assert refusal(lambda: erased.make([], 0, bytes(32))) == ("certificate.02", "segment 0")


def test_a_certificate_that_was_changed_shows_nothing(erased: Erased) -> None:
    made = erased.make()
    assert refusal(lambda: certificate.read(codec.encode(made)[:-1])) == ("certificate.01", "")
    plain: dict[str, Any] = codec.decode(codec.encode(made))  # type: ignore[assignment]
    assert refusal(lambda: certificate.read(codec.encode(plain | {"kind": "other"}))) == ("certificate.01", "$.kind")
    assert refusal(lambda: erased.verify(replace(made, chain="another"))) == ("certificate.01", "chain")
    assert refusal(lambda: erased.verify(replace(made, segment=1)))[0] == "evidence.03"
    assert refusal(lambda: erased.verify(made, erased.keepers.now - 60))[0] == "light.04"
    for left in range(len(made.answers)):
        answers = made.answers[:left] + made.answers[left + 1 :]
        assert refusal(lambda a=answers: erased.verify(replace(made, answers=a)))[0] == "evidence.03"  # type: ignore[misc]
