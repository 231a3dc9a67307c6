"""Regulations and approvals change by quorum and at a height, and what they say decides on the ledger."""

from typing import Any

import msgspec
import pytest

from caremesh import codec
from caremesh.contracts.access import queries as access
from caremesh.contracts.members.messages import SetRole
from caremesh.contracts.policy import queries as policies
from caremesh.contracts.policy.acceptance import PolicyTest
from caremesh.contracts.policy.library import shipped
from caremesh.contracts.policy.messages import Adopt, Approve, PolicySet, Retire, Withdraw
from caremesh.contracts.policy.state import CALENDAR
from caremesh.contracts.policy.words import in_words
from caremesh.errors import BadInput
from caremesh.ledger.state import View
from caremesh.types import DAY_S
from tests.support.world import NOW, Actor, World

DAY = NOW // DAY_S * DAY_S
HOUSE = shipped("house")[0]


def policy(name: str = "p", effect: str = "permit", body: str = "", **annotations: str) -> str:
    words = {"id": name, "legal": "§ 1", "sentence": "A sentence."} | annotations
    return " ".join(f'@{key}("{value}")' for key, value in words.items()) + (
        f' {effect} (principal, action in Action::"access", resource) {body};'
    )


def rules(*texts: str, tests: list[PolicyTest] | None = None, **changes: Any) -> PolicySet:
    """A set whose only policy permits licensed requests, unless said otherwise."""
    text = "\n".join(texts) or policy(body="when { context.licensed }")
    shown = [PolicyTest("p", "access", {}, {"licensed": False})] if tests is None else tests
    given: dict[str, Any] = {"set": "law", "jurisdictions": [], "text": text}
    return PolicySet(**given | {"access": HOUSE.access, "grant": HOUSE.grant, "tests": shown} | changes)


def adopt(world: World, adopted: PolicySet, after: int = 1, signers: list[Actor] | None = None) -> str:
    return world.do(Adopt(adopted, world.height + after), *(signers or world.custodians[:2]))


def retire(world: World, name: str, after: int = 1, signers: list[Actor] | None = None) -> str:
    return world.do(Retire(name, world.height + after), *(signers or world.custodians[:2]))


@pytest.mark.promise("P7")
def test_a_set_counts_from_its_height_on(world: World) -> None:
    consent = world.granted()
    never = rules(
        policy(body="when { context.break_glass }"), tests=[PolicyTest("p", "access", {"break_glass": True}, {})]
    )
    at = world.height + 3
    assert adopt(world, never, 3) == ""
    assert world.told("policy/adopted") == {"set": "law", "version": 0, "effective": at}
    assert world.asked(consent) == ("", "")
    assert world.asked(consent) == ("", "")
    assert world.height == at
    assert world.asked(consent) == ("", "access.17")
    assert access.of_stream(world.view, world.stream)[-1].policies == ["law/no-permit"]
    assert retire(world, "law") == ""
    assert world.told("policy/retired") == {"set": "law", "effective": world.height}
    assert world.asked(consent) == ("", "")


def test_only_a_quorum_changes_the_law_and_the_approvals(world: World) -> None:
    one = world.custodians[:1]
    assert adopt(world, rules(), signers=one) == "policy.01"
    assert retire(world, "house", signers=one) == "policy.01"
    assert world.do(approval(world), *one) == "policy.01"
    world.must(approval(world), *world.custodians[:2])
    assert world.do(Withdraw(member=str(world.practice.did), approval="data-permit"), *one) == "policy.01"


def test_the_law_never_changes_within_its_block(world: World) -> None:
    assert adopt(world, rules(), 0) == "policy.02"
    assert retire(world, "house", 0) == "policy.02"
    assert adopt(world, rules(), 1) == ""


BROKEN = policy(body="when { context.nobody }")
FIRST, SECOND = policy("p"), policy("q", "forbid", "when { context.asserted }")
SHOWS_SECOND = PolicyTest("q", "access", {"asserted": True}, {})


