"""The shipped sets: every policy decides something alone, and everyday questions get the answers the law gives."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import pytest

from caremesh.contracts.policy.acceptance import changed
from caremesh.contracts.policy.engine import LEDGER, ParsedSet, question
from caremesh.contracts.policy.library import SHIPPED, shipped
from caremesh.contracts.policy.logic import adopt_at_genesis
from caremesh.contracts.policy.messages import PolicySet
from caremesh.contracts.policy.queries import decide
from caremesh.contracts.policy.request import AccessRequest, GrantRequest
from caremesh.ledger.state import View


class Nothing:
    """A reader without state."""

    def get(self, key: bytes) -> bytes | None:  # noqa: ARG002 - the protocol's name
        return None


SETS = {each.set: each for each in shipped()}
PARSED = {name: LEDGER.parse(each.text) for name, each in SETS.items()}
POLICIES = [(name, policy) for name, parsed in PARSED.items() for policy in parsed.texts]


@cache
def without(name: str, policy: str) -> ParsedSet:
    return PARSED[name].without(policy)


@pytest.fixture(scope="module")
def world() -> View:
    view = View(Nothing())
    adopt_at_genesis(view, shipped())
    return view


@pytest.mark.parametrize(("name", "policy"), POLICIES, ids=["/".join(each) for each in POLICIES])
def test_taking_a_policy_out_flips_one_answer_and_leaves_another(name: str, policy: str) -> None:
    rules, parsed = SETS[name], PARSED[name]
    tests = [test for test in rules.tests if test.policy == policy]
    assert tests
    for test in tests:
        base = rules.access if test.ask == "access" else rules.grant
        flips, leaves = question(changed(base, test.flips)), question(changed(base, test.leaves))
        verdict = parsed.evaluate(flips)
        assert verdict.permit == (parsed.texts[policy].effect == "permit")
        assert verdict.reasons == (policy,)
        assert without(name, policy).evaluate(flips).permit != verdict.permit
        assert policy not in parsed.evaluate(leaves).reasons
        for other in parsed.texts:
            if other != policy:
                assert without(name, other).evaluate(flips).permit == verdict.permit


def test_every_set_that_is_shipped_has_a_file_and_a_plain_text_for_each_policy() -> None:
    assert tuple(SETS) == SHIPPED
    for name, parsed in PARSED.items():
        for policy, text in parsed.texts.items():
            assert text.sentence.endswith("."), (name, policy)
            assert text.legal, (name, policy)


@pytest.mark.parametrize(
    ("name", "articles"),
    [
        ("gdpr", [*(f"6(1)({p})" for p in "abcdef"), *(f"9(2)({p})" for p in "abcdefghij"), "9(3)", "89(1)"]),
        ("gdpr", ["15", "16", "17", "18", "20", "21", "22", "44", "45", "46", "47", "48", "49"]),
        ("hipaa", [f"164.{section}" for section in ("502", "506", "508", "510", "512", "522", "524", "528")]),
        ("ehds", ["Art. 3", "Art. 6", "Art. 7", "Art. 8", "11(1)", "11(5)", "68", "71", "73"]),
        ("iso22600", ["ISO 22600-2", "ISO 21298"]),
    ],
)
def test_the_articles_of_the_list_are_cited(name: str, articles: list[str]) -> None:
    cited = " ; ".join(text.legal for text in PARSED[name].texts.values())
    assert [article for article in articles if article not in cited] == []


EU_CARE = SETS["gdpr"].access
US_CARE = SETS["hipaa"].access
EU_CONSENT = {"legal_basis": ["GDPR:6.1.a", "GDPR:9.2.a"], "explicit": True}
EU_EMERGENCY = {
    "purpose": "ETREAT",
    "break_glass": True,
    "legal_basis": ["EHDS:11.5", "GDPR:6.1.d", "GDPR:9.2.c"],
}
PAYER = {"member_roles": ["payer"], "requester_roles": ["claims-reviewer"], "licensed": False, "purpose": "CLMATTCH"}
RESEARCH = {"member_roles": ["researcher"], "requester_roles": ["researcher"], "licensed": False, "purpose": "HRESCH"}
ABROAD = {"grantee_jurisdiction": "US"}

EVERYDAY: list[tuple[str, AccessRequest | GrantRequest, dict[str, Any], list[str] | str]] = [
    ("a doctor treats", EU_CARE, {}, "permit"),
    ("a doctor treats on explicit consent", EU_CARE, EU_CONSENT, "permit"),
    ("a doctor elsewhere in the Union treats", EU_CARE, {"grantee_jurisdiction": "FR"}, "permit"),
    (
        "a doctor without a licence",
        EU_CARE,
        {"licensed": False},
        ["ehds/no-permit", "gdpr/9-3", "house/care-licence", "iso22600/no-permit"],
    ),
    ("a doctor cites no ground", EU_CARE, {"legal_basis": ["GDPR:9.2.h"]}, ["gdpr/6-1"]),
    ("a doctor cites no condition", EU_CARE, {"legal_basis": ["GDPR:6.1.e"]}, ["gdpr/no-permit"]),
    ("staff vouched for by their hospital treat", EU_CARE, {"asserted": True, "licensed": False}, "permit"),
    (
        "a back-end service of the hospital",
        EU_CARE,
        {"asserted": True, "licensed": False, "requester_roles": []},
        "permit",
    ),
    (
        "staff vouched for ask for research",
        EU_CARE,
        EU_CONSENT | RESEARCH | {"asserted": True},
        ["house/asserted-purpose"],
    ),
    ("a payer checks a claim", EU_CARE, PAYER, "permit"),
    ("a payer asks for everything", EU_CARE, PAYER | {"entire": True}, ["gdpr/5-1-c"]),
    (
        "a payer asks in the name of care",
        EU_CARE,
        PAYER | {"purpose": "TREAT"},
        ["ehds/no-permit", "gdpr/no-permit", "house/care-licence", "house/payer-pays", "iso22600/separate-duties"],
    ),
    ("research on explicit consent to listed data", EU_CARE, RESEARCH | EU_CONSENT, "permit"),
    (
        "research without consent or permit",
        EU_CARE,
        RESEARCH | {"legal_basis": ["GDPR:6.1.e", "GDPR:9.2.j"], "action": "compute"},
        ["ehds/no-permit"],
    ),
    (
        "research by data permit, results only",
        EU_CARE,
        RESEARCH
        | {"legal_basis": ["EHDS:68", "GDPR:6.1.e", "GDPR:9.2.j"], "action": "compute", "approvals": ["data-permit"]},
        "permit",
    ),
    (
        "marketing with explicit consent",
        EU_CARE,
        EU_CONSENT | {"purpose": "HMARKT", "requester_roles": ["administrator"]},
        ["ehds/no-permit"],
    ),
    ("an emergency", EU_CARE, EU_EMERGENCY, "permit"),
    ("an emergency, restricted data", EU_CARE, EU_EMERGENCY | {"restricted": True}, "permit"),
    (
        "an emergency for a payer",
        EU_CARE,
        EU_EMERGENCY | {"member_roles": ["payer"]},
        ["house/emergency-licence", "house/payer-pays"],
    ),
    (
        "an emergency that copies",
        EU_CARE,
        EU_EMERGENCY | {"action": "copy"},
        ["ehds/no-permit", "gdpr/no-permit", "house/emergency-purpose"],
    ),
    ("restricted data for care", EU_CARE, {"restricted": True}, ["ehds/8", "gdpr/18"]),
    ("an objection to a public task", EU_CARE, {"objected": True}, ["gdpr/21-1"]),
    ("a decision by a machine", EU_CARE, {"action": "decide"}, ["gdpr/22"]),
    (
        "abroad without safeguards",
        EU_CARE,
        ABROAD | {"legal_basis": ["GDPR:6.1.e", "GDPR:9.2.h", "HIPAA:164.506.c.2"]},
        ["gdpr/44"],
    ),
    (
        "abroad with explicit consent",
        EU_CARE,
        ABROAD | {"explicit": True, "legal_basis": ["GDPR:49.1.a", "GDPR:6.1.a", "GDPR:9.2.a", "HIPAA:164.508"]},
        "permit",
    ),
    (
        "abroad, the other law not cited",
        EU_CARE,
        ABROAD | {"explicit": True, "legal_basis": ["GDPR:49.1.a", "GDPR:6.1.a", "GDPR:9.2.a"]},
        ["hipaa/no-permit"],
    ),
    ("a country without a set", EU_CARE, {"grantee_jurisdiction": "CH"}, ["policy/no-set"]),
    (
        "an unknown purpose",
        EU_CARE,
        {"purpose": "WHATEVER"},
        ["ehds/no-permit", "gdpr/no-permit", "house/no-permit", "iso22600/no-permit"],
    ),
    ("a doctor treats, United States", US_CARE, {}, "permit"),
    ("a doctor treats and asks for everything, United States", US_CARE, {"entire": True}, "permit"),
    ("a payer pays, United States", US_CARE, PAYER | {"legal_basis": ["HIPAA:164.506.c.3"]}, "permit"),
    (
        "a payer asks for everything, United States",
        US_CARE,
        PAYER | {"legal_basis": ["HIPAA:164.506.c.3"], "entire": True},
        ["hipaa/502-b"],
    ),
    (
        "research on an authorization, United States",
        US_CARE,
        RESEARCH | {"legal_basis": ["HIPAA:164.508"], "explicit": True},
        "permit",
    ),
    (
        "research without one, United States",
        US_CARE,
        RESEARCH | {"legal_basis": ["HIPAA:164.508"]},
        ["hipaa/no-permit"],
    ),
    (
        "restricted for payment, United States",
        US_CARE,
        PAYER | {"legal_basis": ["HIPAA:164.506.c.3"], "restricted": True},
        ["hipaa/522-a"],
    ),
    ("an emergency, United States", US_CARE, {"purpose": "ETREAT", "break_glass": True}, "permit"),
    (
        "the individual asks, United States",
        US_CARE,
        {"purpose": "PATRQT", "legal_basis": ["HIPAA:164.524"], "action": "copy"},
        "permit",
    ),
    ("a grant for care", SETS["gdpr"].grant, {}, "permit"),
    ("a grant for care abroad", SETS["gdpr"].grant, ABROAD, ["gdpr/49-1-a-grant"]),
    ("an explicit grant for care abroad", SETS["gdpr"].grant, ABROAD | {"explicit": True}, "permit"),
    ("a grant for research", SETS["gdpr"].grant, {"purpose": "HRESCH"}, ["gdpr/9-2-a-grant"]),
    ("an explicit grant for research", SETS["gdpr"].grant, {"purpose": "HRESCH", "explicit": True}, "permit"),
    ("a grant for eleven years", SETS["gdpr"].grant, {"ends": 4018 * 86400}, ["house/long-care"]),
    ("a grant to a custodian", SETS["gdpr"].grant, {"member_roles": ["custodian"]}, ["house/keepers-get-no-grant"]),
]


@pytest.mark.parametrize(
    ("base", "changes", "expected"), [row[1:] for row in EVERYDAY], ids=[row[0] for row in EVERYDAY]
)
def test_everyday_questions(
    world: View, base: AccessRequest | GrantRequest, changes: dict[str, Any], expected: list[str] | str
) -> None:
    decision = decide(world, changed(base, changes))
    if expected == "permit":
        assert decision.permit, decision.policies
        assert all(not cited.endswith("/no-permit") for cited in decision.policies)
    else:
        assert not decision.permit
        assert decision.policies == expected


def test_a_set_survives_the_trip_through_a_message() -> None:
    for rules in SETS.values():
        assert msgspec.convert(msgspec.to_builtins(rules), PolicySet) == rules
