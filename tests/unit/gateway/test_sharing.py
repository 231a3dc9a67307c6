"""What is shared with a member: by whom, which share is meant, and what the law lets the member read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.access.messages import Visit
from caremesh.contracts.consent.messages import Revoke
from caremesh.contracts.identity.messages import Deactivate
from caremesh.contracts.members import queries as members
from caremesh.contracts.policy.kinds import may_be_read
from caremesh.contracts.policy.request import Decision
from caremesh.errors import Refused, Tampered
from caremesh.gateway import gateway as module
from caremesh.gateway.ask import Asked
from caremesh.gateway.gateway import Gateway
from caremesh.gateway.session import sign_in
from caremesh.gateway.visit import Purpose
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.sealing.channel import Share, SharedStream
from caremesh.testing.clock import SettableClock
from caremesh.types import Code
from caremesh.wallet import share as sharing
from caremesh.wallet import state as states
from caremesh.wallet import transact
from caremesh.wallet.wallet import Shared
from tests.support.case import BASIS, CATEGORIES, Case


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[LocalMesh]:
    """One for each test: what is shared in it is known."""
    with LocalMesh(tmp_path / "mesh", SettableClock()) as made:
        yield made


@pytest.fixture
def gateway(case: Case) -> Gateway:
    return case.mesh.member("practice").gateway(case.mesh)


def channel(case: Case) -> bytes:
    return states.keys_of(case.wallet.state, case.did("practice")).channel().signing.public


def own(case: Case, gateway: Gateway) -> list[Share]:
    return [share for share in gateway.shares() if share.channel_key == channel(case)]


def told(case: Case, categories: list[Code], subject: str) -> Shared:
    """A share in which the patient says who they are."""
    terms = case.person.terms("practice", categories, days=3)
    height = case.mesh.engine.status().height
    shared = case.wallet.share(terms, case.ledger, height, case.sponsor, case.mesh, subject)
    case.mesh.member("practice").gateway(case.mesh).receive_share(shared.message)
    return shared


def refused(gateway: Gateway, category: Code, share: bytes | None = None) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        gateway.shared(category, share)
    return caught.value.code, caught.value.place


def test_a_share_is_kept_as_it_came(case: Case, gateway: Gateway) -> None:
    shared = case.share(categories=("conditions", "laboratory"))
    [kept] = own(case, gateway)
    assert (kept.id, kept.grantee, kept.chain) == (shared.record.id, case.did("practice"), CHAIN)
    assert gateway.receive_share(shared.message) == kept
    assert own(case, gateway) == [kept], "twice is once"
    assert [item.category for item in kept.streams] == ["conditions", "laboratory"]
    with pytest.raises(Tampered, match=r"custody\.05"):
        case.mesh.member("payer").gateway(case.mesh).receive_share(shared.message)
    stored = case.mesh.member("practice").home.vault.get(f"share/{kept.channel_key.hex()}/{kept.id.hex()}")
    assert stored == codec.encode(kept)


def test_a_share_that_the_ledger_has_not_heard_of_yet_comes_first(case: Case, gateway: Gateway) -> None:
    """This member's copy may be behind the message."""
    case.share()
    [known] = own(case, gateway)
    early = replace(known, id=bytes(16), streams=[replace(known.streams[0], consent=bytes(32))])
    name = f"share/{early.channel_key.hex()}/{early.id.hex()}"
    case.mesh.member("practice").home.vault.put({name: codec.encode(early)})
    assert own(case, gateway) == [early, known]


def test_the_newest_of_what_is_active_is_meant(case: Case, gateway: Gateway) -> None:
    made = [case.share(purposes=[purpose]) for purpose in ("TREAT", "HPAYMT", "COC", "HOPERAT", "HRESCH", "PATRQT")]
    streams = {share.record.id: share.record.items[0].consent for share in made}
    assert [share.id for share in own(case, gateway)] == list(streams), "in the order in which they were granted"
    assert [share.id for share in gateway.shares(channel(case))] == list(streams)
    assert gateway.shares(b"nobody") == []
    for shared in reversed(made):
        assert gateway.shared("conditions").consent == shared.record.items[0].consent
        assert gateway.shared("conditions", made[0].record.id).consent == made[0].record.items[0].consent
        case.person.revoke(shared.record.id)
    assert gateway.shared("conditions").consent == made[-1].record.items[0].consent, "of none, the newest"


