"""What decided, in words: of the whole answer, of each set alone, and of what nobody understands."""

from typing import Any

import msgspec
import pytest

from caremesh.contracts.policy import queries as policies
from caremesh.contracts.policy.library import shipped
from caremesh.contracts.policy.messages import Adopt
from caremesh.contracts.policy.queries import Explanation, SetAnswer
from caremesh.contracts.policy.request import AccessRequest, Decision
from caremesh.contracts.policy.words import in_words, set_in_words
from caremesh.errors import Refused
from tests.support.world import World

[HIPAA] = shipped("hipaa")
TREATS = Explanation(
    policy="hipaa/506-c-2",
    effect="permit",
    legal="45 CFR 164.506(c)(2)",
    sentence="A health care provider treats the individual.",
)
NOTHING = Explanation(policy="hipaa/no-permit", effect="none", legal="", sentence="Nothing in this set allows it.")


def request(world: World, **changes: Any) -> AccessRequest:
    return msgspec.structs.replace(HIPAA.access, height=world.height, **changes)


def explained(world: World, *cited: str) -> list[Explanation]:
    return policies.explain(world.view, list(cited), world.height)


def test_citations_in_words(world: World) -> None:
    assert explained(world, "hipaa/506-c-2", "hipaa/no-permit") == [TREATS, NOTHING]
    assert explained(world, "policy/no-set") == [
        Explanation(
            policy="policy/no-set",
            effect="none",
            legal="",
            sentence="One of the two places has no regulations in force here, so nothing is permitted.",
        )
    ]
    [forbids] = explained(world, "house/asserted-decision")
    assert (forbids.effect, forbids.legal) == ("forbid", "House rules 2")


@pytest.mark.parametrize("cited", ["nobody/p", "hipaa/nobody", "hipaa/506-c-2/more"])
def test_a_citation_that_nobody_made_is_named(world: World, cited: str) -> None:
    with pytest.raises(Refused, match=r"policy\.16") as caught:
        explained(world, cited)
    assert caught.value.place == cited


def test_each_set_alone(world: World) -> None:
    answers = policies.by_set(world.view, request(world, purpose="HMARKT"))
    assert [(answer.set, answer.version, answer.permit) for answer in answers] == [
        ("hipaa", 0, False), ("house", 0, True), ("iso22600", 0, False),
    ]  # fmt: skip
    assert answers[0] == SetAnswer(set="hipaa", version=0, permit=False, reasons=[NOTHING])
    assert policies.by_set(world.view, request(world))[0].reasons == [TREATS]
    assert policies.by_set(world.view, request(world, source_jurisdiction="AQ")) == []
    assert policies.decide(world.view, request(world, source_jurisdiction="AQ")) == Decision(
        permit=False, policies=["policy/no-set"]
    )


def test_a_later_version_answers_under_its_number(world: World) -> None:
    world.must(
        Adopt(msgspec.structs.replace(HIPAA, jurisdictions=["CA", "US"]), world.height + 1), *world.custodians[:2]
    )
    assert policies.by_set(world.view, request(world))[0].version == 1


def test_lines_for_people() -> None:
    permitted, denied = Decision(permit=True, policies=[]), Decision(permit=False, policies=[])
    line = "hipaa/506-c-2: A health care provider treats the individual. [45 CFR 164.506(c)(2)]"
    assert in_words(permitted, [TREATS]) == ["Permitted. Every set in force allows it:", line]
    assert in_words(denied, [NOTHING]) == [
        "Denied. What stands against it:",
        "hipaa/no-permit: Nothing in this set allows it.",
    ]
    answer = SetAnswer(set="hipaa", version=3, permit=True, reasons=[TREATS])
    assert set_in_words(answer) == ["hipaa (version 3) permits it:", line]
    assert set_in_words(msgspec.structs.replace(answer, permit=False))[0] == "hipaa (version 3) does not permit it:"


def test_what_no_policy_understands(world: World) -> None:
    assert policies.not_understood(request(world)) == []
    strange = request(world, purpose="NOSUCH", member_roles=["provider", "king"], approvals=["a-friend"])
    assert policies.not_understood(strange) == ["approvals", "member_roles", "purpose"]
    assert policies.not_understood(request(world, action="steal")) == ["action"]
    assert policies.not_understood(request(world, at=True)) == ["at"]
