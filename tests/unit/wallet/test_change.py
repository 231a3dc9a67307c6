"""A share changes: less, longer, or delegated anew; and what a practice can open afterwards."""

from __future__ import annotations

import pytest

from caremesh.contracts.members.messages import Reinstate, Suspend
from caremesh.errors import BadInput, Refused, Unavailable
from caremesh.node import keystore
from caremesh.types import DAY_S
from caremesh.wallet.change import Narrower
from caremesh.wallet.templates import TEMPLATES, period
from tests.support.case import Case
from tests.support.patient import Way


@pytest.mark.promise("P2")
def test_listed_existing_and_future_open_what_they_say(case: Case) -> None:
    listed = case.share(listed={"conditions": [1]})
    assert case.read(listed) == [3]
    case.person.revoke(listed.record.id)
    existing = case.share(future=False)
    case.add(4)
    assert case.read(existing) == [1, 2, 3]
    case.person.revoke(existing.record.id)
    assert case.read(case.share()) == [1, 2, 3, 4]


@pytest.mark.parametrize("segments", [[7], []])
def test_a_segment_that_is_not_there_is_not_listed(case: Case, segments: list[int]) -> None:
    with pytest.raises(Refused, match=r"wallet\.33"):
        case.share(listed={"conditions": segments})
    with pytest.raises(BadInput, match=r"wallet\.19"):
        case.share(listed={"imaging": [0]})


@pytest.mark.parametrize("known", TEMPLATES, ids=lambda known: known.name)
def test_every_template_can_be_granted_and_shows_before_what_it_opens(case: Case, known: object) -> None:
    name = known.name  # type: ignore[attr-defined]
    terms = case.person.template("practice", name, ["conditions"])
    (seen,) = case.person.preview(terms)
    assert seen.segments == [0, 1]
    assert 0 < seen.size_bytes < 2**20
    assert seen.future == (name in {"my-practice", "one-visit", "study"})
    if name == "study":
        assert terms.actions == ["compute"], "only results leave"
    shared = case.person.grant(terms)
    consent = case.consent(shared)
    assert consent.scope.kind == ("future" if seen.future else "existing")
    start, until = period(case.clock(), known.days)  # type: ignore[attr-defined]
    assert (consent.starts, consent.ends, consent.purposes, consent.actions) == (
        start, until, terms.purposes, terms.actions,
    )  # fmt: skip
    assert [case.person.shares()[-1].consents[0].status] == ["active"]


@pytest.mark.promise("P3")
def test_a_narrower_share_opens_less_from_the_next_block_on(case: Case) -> None:
    shared = case.share(purposes=["COC", "TREAT"], days=30)
    receipt = case.ask(shared.record.items[0].consent)
    assert case.open(receipt) == [1, 2, 3]
    case.person.narrow(shared.record.id, Narrower(listed={case.stream: [1]}, purposes=["TREAT"]))
    assert case.open(receipt) == [3], "even under a receipt given before"
    assert case.refusal(shared, "COC") == "access.11"
    assert case.read(shared) == [3]
    with pytest.raises(Refused, match=r"wallet\.32"):  # a list is of what is there already
        case.person.narrow(shared.record.id, Narrower(existing=case.mesh.engine.status().height))
    with pytest.raises(Refused, match=r"consent\.27"):
        case.person.narrow(shared.record.id, Narrower(listed={case.stream: [0, 1]}))
    with pytest.raises(Refused, match=r"wallet\.32"):
        case.person.narrow(shared.record.id, Narrower(purposes=["TREAT"]))


@pytest.mark.promise("P3")
def test_what_comes_later_can_be_left_out(case: Case) -> None:
    shared = case.share()
    height = case.mesh.engine.status().height
    case.person.narrow(shared.record.id, Narrower(existing=height))
    case.add(4)
    assert case.read(shared) == [1, 2, 3]
    case.person.narrow(shared.record.id, Narrower(existing=case.segments()[0].registered))
    assert case.read(shared) == [1, 2]