def test_of_two_streams_of_a_category_the_one_that_is_still_shared_is_meant(case: Case, gateway: Gateway) -> None:
    case.person.enrol("laboratory", case.name, categories=["claims"])
    shared = case.share(categories=("claims",))
    first, second = (item.consent for item in shared.record.items)
    assert gateway.shared("claims").consent == second
    located = states.locate(case.wallet.state, shared.record.items[1].stream)
    key = located.keys.signing(0)
    raw = transact.signed(case.reader, CHAIN, Revoke(consent=second), key, case.sponsor, case.clock())
    assert not case.ledger.submit([raw])[0].code
    assert gateway.shared("claims").consent == first
    other = told(Case(case.mesh, case.path.parent), ["claims"], "")
    code, place = refused(gateway, "claims")
    assert (code, sorted(place.split(", "))) == ("gateway.08", sorted([shared.record.id.hex(), other.record.id.hex()]))


def test_what_is_not_shared_and_what_several_share(case: Case, gateway: Gateway, tmp_path: Path) -> None:
    assert refused(gateway, "claims") == ("gateway.01", "")
    shared = case.share(categories=("claims",))
    assert gateway.shared("claims").consent == shared.record.items[0].consent
    assert refused(gateway, "conditions", shared.record.id) == ("gateway.01", "")
    assert refused(gateway, "claims", bytes(16)) == ("gateway.01", "")
    other = Case(case.mesh, tmp_path)
    theirs = other.share(categories=("claims", "imaging"))
    code, place = refused(gateway, "claims")
    assert code == "gateway.08"
    assert set(place.split(", ")) == {shared.record.id.hex(), theirs.record.id.hex()}
    of = {item.category: item.consent for item in theirs.record.items}
    assert gateway.shared("imaging").consent == of["imaging"]
    assert gateway.shared("claims", theirs.record.id).consent == of["claims"]
    other.person.revoke(theirs.record.id)
    assert gateway.shared("claims").consent == shared.record.items[0].consent, "who shares it still is meant"
    case.person.revoke(shared.record.id)
    assert refused(gateway, "claims")[0] == "gateway.08", "neither does: both are meant"


def test_patients_are_those_who_share_now(case: Case, gateway: Gateway) -> None:
    before = [patient.key for patient in gateway.patients()]
    assert channel(case) not in before
    first = case.share(categories=("claims",))
    second = case.share(categories=("imaging",))
    [patient] = [each for each in gateway.patients() if each.key not in before]
    assert (patient.key, {share.id for share in patient.shares}) == (
        channel(case),
        {first.record.id, second.record.id},
    )
    named = [told(case, [category], subject) for category, subject in (("laboratory", "B"), ("conditions", "C"))]
    [patient] = [each for each in gateway.patients() if each.key not in before]
    assert [share.subject for share in patient.shares] == ["", "", "B", "C"]
    assert patient.subject == "C", "as they called themselves last"
    for shared in named:
        case.person.revoke(shared.record.id)
    case.person.revoke(first.record.id)
    assert [each.key for each in gateway.patients() if each.key not in before] == [channel(case)]
    case.person.revoke(second.record.id)
    assert [each.key for each in gateway.patients() if each.key not in before] == []


def test_a_visit_is_to_one_patient_and_to_the_categories_one_names(
    case: Case, gateway: Gateway, tmp_path: Path
) -> None:
    case.share(categories=("conditions", "laboratory"))
    case.share(categories=("imaging",), purposes=["HPAYMT"])
    other = Case(case.mesh, tmp_path)
    other.share(categories=("claims",))

    def seen(*categories: Code, action: Code = "read") -> list[Code]:
        with gateway.visit(channel(case), Purpose("TREAT", BASIS, action), case.doctor, categories) as visit:
            assert visit.patient == channel(case)
            assert visit in gateway._visits
            found = sorted(grounds.category for grounds in visit.grounds)
        assert visit not in gateway._visits, "who has left hears of no more blocks"
        return found

    assert seen() == ["conditions", "laboratory"]
    assert seen("laboratory", "imaging") == ["laboratory"]
    for nothing in (("imaging",), ("claims",)):
        with pytest.raises(Refused, match=r"gateway\.01"):
            seen(*nothing)
    with pytest.raises(Refused, match=r"gateway\.01"):
        seen(action="export")


def with_kind(case: Case, category: Code, **changes: Any) -> SharedStream:
    """A share with the practice of a category on which there is law of its own."""
    case.person.enrol("hospital", case.name, categories=[*CATEGORIES, category])
    shared = case.share(categories=(category,), **changes)
    return next(
        share.streams[0]
        for share in case.mesh.member("practice").gateway(case.mesh).shares()
        if share.id == shared.record.id
    )


@pytest.mark.promise("P2")
def test_the_law_on_a_kind_binds_before_the_ledger_hears_of_it(case: Case, gateway: Gateway) -> None:
    item = with_kind(case, "substance-use")
    height = case.mesh.engine.status().height
    with pytest.raises(Refused, match=r"gateway\.07") as caught:
        gateway.ask(Asked(item.consent, "read", "HLEGAL", BASIS), case.doctor)
    assert caught.value.place == "substance-use: us-part2/2-12-d"
    assert case.mesh.engine.status().height == height
    assert gateway.ask(Asked(item.consent, "read", "TREAT", BASIS), case.doctor).consent == item.consent