@pytest.mark.parametrize(
    ("adopted", "code"),
    [
        (rules("x" * 50_000), "policy.03"),
        (rules(BROKEN), "policy.04"),
        (rules("// nothing"), "policy.05"),
        (rules(policy(legal="")), "policy.06"),
        (rules(policy(other="x")), "policy.06"),
        (rules(FIRST, FIRST), "policy.07"),
        (rules(policy(body='when { context.purpose in Purpose::"NOSUCH" }')), "policy.08"),
        (rules(tests=[PolicyTest("p", "access", {"nobody": True}, {})]), "policy.09"),
        (rules(tests=[PolicyTest("p", "access", {"licensed": "yes"}, {})]), "policy.09"),
        (rules(tests=[PolicyTest("nobody", "access", {}, {})]), "policy.10"),
        (rules(tests=[PolicyTest("p", "access", {"licensed": False}, {"licensed": False})]), "policy.11"),
        (rules(tests=[PolicyTest("p", "access", {}, {})]), "policy.12"),
        (rules(FIRST, SECOND, tests=[SHOWS_SECOND]), "policy.13"),
        (rules(tests=[]), "policy.13"),
        (rules(jurisdictions=["US", "DE"]), "policy.17"),
        (rules(jurisdictions=["DE", "DE"]), "policy.17"),
        (rules(policy(body="when { " + "(" * 9 + "true" + ")" * 9 + " }")), "policy.18"),
        (rules(set="policy"), "policy.23"),
    ],
)
def test_what_is_no_law(world: World, adopted: PolicySet, code: str) -> None:
    assert adopt(world, adopted) == code
    assert policies.versions(world.view, adopted.set) == []


def test_what_counts_already_and_what_does_not(world: World) -> None:
    assert adopt(world, HOUSE) == "policy.15"
    assert adopt(world, msgspec.structs.replace(HOUSE, jurisdictions=["US"])) == ""
    assert retire(world, "law") == "policy.14"
    assert adopt(world, rules(), 20) == ""
    assert adopt(world, rules(), 30) == "policy.15"
    assert retire(world, "law", 10) == ""
    assert retire(world, "law", 10) == "policy.14"


@pytest.mark.parametrize(
    "sets", [[HOUSE, HOUSE], [rules(set="policy")], [rules(jurisdictions=["US", "DE"])], [rules(tests=[])]]
)
def test_founders_agree_on_law_that_would_be_accepted(world: World, sets: list[PolicySet]) -> None:
    class Empty:
        def get(self, key: bytes) -> bytes | None:  # noqa: ARG002 - there is nothing
            return None

    with pytest.raises(BadInput, match=r"contracts\.01"):
        world.app.genesis(View(Empty()), codec.encode(world.genesis(regulations=sets)))


def test_a_decision_is_explained_by_the_law_of_its_height(world: World) -> None:
    consent = world.granted()
    assert world.asked(consent) == ("", "")
    receipt = access.of_consent(world.view, consent)[0]
    assert isinstance(receipt, access.Receipt)
    assert retire(world, "hipaa") == ""
    explained = policies.explain(world.view, receipt.policies, receipt.height)
    assert [(each.policy, each.effect, each.legal) for each in explained] == [
        ("hipaa/506-c-2", "permit", "45 CFR 164.506(c)(2)"),
        ("house/access", "permit", "House rules 1"),
        ("iso22600/care-profession", "permit", "ISO 22600-2; ISO 21298, structural roles"),
    ]
    decision = policies.decide(world.view, HOUSE.access)
    assert in_words(decision, policies.explain(world.view, decision.policies, world.height))[0].startswith("Denied.")


# --- approvals -------------------------------------------------------------------------------------


def test_a_law_is_explained_before_it_ever_decided(world: World) -> None:
    unseen = rules(policy(body="when { context.licensed }", sentence="Never asked before."))
    assert adopt(world, unseen) == ""
    [said] = policies.explain(world.view, ["law/p"], world.height)
    assert said.sentence == "Never asked before."


