"""Rules about kinds of records bind wallet and gateway: the ledger knows no category and cannot apply them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from caremesh.errors import Refused
from caremesh.gateway.ask import Asked
from caremesh.types import DAY_S
from caremesh.wallet import share as sharing
from caremesh.wallet import state as states
from caremesh.wallet.members import active_member
from tests.support.patient import Patient, Way

LEGAL_BASIS = ("HIPAA:164.506.c.2",)


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    made = Patient(tmp_path_factory.mktemp("kinds"), imported=True)
    yield made
    made.mesh.close()


def share(patient: Patient, category: str, **changes: object) -> object:
    terms = patient.terms(category, **changes)
    return patient.wallet.share(terms, patient.ledger, patient.height, patient.sponsor, Way(patient.mesh))


@pytest.mark.promise("P2")
def test_what_is_not_said_expressly_is_not_shared_where_the_law_asks_for_it(patient: Patient) -> None:
    height = patient.height
    with pytest.raises(Refused, match=r"wallet\.31.*substance-use: .*us-part2/no-permit"):
        share(patient, "substance-use", explicit=False)
    assert patient.height == height, "nothing went to the ledger"
    assert patient.wallet.state.shares == []


@pytest.mark.promise("P2")
def test_a_recipient_does_not_even_ask_for_what_the_law_on_the_kind_forbids(patient: Patient) -> None:
    shared = share(patient, "substance-use")
    practice = patient.mesh.member("practice")
    gateway = practice.gateway(patient.mesh)
    gateway.receive_share(shared.message)  # type: ignore[attr-defined]
    doctor = practice.home.practitioner(patient.wallet.state.chain)
    [item] = shared.record.items  # type: ignore[attr-defined]
    height = patient.height
    with pytest.raises(Refused, match=r"gateway\.07.*substance-use: .*us-part2/2-12-d"):
        gateway.ask(Asked(item.consent, "read", "HLEGAL", LEGAL_BASIS), doctor)
    assert patient.height == height
    assert gateway.ask(Asked(item.consent, "read", "TREAT", LEGAL_BASIS), doctor).consent == item.consent


@pytest.mark.promise("P2")
def test_what_may_not_be_granted_is_not_extended_either(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wallet that did not ask the law: what it granted is not made longer by one that does."""
    with monkeypatch.context() as patch:
        patch.setattr(sharing, "check_kind", lambda *_, **__: None)
        shared = share(patient, "substance-use", explicit=False, purposes=["COC"])
    until, height = (patient.clock() // DAY_S + 9) * DAY_S, patient.height
    with pytest.raises(Refused, match=r"wallet\.31.*substance-use: .*us-part2/no-permit"):
        patient.wallet.extend(shared.record.id, until, patient.ledger, patient.sponsor, Way(patient.mesh))  # type: ignore[attr-defined]
    assert patient.height == height


@pytest.mark.promise("P2")
def test_the_law_is_asked_about_the_grantees_approvals_of_now_and_every_rule_that_says_no_is_named(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, reader = patient.clock(), patient.ledger.reader()
    grantee = active_member(reader, patient.did("practice"))
    [stream] = states.choose(patient.wallet.state, ["substance-use"])
    located = states.locate(patient.wallet.state, stream)

    def place() -> str:
        with pytest.raises(Refused, match=r"wallet\.31") as caught:
            sharing.check_kind(reader, located, grantee, ["read"], ["HRESCH"], explicit=False, now=now)
        return caught.value.place

    assert place() == "substance-use: sensitive/sensitive-explicit, us-part2/no-permit"
    approved = {(grantee.did, now): ["irb-waiver"]}
    monkeypatch.setattr(sharing.policies, "approvals", lambda _, did, at: approved.get((did, at), []))
    assert place() == "substance-use: sensitive/sensitive-explicit", "a waiver answers the other rule"
