"""Rules about kinds of records: every policy decides something alone, and the ledger's sets cannot see a category."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from caremesh.contracts.policy import errors
from caremesh.contracts.policy.categories import SHIPPED, CategoryRequest, CategorySet, decide, question, shipped
from caremesh.contracts.policy.engine import LEDGER
from caremesh.errors import Refused

SETS = {each.name: each for each in shipped()}
POLICIES = [(each, policy) for each in SETS.values() for policy in each.parsed.texts]
US = SETS["us-part2"].request


def changed(base: CategoryRequest, changes: dict[str, Any]) -> CategoryRequest:
    assert changes.keys() <= set(base.__struct_fields__)
    return msgspec.structs.replace(base, **changes)


@pytest.mark.parametrize(("rules", "policy"), POLICIES, ids=[f"{each.name}/{policy}" for each, policy in POLICIES])
def test_taking_a_category_policy_out_flips_one_answer_and_leaves_another(rules: CategorySet, policy: str) -> None:
    tests = [test for test in rules.tests if test.policy == policy]
    assert tests
    without = rules.parsed.without(policy)
    for test in tests:
        flips = question(changed(rules.request, test.flips))
        leaves = question(changed(rules.request, test.leaves))
        verdict = rules.parsed.evaluate(flips)
        assert verdict.reasons == (policy,)
        assert verdict.permit == (rules.parsed.texts[policy].effect == "permit")
        assert without.evaluate(flips).permit != verdict.permit
        assert without.evaluate(leaves) == rules.parsed.evaluate(leaves)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"category": "substance-use"}, ["us-part2/no-permit"]),
        ({"category": "substance-use", "explicit": True}, True),
        ({"category": "substance-use", "source_jurisdiction": "DE", "grantee_jurisdiction": "DE"}, True),
        ({"category": "substance-use", "source_jurisdiction": "DE"}, ["us-part2/no-permit"]),
        ({"category": "mental-health", "psychotherapy_notes": True}, ["us-notes/no-permit"]),
        (
            {"category": "genetics", "member_roles": ["payer"], "purpose": "ENROLLM", "explicit": True},
            ["us-gina/502-a-5-i"],
        ),
        ({"category": "hiv", "member_roles": ["payer"], "purpose": "CLMATTCH"}, ["sensitive/sensitive-explicit"]),
        ({"category": "secret"}, [f"{name}/no-permit" for name in sorted(SHIPPED)]),
    ],
)
def test_everyday_questions_about_kinds_of_records(changes: dict[str, Any], expected: bool | list[str]) -> None:
    decision = decide(list(SETS.values()), changed(US, changes))
    assert decision.permit == (expected is True)
    assert expected is True or decision.policies == expected


def test_without_any_set_nothing_is_permitted() -> None:
    assert decide([], US).policies == ["policy/no-set"]


def test_a_category_left_out_is_never_permitted() -> None:
    for rules in SETS.values():
        whole = question(rules.request)
        for attribute in whole.attributes:
            rest = {name: value for name, value in whole.attributes.items() if name != attribute}
            assert rules.parsed.evaluate(whole._replace(attributes=rest)).reasons == ("no-permit",)


def test_a_set_for_the_ledger_cannot_name_a_category() -> None:
    text = (
        '@id("p") @legal("l") @sentence("s.") permit (principal, action in Action::"access", resource) '
        'when { context.category == Category::"hiv" };'
    )
    with pytest.raises(Refused) as caught:
        LEDGER.parse(text)
    assert caught.value.error == errors.NOT_VALID
