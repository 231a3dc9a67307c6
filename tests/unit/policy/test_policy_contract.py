"""Adopting, retiring and explaining: what counts at which height, and who may say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from caremesh.contracts.policy import errors, queries
from caremesh.contracts.policy.acceptance import PolicyTest, changed
from caremesh.contracts.policy.engine import LEDGER, Handles
from caremesh.contracts.policy.library import shipped
from caremesh.contracts.policy.logic import adopt, adopt_at_genesis, retire
from caremesh.contracts.policy.messages import Adopt, PolicySet, Retire
from caremesh.contracts.policy.queries import (
    NO_SET,
    action_is_known,
    decide,
    explain,
    in_force,
    purpose_is_known,
    text_of,
    versions,
)
from caremesh.errors import ErrorCode, Refused
from caremesh.ledger.application import Context, Event
from caremesh.ledger.state import Reader, View
from caremesh.ledger.transactions import Signer

KEY = bytes([0xED, 1]) + bytes(32)
HOUSE = shipped("house")[0]


class Nothing:
    """A reader without state."""

    def get(self, key: bytes) -> bytes | None:  # noqa: ARG002 - the protocol's name
        return None


class Authorities:
    """A quorum of one: whoever signs with KEY."""

    def is_quorum(self, reader: Reader, signers: Sequence[Signer], /) -> bool:  # noqa: ARG002 - the protocol's name
        return any(signer.key == KEY for signer in signers)


def rules(condition: str = "true", name: str = "law", jurisdictions: Sequence[str] = ("DE",)) -> PolicySet:
    """A set of one policy that reads licensed requests only, told apart by a condition that holds."""
    text = (
        f'@id("p") @legal("§ 1") @sentence("Licensed ones, when {condition}.") '
        f'permit (principal, action in Action::"access", resource) when {{ context.licensed && {condition} }};'
    )
    return PolicySet(
        set=name,
        jurisdictions=list(jurisdictions),
        text=text,
        access=HOUSE.access,
        grant=HOUSE.grant,
        tests=[PolicyTest("p", "access", {}, {"licensed": False})],
    )


class World:
    """A state, the height it is at, and what has been told."""

    def __init__(self) -> None:
        self.view = View(Nothing())
        self.height = 10
        self.told: list[Event] = []
        self.key = KEY

    def send(self, message: Adopt | Retire) -> None:
        """One message, atomic as in a transaction."""
        ctx = Context(
            chain="test",
            height=self.height,
            time=0,
            tx_id=bytes(36),
            signers=[Signer(key=self.key)],
            sponsor="did:caremesh:test:" + "a" * 32,
            alone=True,
            state=self.view,
            events=self.told,
        )
        mark = self.view.checkpoint()
        try:
            if isinstance(message, Adopt):
                adopt(ctx, message, Authorities())
            else:
                retire(ctx, message, Authorities())
        except Refused:
            self.view.rollback(mark)
            raise

    def refuses(self, message: Adopt | Retire) -> ErrorCode:
        before = self.view.changes()
        with pytest.raises(Refused) as caught:
            self.send(message)
        assert self.view.changes() == before
        return caught.value.error

    def counts(self, height: int) -> list[tuple[str, int]]:
        return [(each.set, each.version) for each in in_force(self.view, height)]

    def decide(self, height: int, **changes: Any) -> list[str]:
        return decide(self.view, changed(HOUSE.access, {"height": height, **changes})).policies


@pytest.fixture
def world() -> World:
    return World()


def test_a_version_counts_from_its_height_until_the_next(world: World) -> None:
    world.send(Adopt(rules=rules("true"), effective=20))
    world.height = 11
    world.send(Adopt(rules=rules("context.at > 1"), effective=30))
    assert [world.counts(h) for h in (11, 19, 20, 29, 30, 99)] == [[], [], [("law", 0)], [("law", 0)]] + [
        [("law", 1)]
    ] * 2
    assert world.decide(19) == [NO_SET]
    assert world.decide(20) == ["law/p"]
    assert [(event.type, event.attributes) for event in world.told] == [
        ("policy/adopted", {"set": "law", "version": 0, "effective": 20}),
        ("policy/adopted", {"set": "law", "version": 1, "effective": 30}),
    ]


def test_an_earlier_adoption_takes_the_place_of_one_that_waits(world: World) -> None:
    world.send(Adopt(rules=rules("context.at > 1"), effective=50))
    world.send(Adopt(rules=rules("context.at > 2"), effective=40))
    assert [world.counts(h) for h in (39, 40, 50, 60)] == [[], [("law", 1)], [("law", 1)], [("law", 1)]]
    assert [(each.starts, each.ends) for each in versions(world.view, "law")] == [(50, 50), (40, None)]


def test_retiring_ends_what_counts_and_what_waits(world: World) -> None:
    world.send(Adopt(rules=rules("true"), effective=20))
    world.send(Adopt(rules=rules("context.at > 1"), effective=30))
    world.send(Retire(set="law", effective=25))
    assert [world.counts(h) for h in (24, 25, 30)] == [[("law", 0)], [], []]
    assert world.decide(25) == [NO_SET]
    assert world.told[-1].type == "policy/retired"
    assert world.refuses(Retire(set="law", effective=25)) == errors.NOT_IN_FORCE
    assert world.refuses(Retire(set="law", effective=26)) == errors.NOT_IN_FORCE
    world.send(Retire(set="law", effective=22))
    assert [world.counts(h) for h in (21, 22)] == [[("law", 0)], []]


def test_what_is_over_leaves_the_calendar_and_stays_in_the_record(world: World) -> None:
    world.send(Adopt(rules=rules("true"), effective=11))
    world.height = 20
    world.send(Adopt(rules=rules("context.at > 1"), effective=21))
    world.height = 30
    world.send(Adopt(rules=rules("context.at > 2"), effective=31))
    assert world.counts(12) == []
    assert [(each.starts, each.ends) for each in versions(world.view, "law")] == [(11, 21), (21, 31), (31, None)]
    assert "context.at > 1" in text_of(world.view, versions(world.view, "law")[1].text)


def test_only_a_quorum_changes_the_law(world: World) -> None:
    world.key = bytes([0xED, 1]) + bytes([1]) * 32
    assert world.refuses(Adopt(rules=rules(), effective=20)) == errors.NOT_AUTHORISED
    world.key = KEY
    world.send(Adopt(rules=rules(), effective=20))
    world.key = bytes([0xED, 1]) + bytes([1]) * 32
    assert world.refuses(Retire(set="law", effective=30)) == errors.NOT_AUTHORISED


def test_the_law_never_changes_within_its_block(world: World) -> None:
    assert world.refuses(Adopt(rules=rules(), effective=10)) == errors.TOO_EARLY
    world.send(Adopt(rules=rules(), effective=11))
    assert world.refuses(Retire(set="law", effective=10)) == errors.TOO_EARLY


def test_what_an_adoption_is_refused_for(world: World) -> None:
    assert world.refuses(Retire(set="law", effective=20)) == errors.NOT_IN_FORCE
    assert world.refuses(Adopt(rules=rules(jurisdictions=["FR", "DE"]), effective=20)) == errors.BAD_JURISDICTION
    assert world.refuses(Adopt(rules=rules(jurisdictions=["DE", "DE"]), effective=20)) == errors.BAD_JURISDICTION
    untested = msgspec.structs.replace(rules(), tests=[])
    assert world.refuses(Adopt(rules=untested, effective=20)) == errors.UNTESTED
    world.send(Adopt(rules=rules(), effective=20))
    assert world.refuses(Adopt(rules=rules(), effective=30)) == errors.SAME_TEXT
    world.send(Adopt(rules=rules(jurisdictions=["DE", "FR"]), effective=30))
    world.send(Retire(set="law", effective=40))
    world.send(Adopt(rules=rules(jurisdictions=["DE", "FR"]), effective=50))


def test_genesis_checks_like_any_adoption() -> None:
    view = View(Nothing())
    with pytest.raises(Refused) as caught:
        adopt_at_genesis(view, [msgspec.structs.replace(rules(), tests=[])])
    assert caught.value.error == errors.UNTESTED
    with pytest.raises(Refused) as caught:
        adopt_at_genesis(view, [rules(jurisdictions=["FR", "DE"])])
    assert caught.value.error == errors.BAD_JURISDICTION
    with pytest.raises(Refused) as caught:
        adopt_at_genesis(View(Nothing()), [rules(), rules()])
    assert (caught.value.error, caught.value.place) == (errors.SAME_TEXT, "law")


def test_every_set_of_either_place_is_asked_and_all_must_permit(world: World) -> None:
    adopt_at_genesis(
        world.view,
        [rules(), rules("context.explicit == false", "french", ["FR"]), rules("context.at == 1000", "other", ["IT"]),
         rules("context.restricted == false", "everywhere", [])],
    )  # fmt: skip
    assert world.decide(1) == ["everywhere/p", "law/p"]
    assert world.decide(1, grantee_jurisdiction="FR") == ["everywhere/p", "french/p", "law/p"]
    assert world.decide(1, grantee_jurisdiction="FR", source_jurisdiction="FR") == ["everywhere/p", "french/p"]
    assert world.decide(1, grantee_jurisdiction="FR", explicit=True) == ["french/no-permit"]
    assert world.decide(1, source_jurisdiction="FR", explicit=True) == ["french/no-permit"]
    assert world.decide(1, restricted=True) == ["everywhere/no-permit"]
    assert world.decide(1, grantee_jurisdiction="CH") == [NO_SET]
    assert world.decide(1, source_jurisdiction="CH") == [NO_SET]


def test_citations_are_sorted_as_they_are_written(world: World) -> None:
    """Not as the sets are: a dash comes before the slash."""
    adopt_at_genesis(world.view, [rules(), rules("context.at > 1", "law-b")])
    assert world.decide(1) == ["law-b/p", "law/p"]


def test_a_ledger_without_sets_permits_nothing(world: World) -> None:
    assert world.decide(1) == [NO_SET]


def test_a_decision_is_explained_by_the_text_that_counted_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "_HANDLES", Handles(LEDGER))  # nothing is remembered: the ledger is asked
    world.send(Adopt(rules=rules("true"), effective=20))
    world.send(Adopt(rules=rules("context.at > 1"), effective=30))
    first, later = (explain(world.view, ["law/p"], height)[0] for height in (20, 30))
    assert (first.effect, first.legal, first.sentence) == ("permit", "§ 1", "Licensed ones, when true.")
    assert later.sentence == "Licensed ones, when context.at > 1."
    nothing, no_law = explain(world.view, ["law/no-permit", NO_SET], 20)
    assert (nothing.effect, nothing.sentence) == ("none", "Nothing in this set allows it.")
    assert no_law.effect == "none"
    for policy, height in (("law/p", 19), ("law/q", 20), ("other/p", 20), ("law", 20)):
        with pytest.raises(Refused) as caught:
            explain(world.view, [policy], height)
        assert caught.value.error == errors.UNKNOWN_VERSION


def test_a_text_that_is_not_there_is_said_to_be_missing(world: World) -> None:
    with pytest.raises(Refused) as caught:
        text_of(world.view, bytes(32))
    assert caught.value.error == errors.UNKNOWN_VERSION


def test_what_the_vocabulary_knows() -> None:
    assert purpose_is_known("TREAT")
    assert not purpose_is_known("treat")
    assert action_is_known("read")
    assert not action_is_known("grant-read")