@pytest.mark.promise("P3")
def test_fragments_go_at_the_new_end_and_at_once_for_what_is_left_out(case: Case) -> None:
    shared = case.share(days=30, categories=("conditions", "imaging", "claims"))
    ids = {item.category: item.consent for item in shared.record.items}
    assert [case.fragments(consent) for consent in ids.values()] == [3, 3, 3]
    _, until = period(case.clock(), 2)
    case.person.narrow(shared.record.id, Narrower(categories=["conditions", "imaging"], until=until))
    assert [case.fragments(ids[name]) for name in ("conditions", "imaging", "claims")] == [3, 3, 0]
    case.person.narrow(shared.record.id, Narrower(actions=["compute"]))
    assert case.fragments(ids["imaging"]) == 0, "of a consent that allows nothing more it is revoked"
    later = case.share(categories=("conditions",), days=9)
    case.clock.advance(until - case.clock())
    case.mesh.tick()
    assert case.fragments(ids["conditions"]) == 0
    assert case.fragments(later.record.items[0].consent) == 3
    assert [held.status for held in case.person.shares()[0].consents] == ["revoked"] * 3


def test_narrowing_to_nothing_is_no_narrowing(case: Case) -> None:
    shared = case.share()
    for less in (Narrower(categories=[]), Narrower(purposes=[]), Narrower(actions=[]), Narrower(categories=["claims"])):
        with pytest.raises(BadInput, match=r"wallet\.19"):
            case.person.narrow(shared.record.id, less)
    for attempt in (Narrower(until=1), Narrower(until=case.clock() // DAY_S * DAY_S + 1)):
        with pytest.raises(BadInput, match=r"wallet\.17"):
            case.person.narrow(shared.record.id, attempt)
    assert case.read(shared) == [1, 2, 3]


def test_a_share_lasts_longer_and_not_shorter(case: Case) -> None:
    shared = case.share(days=2)
    case.person.extend(shared.record.id, 9)
    assert case.consent(shared).ends == period(case.clock(), 9)[1]
    with pytest.raises(Refused, match=r"wallet\.32"):
        case.person.extend(shared.record.id, 9)
    with pytest.raises(BadInput, match=r"wallet\.17"):
        case.wallet.extend(shared.record.id, 1, case.ledger, case.sponsor, case.mesh)
    case.clock.advance(3 * DAY_S)
    case.mesh.tick()
    assert case.read(shared) == [1, 2, 3], "the fragments are kept to the new end"
    case.person.revoke(shared.record.id)
    with pytest.raises(Refused, match=r"wallet\.32"):
        case.person.extend(shared.record.id, 20)


@pytest.mark.promise("P5")
def test_a_key_that_is_on_the_ledger_and_not_yet_in_use_is_put_in_use(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_: object) -> object:
        raise KeyboardInterrupt

    shared = case.share()
    with monkeypatch.context() as patch:
        patch.setattr(keystore, "promote_receiving_key", crash)
        with pytest.raises(KeyboardInterrupt):
            case.mesh.desk("practice").rotate_key()
    height = case.mesh.engine.status().height
    case.mesh.desk("practice").rotate_key()
    assert case.mesh.engine.status().height == height, "the ledger has it already"
    case.person.redelegate()
    assert case.read(shared) == [1, 2, 3]
    assert case.mesh.member("practice").home.vault.names("receiving") == ["receiving"]


@pytest.mark.promise("P3")
def test_a_grantee_changes_its_key_in_the_middle_of_a_consent(case: Case) -> None:
    shared = case.share()
    before = case.consent(shared)
    assert case.person.redelegate() == []
    assert case.consent(shared) == before, "what is current is left alone"
    case.mesh.desk("practice").rotate_key()
    assert case.person.shares()[0].consents[0].status == "to be delegated anew"
    assert case.refusal(shared) == "gateway.17", "and no custodian is blamed for it"
    assert case.person.redelegate() == []
    after = case.consent(shared)
    assert after.receiving_key != before.receiving_key
    assert after.verifying_key != before.verifying_key, "each delegation has a signer of its own"
    assert not {entry.commitment for entry in after.fragments} & {entry.commitment for entry in before.fragments}
    assert case.fragments(after.id) == 3, "the fragments for the old key are destroyed"
    assert case.read(shared) == [1, 2, 3]
    assert (after.scope, after.ends, after.granted) == (before.scope, before.ends, before.granted)


def test_extending_delegates_anew_where_that_is_due(case: Case) -> None:
    shared = case.share(days=2)
    case.mesh.desk("practice").rotate_key()
    case.person.extend(shared.record.id, 9)
    assert case.person.shares()[0].consents[0].status == "active"
    assert case.read(shared) == [1, 2, 3]


@pytest.mark.promise("P10")
def test_a_delegation_anew_is_acknowledged_before_the_ledger_hears_of_it(case: Case) -> None:
    shared = case.share()
    case.mesh.desk("practice").rotate_key()
    one, two, _ = sorted(case.mesh.custodians)
    before = case.consent(shared)
    with pytest.raises(Unavailable, match=r"wallet\.22"):
        case.wallet.redelegate(case.ledger, case.sponsor, Way(case.mesh, {one: "silent", two: "garbled"}))
    assert case.consent(shared) == before
    missing = case.wallet.redelegate(case.ledger, case.sponsor, Way(case.mesh, {one: "silent"}))
    assert [entry.custodian for entry in missing] == [one]
    assert [entry.custodian for entry in case.wallet.state.pending] == [one]
    assert case.read(shared) == [1, 2, 3], "two of three are enough"
    assert case.wallet.deposit_again(case.reader, Way(case.mesh)) == []
    assert case.fragments(before.id) == 3


def test_a_pending_fragment_of_an_earlier_delegation_is_forgotten(case: Case) -> None:
    one = sorted(case.mesh.custodians)[0]
    silent = Way(case.mesh, {one: "silent"})
    terms = case.person.terms("practice", ["conditions"], days=3)
    shared = case.wallet.share(terms, case.ledger, case.mesh.engine.status().height, case.sponsor, silent)
    [old] = case.wallet.state.pending
    case.mesh.desk("practice").rotate_key()
    case.wallet.redelegate(case.ledger, case.sponsor, silent)
    [new] = case.wallet.state.pending
    assert (new.consent, new.what != old.what) == (shared.record.items[0].consent, True)


@pytest.mark.promise("P1")
def test_changes_of_several_streams_travel_apart(case: Case) -> None:
    categories = ("conditions", "imaging", "claims", "laboratory")
    shared = case.share(categories=categories, days=2)
    before = case.mesh.engine.status().height
    case.person.extend(shared.record.id, 9)
    raws = [raw for block in case.mesh.engine.blocks(before + 1) for raw in block.txs]
    named = [[item.category for item in shared.record.items if item.consent in raw] for raw in raws]
    assert sorted(named) == sorted([[name] for name in categories])


@pytest.mark.promise("P10")
def test_a_suspended_custodian_does_not_hold_up_a_grant_and_gets_its_fragment_later(case: Case) -> None:
    regulator, payer = case.mesh.member("regulator").home.requester, case.did("payer")
    assert case.mesh.send([regulator], Suspend(member=payer)).code == ""
    try:
        shared = case.share()
        assert [(entry.custodian, entry.code) for entry in shared.missing] == [(payer, "wallet.14")]
        assert case.fragments(shared.record.items[0].consent) == 2, "it is not even sent one"
        assert case.read(shared) == [1, 2, 3]
    finally:
        assert case.mesh.send([regulator], Reinstate(member=payer)).code == ""
    assert case.person.deposit_again() == []
    assert case.fragments(shared.record.items[0].consent) == 3
    assert case.wallet.state.pending == []