def test_where_no_law_was_ever_made_none_is_in_force() -> None:
    assert policies.in_force(View({}), 0) == []


def test_a_version_leaves_the_calendar_with_the_height_at_which_it_is_over(world: World) -> None:
    assert adopt(world, rules(), 2) == ""
    ends = world.height + 3
    assert adopt(world, rules(jurisdictions=["US"]), 3) == ""
    world.height = ends

    def waiting() -> list[int]:
        calendar = CALENDAR.get(world.view)
        assert calendar is not None
        return [version.version for version in calendar.versions if version.set == "law"]

    assert waiting() == [0, 1]
    assert retire(world, "law", 5) == ""
    assert waiting() == [1]


def approval(world: World, **changes: Any) -> Approve:
    given: dict[str, Any] = {
        "member": str(world.practice.did),
        "approval": "data-permit",
        "until": DAY + 30 * DAY_S,
    }
    return Approve(**given | changes)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"approval": "a-friend"}, "policy.19"),
        ({"until": DAY + DAY_S + 1}, "policy.20"),
        ({"until": DAY}, "policy.20"),
        ({"member": str(Actor("stranger").did)}, "policy.21"),
    ],
)
def test_what_cannot_be_approved(world: World, changes: dict[str, Any], code: str) -> None:
    assert world.do(approval(world, **changes), *world.custodians[:2]) == code


def test_an_approval_that_ends_this_second_is_none(world: World) -> None:
    world.now = DAY + DAY_S
    assert world.do(approval(world, until=DAY + DAY_S), *world.custodians[:2]) == "policy.20"
    assert world.do(approval(world, until=DAY + 2 * DAY_S), *world.custodians[:2]) == ""


def test_approvals_count_until_their_day_or_their_withdrawal(world: World) -> None:
    quorum, member = world.custodians[:2], str(world.practice.did)
    world.must(approval(world, approval="irb-waiver"), *quorum)
    world.must(approval(world), *quorum)
    assert world.told("policy/approved") == {
        "member": member, "approval": "data-permit", "until": DAY + 30 * DAY_S,
    }  # fmt: skip
    assert policies.approvals(world.view, member, DAY + 30 * DAY_S - 1) == ["data-permit", "irb-waiver"]
    assert policies.approvals(world.view, member, DAY + 30 * DAY_S) == []
    assert policies.approvals(world.view, str(world.hospital.did), NOW) == []
    world.must(approval(world, until=DAY + 60 * DAY_S), *quorum)
    assert policies.approvals(world.view, member, DAY + 30 * DAY_S) == ["data-permit"]
    withdraw = Withdraw(member=member, approval="data-permit")
    world.must(approval(world, until=DAY + 70 * DAY_S), *quorum)
    world.must(withdraw, *quorum)
    assert world.told("policy/withdrawn") == {"member": member, "approval": "data-permit"}
    assert policies.approvals(world.view, member, NOW) == ["irb-waiver"]
    assert world.do(withdraw, *quorum) == "policy.22"


def test_what_the_law_asks_an_approval_for(world: World) -> None:
    researcher = world.appointed("researcher", "researcher")

    world.must(SetRole(member=str(world.practice.did), roles=["provider", "researcher"]), *world.custodians[:2])
    consent = world.granted(purposes=["HRESCH"])

    def ask() -> tuple[str, str]:
        signers, basis = [researcher, world.practice], ["HIPAA:164.512.i"]
        given = {"requester": str(researcher.did), "purpose": "HRESCH", "legal_basis": basis}
        return world.asked(consent, signers, **given | {"segments": [0]})

    world.must(world.register(), world.hospital)
    assert ask() == ("", "access.17")
    world.must(approval(world, approval="irb-waiver"), *world.custodians[:2])
    assert ask() == ("", "")
    world.must(Withdraw(member=str(world.practice.did), approval="irb-waiver"), *world.custodians[:2])
    assert ask() == ("", "access.17")
