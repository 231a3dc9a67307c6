"""What a person has granted, as the ledger has it: each consent with its terms and where it stands."""

from __future__ import annotations

from msgspec.structs import replace

from caremesh.contracts.consent.messages import Scope
from caremesh.types import DAY_S
from caremesh.wallet.overview import Held, Standing, look_at
from caremesh.wallet.templates import period
from caremesh.wallet.wallet import Shared
from tests.support.case import Case


def statuses(case: Case) -> list[str]:
    return [held.status for standing in look(case) for held in standing.consents]


def look(case: Case) -> list[Standing]:
    return look_at(case.wallet.state, case.reader, case.clock())


def test_a_share_is_shown_with_its_terms(case: Case) -> None:
    now = case.clock()
    starts, ends = period(now, 30)
    shared: Shared = case.share(days=30, purposes=["TREAT", "COC"], actions=["read", "compute"])
    height = case.mesh.engine.status().height
    later = case.share(days=2, purposes=["HPAYMT"], future=False)
    first, second = shared.record.items[0].consent, later.record.items[0].consent
    assert look(case) == [
        Standing(
            share=shared.record.id,
            grantee=case.did("practice"),
            at=shared.record.at,
            consents=[
                Held(
                    category="conditions",
                    consent=first,
                    status="active",
                    scope=Scope(kind="future"),
                    purposes=["TREAT", "COC"],
                    actions=["read", "compute"],
                    starts=starts,
                    ends=ends,
                )
            ],
        ),
        Standing(
            share=later.record.id,
            grantee=case.did("practice"),
            at=later.record.at,
            consents=[
                Held(
                    category="conditions",
                    consent=second,
                    status="active",
                    scope=Scope(kind="existing", height=height),
                    purposes=["HPAYMT"],
                    actions=["read"],
                    starts=starts,
                    ends=starts + 2 * DAY_S,
                )
            ],
        ),
    ]


def test_where_each_consent_stands(case: Case) -> None:
    terms = case.person.terms("practice", ["conditions"], days=30)
    tomorrow = replace(terms, from_=terms.from_ + DAY_S)
    case.person.grant(tomorrow)
    case.share(categories=("laboratory",), days=1)
    gone = case.share(categories=("imaging",), days=3)
    case.share(categories=("claims",), days=30)
    assert statuses(case) == ["to come", "active", "active", "active"]
    case.person.revoke(gone.record.id)
    assert statuses(case) == ["to come", "active", "revoked", "active"]
    later = look_at(case.wallet.state, case.reader, case.clock() + DAY_S)
    assert [standing.consents[0].status for standing in later] == ["active", "over", "revoked", "active"]
    case.mesh.desk("practice").rotate_key()
    anew = "to be delegated anew"
    assert statuses(case) == [anew, anew, "revoked", anew]


def test_a_share_that_the_ledger_does_not_have_has_no_terms(case: Case) -> None:
    shared = case.share()
    [item] = shared.record.items
    unknown = bytes(32)
    record = replace(shared.record, items=[replace(item, consent=unknown)])
    [standing] = look_at(replace(case.wallet.state, shares=[record]), case.reader, case.clock())
    assert standing.consents == [Held(category="conditions", consent=unknown, status="not on the ledger")]
