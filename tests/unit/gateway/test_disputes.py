"""A member hears what a patient asks about an access, keeps the words, and answers to that patient alone."""

from __future__ import annotations

import pytest

from caremesh.contracts.access import queries as access
from caremesh.contracts.access.errors import NO_DISPUTE
from caremesh.contracts.access.messages import BreakGlass
from caremesh.contracts.access.state import Receipt
from caremesh.errors import CareMeshError, Refused, Tampered
from caremesh.gateway import disputes
from caremesh.gateway.gateway import Gateway
from caremesh.node.mesh import LocalMesh
from caremesh.sealing import statement as statements
from caremesh.wallet import dispute as asking
from caremesh.wallet import state as states
from tests.support.case import Case

WORDS = "I was not there that day."
REPLY = "It was the telephone visit."


class Looked:
    """A case whose conditions were asked for once, under the last of two shares."""

    def __init__(self, case: Case) -> None:
        self.case = case
        case.person.revoke(case.share().record.id)
        self.shared = case.share()
        self.practice = case.mesh.member("practice")
        self.receipt: Receipt = case.ask(self.shared.record.items[0].consent)

    @property
    def gateway(self) -> Gateway:
        return self.practice.gateway(self.case.mesh)

    def dispute(self, words: str = WORDS) -> bytes:
        """The patient's words, for the member."""
        return self.case.wallet.dispute(self.receipt.id, words, self.case.ledger, self.case.sponsor)[1]

    def refusal(self, receipt: bytes, gateway: Gateway | None = None) -> list[str]:
        """The codes with which the member refuses to hear and to answer."""
        found = []
        sealed = b"whatever"
        for attempt in (
            lambda: (gateway or self.gateway).hear_dispute(receipt, sealed),
            lambda: (gateway or self.gateway).answer_dispute(receipt, REPLY),
        ):
            with pytest.raises(CareMeshError) as caught:
                attempt()
            found.append(caught.value.code)
        return found


@pytest.fixture
def looked(case: Case) -> Looked:
    return Looked(case)


@pytest.mark.promise("P4")
def test_the_words_are_heard_kept_and_answered_to_the_patient(looked: Looked) -> None:
    case, receipt = looked.case, looked.receipt.id
    sealed = looked.dispute()
    heard = looked.gateway.hear_dispute(receipt, sealed)
    assert (heard.words.text, heard.words.receipt) == (WORDS, receipt)
    assert heard.dispute == access.dispute(case.reader, receipt)
    assert looked.practice.home.vault.get(f"dispute/{receipt.hex()}") == sealed
    answer = looked.gateway.answer_dispute(receipt, REPLY)
    assert asking.hear_answer(case.wallet.state, case.reader, receipt, answer).text == REPLY
    found = access.dispute(case.reader, receipt)
    assert found is not None
    assert found.answered is not None


@pytest.mark.promise("P6")
def test_other_words_than_those_on_the_ledger_are_not_kept(looked: Looked) -> None:
    looked.dispute()
    state, reader = looked.case.wallet.state, looked.case.reader
    other = asking.prepare(state, reader, looked.receipt.id, "Something else.").sealed
    with pytest.raises(Tampered, match=r"custody\.06"):
        looked.gateway.hear_dispute(looked.receipt.id, other)
    channel = states.keys_of(state, looked.case.did("hospital")).channel()
    said = statements.statement(state.chain, looked.receipt.id, WORDS)
    forged = statements.tell(statements.QUESTION, said, looked.practice.home.hpke_public, channel.signing)
    with pytest.raises(Tampered, match=r"custody\.02"):
        looked.gateway.hear_dispute(looked.receipt.id, forged)
    with pytest.raises(Tampered, match=r"custody\.05"):
        looked.gateway.hear_dispute(looked.receipt.id, b"noise")
    assert looked.practice.home.vault.get(f"dispute/{looked.receipt.id.hex()}") is None


def test_what_nobody_disputed_or_is_of_another_member_is_refused(looked: Looked) -> None:
    assert looked.refusal(looked.receipt.id) == ["gateway.14"] * 2
    assert looked.refusal(bytes(32)) == ["gateway.14"] * 2
    looked.dispute()
    other = looked.case.mesh.member("payer").gateway(looked.case.mesh)
    assert looked.refusal(looked.receipt.id, other) == ["gateway.14"] * 2


def test_without_the_share_there_is_nobody_to_answer(looked: Looked) -> None:
    sealed = looked.dispute()
    asker = looked.gateway._means.asker
    home = looked.practice.home
    others = [share for share in looked.gateway.shares() if share.id != looked.shared.record.id]
    assert any(share.channel_key for share in others), "the share that was taken back is another"
    with pytest.raises(Refused, match=r"gateway\.14"):
        disputes.hear(asker, home.vault, home.hpke_private, others, looked.receipt.id, sealed)
    with pytest.raises(Refused, match=r"gateway\.14"):
        disputes.answer(asker, home.node_key, [], looked.receipt.id, REPLY)


def test_an_answer_that_the_ledger_refuses_is_said(looked: Looked) -> None:
    looked.dispute()
    looked.gateway.answer_dispute(looked.receipt.id, REPLY)
    with pytest.raises(Refused, match=r"access\.26: .*\(msgs\[0\]\)") as caught:
        looked.gateway.answer_dispute(looked.receipt.id, REPLY)
    assert (caught.value.error.sentence, caught.value.place) == (NO_DISPUTE.sentence, "msgs[0]")


def test_an_emergency_access_has_no_share_to_answer_over(case: Case, mesh: LocalMesh) -> None:
    looked = Looked(case)
    broken = BreakGlass(
        stream=looked.receipt.stream,
        purpose="ETREAT",
        legal_basis=["HIPAA:164.510.b.3"],
        reason=bytes(32),
        requester=case.doctor.did,
    )
    committed = mesh.send([case.doctor, looked.practice.home.requester], broken)
    identity = access.receipt_id(committed.tx, 0)
    case.wallet.dispute(identity, WORDS, case.ledger, case.sponsor)
    assert looked.refusal(identity) == ["gateway.14"] * 2
