"""What a wallet is about to send, to the word; nothing of it is sent, so that all tests look at one patient."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Accept, Extend, Grant, Narrow, Redelegate, Revoke, Scope
from caremesh.contracts.consent.queries import fragment_commitment
from caremesh.contracts.members.queries import Member
from caremesh.crypto.reencryption import ReadingKey, check_fragment
from caremesh.errors import BadInput, Refused
from caremesh.node.mesh import LocalMesh
from caremesh.sealing import custody
from caremesh.sealing.custody import FragmentDeposit
from caremesh.types import DAY_S, Did
from caremesh.wallet import change, share
from caremesh.wallet import state as states
from caremesh.wallet.change import Narrower
from caremesh.wallet.share import Terms
from caremesh.wallet.standing import standing
from caremesh.wallet.state import Located, PendingDeposit
from tests.support.known import Known


@pytest.fixture(scope="module")
def known(mesh: LocalMesh, tmp_path_factory: pytest.TempPathFactory) -> Known:
    return Known(mesh, tmp_path_factory.mktemp("known"))


def test_narrowing_sends_to_each_stream_what_is_new_to_it(known: Known) -> None:
    of, today, days = known.consents, known.today, 2
    until = today + days * DAY_S
    assert known.narrowed(categories=["laboratory"]) == {"conditions": Revoke(consent=of["conditions"])}
    assert known.narrowed(purposes=["TREAT", "HPAYMT"]) == {
        category: Narrow(consent=of[category], purposes=["TREAT"]) for category in of
    }
    assert known.narrowed(until=until) == {category: Narrow(consent=of[category], until=until) for category in of}
    assert known.narrowed(existing=9) == {
        category: Narrow(consent=of[category], scope=Scope(kind="existing", height=9)) for category in of
    }
    assert known.narrowed(listed={known.stream: [1, 0, 1]}) == {
        "conditions": Narrow(consent=of["conditions"], scope=Scope(kind="listed", segments=[0, 1]))
    }
    assert known.narrowed(categories=["conditions"], until=until, actions=["read"]) == {
        "conditions": Narrow(consent=of["conditions"], until=until),
        "laboratory": Revoke(consent=of["laboratory"]),
    }
    for nothing in ({"purposes": ["HPAYMT"]}, {"actions": ["copy"]}):
        assert known.narrowed(**nothing) == {category: Revoke(consent=of[category]) for category in of}
    for same in ({}, {"until": today + 30 * DAY_S}, {"until": today + 31 * DAY_S}, {"actions": ["read", "copy"]},
                 {"categories": ["conditions", "laboratory"]}, {"purposes": ["TREAT", "COC"]}):  # fmt: skip
        with pytest.raises(Refused, match=r"wallet\.32"):
            known.narrowed(**same)
    for wrong in ({"categories": []}, {"purposes": []}, {"actions": []}, {"categories": ["imaging"]}):
        with pytest.raises(BadInput, match=r"wallet\.19"):
            known.narrowed(**wrong)


@pytest.mark.parametrize(
    ("scope", "existing", "left"),
    [
        (Scope(kind="future"), None, Scope(kind="future")),
        (Scope(kind="future"), 5, Scope(kind="existing", height=5)),
        (Scope(kind="existing", height=3), 5, Scope(kind="existing", height=3)),
        (Scope(kind="existing", height=7), 5, Scope(kind="existing", height=5)),
        (Scope(kind="listed", segments=[1]), 5, Scope(kind="listed", segments=[1])),
    ],
)
def test_a_scope_never_grows(known: Known, scope: Scope, existing: int | None, left: Scope) -> None:
    consent = replace(known.consent(known.given), scope=scope)
    assert change._narrower_scope(known.reader, consent, Narrower(existing=existing)) == left


def test_extending_sends_the_new_end_to_what_ends_before(known: Known) -> None:
    state, until = known.wallet.state, known.today + 40 * DAY_S
    found = change.extensions(state, known.record, known.reader, known.at, until)
    assert known.by_category(found) == {
        category: Extend(consent=consent, until=until) for category, consent in known.consents.items()
    }
    for sooner in (30, 29):
        with pytest.raises(Refused, match=r"wallet\.32"):
            change.extensions(state, known.record, known.reader, known.at, known.today + sooner * DAY_S)
    with pytest.raises(Refused, match=r"wallet\.32"):
        change.extensions(state, known.record, known.reader, known.today + 30 * DAY_S, until)


def test_a_delegation_anew_is_of_what_stands_on_other_keys(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    state, shares = known.wallet.state, known.wallet.state.shares
    assert change.renewals(state, shares, known.reader, known.at, None) == ([], {}, [])
    practice = known.mesh.member("practice").home
    other = ReadingKey.from_secret(b"n" * 32)
    true = change.active_member

    def rotated(reader: Any, did: Did) -> Any:
        found = true(reader, did)
        return replace(found, keys=replace(found.keys, receiving=other.public)) if did == practice.did else found

    monkeypatch.setattr(change, "active_member", rotated)
    [laboratory] = states.choose(state, ["laboratory"])
    of = known.consents
    for wanted, categories in ((None, {"conditions", "laboratory"}), ([laboratory], {"laboratory"}), ([], set())):
        made = change.renewals(state, shares, known.reader, known.at, wanted)
        messages = known.by_category(made.changes)
        assert set(messages) == categories
        assert made.thresholds == {of[category]: 2 for category in categories}
        assert len(made.deposits) == 3 * len(categories)
        for category, message in messages.items():
            assert isinstance(message, Redelegate)
            assert (message.consent, message.epoch, message.receiving_key) == (of[category], 0, other.public)
            mine = [entry for entry in made.deposits if entry.consent == of[category]]
            assert [entry.custodian for entry in message.fragments] == [entry.custodian for entry in mine]
            assert [deposit_of(known, entry).verifying for entry in mine] == [message.verifying_key] * 3


def deposit_of(known: Known, pending: PendingDeposit) -> FragmentDeposit:
    """What the custodian reads."""
    home = next(m.home for m in known.mesh.members.values() if m.home.did == pending.custodian)
    signed = custody.open_by_custodian(custody.FRAGMENT_DEPOSIT, home.hpke_private, home.did, pending.sealed)
    assert pending.what == custody.deposit_digest(signed)
    key = states.locate(known.wallet.state, codec.decode_as(signed.payload, FragmentDeposit).stream).keys.signing(0)
    return custody.open_signed(custody.FRAGMENT_DEPOSIT, signed, FragmentDeposit, key.public)


def test_a_share_is_prepared_to_the_word(known: Known) -> None:
    state = known.wallet.state
    chosen = states.choose(state, ["conditions", "imaging"])
    terms = known.person.terms("practice", ["conditions", "imaging"], days=5, purposes=["HPAYMT"])
    terms = replace(terms, listed={known.stream: [1]}, offers={chosen[1]: b"o" * 32})
    made = share.prepare(state, terms, known.reader, 77, known.at)
    assert (made.record.grantee, made.record.at) == (known.did("practice"), known.at)
    assert [item.stream for item in made.record.items] == chosen
    assert [item.category for item in made.record.items] == ["conditions", "imaging"]
    assert made.thresholds == {item.consent: 2 for item in made.record.items}
    assert len({made.record.id, *(grant.salt for _, grant in made.grants)}) == 3
    for (key, grant), item in zip(made.grants, made.record.items, strict=True):
        located = states.locate(state, item.stream)
        where = standing(known.reader, located)
        assert key.public == located.keys.signing(0).public
        assert item.consent == consents.consent_id(item.stream, grant.salt)
        mine = [entry for entry in made.deposits if entry.consent == item.consent]
        assert [entry.custodian for entry in mine] == where.custodians
        told = [deposit_of(known, entry) for entry in mine]
        for fragment, commitment in zip(told, grant.fragments, strict=True):
            assert commitment.custodian == fragment.custodian
            assert commitment.commitment == fragment_commitment(item.consent, fragment.custodian, 0, fragment.fragment)
            check_fragment(fragment.fragment, grant.verifying_key, where.reading_key, grant.receiving_key)
            assert fragment == FragmentDeposit(
                consent=item.consent,
                stream=item.stream,
                epoch=0,
                custodian=commitment.custodian,
                fragment=fragment.fragment,
                delegating=where.reading_key,
                receiving=known.mesh.member("practice").home.receiving.public,
                verifying=grant.verifying_key,
            )
        expected: dict[str, Any] = {
            "stream": item.stream,
            "grantee": terms.grantee,
            "actions": ["read"],
            "purposes": ["HPAYMT"],
            "from_": terms.from_,
            "until": terms.until,
            "epoch": 0,
            "receiving_key": known.mesh.member("practice").home.receiving.public,
            "verifying_key": grant.verifying_key,
            "fragments": grant.fragments,
            "explicit": True,
            "salt": grant.salt,
            "permit": where.permit,
        }
        if item.category == "conditions":
            assert grant == Grant(**expected, scope=Scope(kind="listed", segments=[1]))
        else:
            assert grant == Accept(**expected, scope=Scope(kind="future"), offer=b"o" * 32)


def test_the_scope_of_a_share(known: Known) -> None:
    terms = known.person.terms("practice", ["conditions"], days=5)
    assert share.scope_of(terms, known.stream, known.reader, 77) == Scope(kind="future")
    existing = replace(terms, future=False)
    assert share.scope_of(existing, known.stream, known.reader, 77) == Scope(kind="existing", height=77)
    assert share.listed(known.reader, known.stream, [1, 0, 1]) == Scope(kind="listed", segments=[0, 1])


@pytest.mark.parametrize(
    "changes",
    [
        {"streams": []},
        {"purposes": []},
        {"actions": []},
        {"streams": [bytes(32), bytes(32)]},
        {"purposes": ["TREAT", "TREAT"]},
        {"actions": ["read", "read"]},
        {"listed": {b"o" * 32: [0]}},
        {"offers": {b"o" * 32: b"o" * 32}},
    ],
)
def test_terms_name_something_and_nothing_twice(changes: dict[str, Any]) -> None:
    good = Terms(
        grantee="did", streams=[bytes(32)], purposes=["TREAT"], actions=["read"], from_=0, until=DAY_S, explicit=True
    )
    share.check_terms(good)
    share.check_terms(replace(good, listed={bytes(32): [0]}, offers={bytes(32): b"o" * 32}))
    with pytest.raises(BadInput, match=r"wallet\.19"):
        share.check_terms(replace(good, **changes))
    for days in ({"from_": 1}, {"until": DAY_S + 1}, {"until": 0}, {"from_": DAY_S}, {"from_": 2 * DAY_S}):
        with pytest.raises(BadInput, match=r"wallet\.17"):
            share.check_terms(replace(good, **days))


def test_the_law_is_asked_about_the_day_on_which_it_is_granted(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any, dict[str, object]]] = []

    def listening(_: object, located: Located, grantee: Member, *codes: object, **about: object) -> None:
        asked.append((located.stream.category, (grantee.did, *codes), about))

    for module in (change, share):
        monkeypatch.setattr(module, "check_kind", listening)
    practice, about = known.did("practice"), {"explicit": True, "now": known.at}
    change.extensions(known.wallet.state, known.record, known.reader, known.at, known.today + 40 * DAY_S)
    assert asked == [
        (category, (practice, ["read"], ["COC", "TREAT"]), about) for category in ("conditions", "laboratory")
    ]
    asked.clear()
    terms = known.person.terms("practice", ["imaging"], days=5, purposes=["HPAYMT"])
    share.prepare(known.wallet.state, terms, known.reader, 77, known.at)
    assert asked == [("imaging", (practice, ["read"], ["HPAYMT"]), about)]
