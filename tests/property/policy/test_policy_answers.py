"""Whatever is asked: never a permit from what is missing, the same answer in every process, and no surprise."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caremesh.contracts.policy.acceptance import changed
from caremesh.contracts.policy.engine import LEDGER, question
from caremesh.contracts.policy.library import shipped
from caremesh.contracts.policy.logic import adopt_at_genesis
from caremesh.contracts.policy.messages import PolicySet
from caremesh.contracts.policy.queries import decide, explain
from caremesh.contracts.policy.request import AccessRequest, GrantRequest
from caremesh.contracts.policy.vocabulary import (
    ACTIONS,
    APPROVALS,
    LEGAL_BASES,
    MEMBER_ROLES,
    PURPOSES,
    REQUESTER_ROLES,
)
from caremesh.ledger.state import View


class Nothing:
    """A reader without state."""

    def get(self, key: bytes) -> bytes | None:  # noqa: ARG002 - the protocol's name
        return None


SETS = shipped()
WORLD = View(Nothing())
adopt_at_genesis(WORLD, SETS)
PARSED = {rules.set: LEDGER.parse(rules.text) for rules in SETS}

places = st.sampled_from(["DE", "FR", "US", "NO", "CH"])
times = st.integers(0, 2**40 - 1)
shared = {
    "height": st.integers(0, 2**53 - 1),
    "at": times,
    "action": st.sampled_from([*ACTIONS, "erase"]),
    "purpose": st.sampled_from([*PURPOSES, "UNKNOWN"]),
    "member_roles": st.lists(st.sampled_from([*MEMBER_ROLES, "king"]), max_size=3),
    "source_jurisdiction": places,
    "grantee_jurisdiction": places,
    "explicit": st.booleans(),
    "entire": st.booleans(),
    "approvals": st.lists(st.sampled_from(APPROVALS), max_size=2),
    "starts": times,
    "ends": times,
}
grants = st.builds(GrantRequest, **shared)
accesses = st.builds(
    AccessRequest,
    **shared,
    legal_basis=st.lists(st.sampled_from(LEGAL_BASES), max_size=4),
    requester_roles=st.lists(st.sampled_from(REQUESTER_ROLES), max_size=2),
    asserted=st.booleans(),
    licensed=st.booleans(),
    break_glass=st.booleans(),
    restricted=st.booleans(),
    objected=st.booleans(),
)


@pytest.mark.parametrize("rules", SETS, ids=[rules.set for rules in SETS])
def test_no_request_with_an_attribute_left_out_is_permitted(rules: PolicySet) -> None:
    """Every test request of every set, every attribute in turn."""
    parsed = PARSED[rules.set]
    asked = 0
    for test in rules.tests:
        base = rules.access if test.ask == "access" else rules.grant
        for changes in (test.flips, test.leaves):
            whole = question(changed(base, changes))
            for attribute in whole.attributes:
                rest = {name: value for name, value in whole.attributes.items() if name != attribute}
                assert parsed.evaluate(whole._replace(attributes=rest)).reasons == ("no-permit",)
                asked += 1
    assert asked > 100


@given(grants | accesses)
@settings(max_examples=300, deadline=None)
def test_a_decision_is_the_conjunction_of_the_sets_and_can_be_explained(request: GrantRequest | AccessRequest) -> None:
    decision = decide(WORLD, request)
    assert decision.policies == sorted(decision.policies)
    assert decision.policies
    places = (request.source_jurisdiction, request.grantee_jurisdiction)
    asked = [
        rules for rules in SETS if not rules.jurisdictions or any(place in rules.jurisdictions for place in places)
    ]
    verdicts = {rules.set: PARSED[rules.set].evaluate(question(request)) for rules in asked}
    lawless = any(all(place not in rules.jurisdictions for rules in SETS) for place in places)
    assert decision.permit == (not lawless and all(verdict.permit for verdict in verdicts.values()))
    explained = explain(WORLD, decision.policies, request.height)
    assert [each.policy for each in explained] == decision.policies
    assert all((each.effect == "permit") == decision.permit for each in explained)


@given(accesses, st.sampled_from(["restricted", "entire"]))
@settings(max_examples=200, deadline=None)
def test_more_restriction_never_opens(request: AccessRequest, less: str) -> None:
    """What is denied stays denied when the subject restricts, or when more is asked for."""
    if not decide(WORLD, request).permit:
        assert not decide(WORLD, msgspec.structs.replace(request, **{less: True})).permit


SCRIPT = """
import json, sys
from caremesh.contracts.policy.acceptance import changed
from caremesh.contracts.policy.library import shipped
from caremesh.contracts.policy.logic import adopt_at_genesis
from caremesh.contracts.policy.messages import PolicySet
from caremesh.contracts.policy.queries import decide
from caremesh.crypto.hashes import sha256
from caremesh.ledger.state import View
class Nothing:
    def get(self, key): return None
world = View(Nothing())
adopt_at_genesis(world, shipped())
answers = []
for rules in shipped():
    for test in rules.tests:
        base = rules.access if test.ask == "access" else rules.grant
        for changes in (test.flips, test.leaves):
            decision = decide(world, changed(base, changes))
            answers.append([decision.permit, decision.policies])
state = [[key.hex(), sha256(now).hex()] for key, _, now in world.changes()]
json.dump([answers, state], sys.stdout)
"""


@pytest.mark.slow
@pytest.mark.promise("P7")
def test_processes_with_other_hash_seeds_answer_alike() -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, env={**os.environ, "PYTHONHASHSEED": str(seed)}
        )
        for seed in range(4)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in running]
    assert all(process.returncode == 0 for process in running)
    assert len(json.loads(outputs[0])[0]) > 200
    assert all(output == outputs[0] for output in outputs)