@pytest.mark.promise("P2")
def test_a_visit_leaves_out_what_the_law_forbids_and_says_so(
    case: Case, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wallet that did not ask the law has granted what it forbids."""
    case.person.enrol("hospital", case.name, categories=[*CATEGORIES, "substance-use"])
    with monkeypatch.context() as patch:
        patch.setattr(sharing, "check_kind", lambda *_, **__: None)
        terms = case.person.terms("practice", ["conditions", "substance-use"], days=30)
        case.person.grant(replace(terms, explicit=False))
    with pytest.raises(Refused, match=r"gateway\.07"):
        gateway.visit(channel(case), Purpose("TREAT", BASIS), case.doctor, ["substance-use"])
    with gateway.visit(channel(case), Purpose("TREAT", BASIS), case.doctor) as visit:
        assert [grounds.category for grounds in visit.grounds] == ["conditions"]
        assert [(ended.category, ended.error.code) for ended in visit.ended] == [("substance-use", "gateway.07")]


@pytest.mark.promise("P2")
def test_the_law_is_asked_about_what_is_so(case: Case, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def listening(**about: Any) -> Decision:
        asked.append(about)
        return may_be_read(**about)

    monkeypatch.setattr(module, "may_be_read", listening)
    item = with_kind(case, "substance-use")
    others = case.share(categories=("claims",))
    gateway.ask(Asked(item.consent, "read", "TREAT", BASIS), case.doctor)
    practice, hospital = (members.member(case.reader, case.did(name)) for name in ("practice", "hospital"))
    assert practice is not None
    assert hospital is not None
    assert asked == [
        {
            "category": "substance-use",
            "action": "read",
            "purpose": "TREAT",
            "roles": practice.roles,
            "approvals": [],
            "places": (hospital.jurisdiction, practice.jurisdiction),
            "explicit": True,
            "originator": False,
            "licensed": True,
        }
    ]
    gateway.visit(channel(case), Purpose("TREAT", BASIS), case.doctor, ["substance-use"]).close()
    assert asked.pop() == asked[0], "a visit asks the same"
    with pytest.raises(Refused):
        gateway.ask(Asked(others.record.items[0].consent, "export", "HPAYMT", BASIS), None)
    assert (asked[1]["category"], asked[1]["action"], asked[1]["purpose"]) == ("claims", "export", "HPAYMT")
    assert asked[1]["licensed"] is False
    own_records = case.person.grant(case.person.terms("hospital", ["claims"], days=3))
    with suppress(Refused):
        case.mesh.member("hospital").gateway(case.mesh).ask(
            Asked(own_records.record.items[0].consent, "read", "TREAT", BASIS), None
        )
    assert (asked[2]["originator"], asked[2]["roles"]) == (True, hospital.roles)


def test_what_the_ledger_knows_nothing_of_is_for_the_ledger_to_refuse(gateway: Gateway, case: Case) -> None:
    with pytest.raises(Refused, match=r"gateway\.05.*access\.01"):
        gateway.ask(Asked(bytes(32), "read", "TREAT", BASIS), case.doctor)


def test_who_signs_in_has_a_key_for_twelve_hours_at_this_member(case: Case, gateway: Gateway) -> None:
    before = case.clock()
    session = gateway.sign_in(case.doctor)
    assert session.visit is not None
    said = codec.decode_as(session.visit.visit, Visit)
    assert before <= said.starts <= case.clock()
    assert said == Visit(
        chain=CHAIN,
        practitioner=case.doctor.did,
        member=case.did("practice"),
        key=session.key.public,
        starts=said.starts,
        ends=said.starts + 12 * 3_600,
    )
    short = sign_in(CHAIN, case.doctor, case.did("practice"), said.starts, 1)
    assert short.visit is not None
    assert codec.decode_as(short.visit.visit, Visit).ends == said.starts + 1


@pytest.mark.promise("P3")
def test_who_gives_up_their_name_holds_nothing_any_more(case: Case, gateway: Gateway) -> None:
    """On a mesh of its own: the practitioner does not come back."""
    case.share()
    visit = gateway.visit(channel(case), Purpose("TREAT", BASIS), case.doctor)
    visit.open()
    assert visit.records("conditions")
    requester = case.mesh.member("practice").home.requester
    committed = case.mesh.send([case.doctor, requester], Deactivate(did=case.doctor.did))
    assert not committed.code, committed.result
    assert visit.records("conditions") == []
    assert [ended.error.code for ended in visit.ended] == ["gateway.11"]
    visit.close()
