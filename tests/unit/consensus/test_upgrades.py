"""Rules that a program does not have: it stops before their block, says so, and a newer program goes on from there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from caremesh.consensus.replica import Replica
from caremesh.contracts import Contracts
from caremesh.contracts.network import queries
from caremesh.contracts.network.messages import CancelUpgrade, EndBrake, Upgrade
from caremesh.contracts.network.state import Rules
from caremesh.errors import Unavailable
from caremesh.ledger.application import UnknownRules
from caremesh.ledger.state import View
from caremesh.testing.newer import MARK, migration
from tests.support.comet_network import signed
from tests.support.converting import Converting
from tests.support.world import Actor

HEIGHT = 4
NEWER = {2: migration}


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Converting]:
    made = Converting(tmp_path / "operator")
    made.engine.make_block()
    yield made
    made.engine.close()


def quorum(case: Converting) -> list[Actor]:
    return case.world.custodians[:2]


def decided(case: Converting) -> None:
    assert case.send(Upgrade(version=2, height=HEIGHT), *quorum(case)).code == ""


@pytest.mark.promise("P7")
def test_a_program_stops_before_the_block_whose_rules_it_lacks_and_a_newer_one_goes_on(case: Converting) -> None:
    decided(case)
    assert not case.engine.machine.is_outdated
    case.engine.make_block()
    head = case.engine.machine.head
    assert head.height == HEIGHT - 1
    assert case.engine.machine.is_outdated
    with pytest.raises(UnknownRules, match=r"ledger\.16.*height 4"):
        case.engine.make_block()
    with pytest.raises(UnknownRules, match=r"ledger\.16"):
        case.engine.submit(signed(EndBrake(), *quorum(case)))
    assert not case.engine.status().running, "it is not ready"
    assert not case.engine.stopped, "and nothing would be better in a process of its own: it goes on being read"
    assert case.engine.machine.head == head
    assert queries.rules(case.engine.reader()) == Rules(version=1, following=2, height=HEIGHT)

    case.engine.close()
    case.engine = case.opened(Contracts(NEWER))
    assert case.engine.submit(signed(EndBrake(), *quorum(case))).code == "network.04"
    assert case.engine.submit(signed(CancelUpgrade(), *quorum(case))).code == "network.09"
    assert case.engine.reader().get(MARK) is None, "who refuses has migrated nothing"
    assert case.engine.submit(signed(Upgrade(version=3, height=100), *quorum(case))).code == ""
    assert case.engine.reader().get(MARK) == b"\x01"
    assert case.engine.status().running


@pytest.mark.promise("P7")
def test_an_old_program_does_not_go_on_under_newer_rules(case: Converting) -> None:
    """Also when it comes back after the migration, and where a later upgrade is decided."""
    decided(case)
    case.engine.close()
    case.engine = case.opened(Contracts(NEWER))
    while case.engine.machine.head.height < HEIGHT:
        case.engine.make_block()
    assert case.engine.submit(signed(Upgrade(version=3, height=100), *quorum(case))).code == ""
    assert case.engine.machine.params.unknown_from == 100
    assert not case.engine.machine.is_outdated
    case.engine.close()
    case.engine = case.opened()
    assert case.engine.machine.params.unknown_from == 1
    with pytest.raises(UnknownRules):
        case.engine.make_block()


@pytest.mark.promise("P7")
def test_a_follower_without_the_rules_waits_and_is_not_ready(case: Converting, tmp_path: Path) -> None:
    decided(case)
    case.engine.close()
    case.engine = case.opened(Contracts(NEWER))
    assert case.engine.submit(signed(EndBrake(), *quorum(case))).code == "network.04"
    done = case.engine.submit(signed(Upgrade(version=3, height=100), *quorum(case)))
    with contextlib.closing(case.replica(tmp_path / "old")) as old:
        for block in case.engine.blocks(1):
            if block.signed.own().height < HEIGHT:
                assert old.status().running
                old.apply(block)
        assert not old.status().running
        assert not old.stopped
        for _ in range(2):
            with pytest.raises(UnknownRules):
                old.apply(case.engine.block(HEIGHT))
    with contextlib.closing(case.replica(tmp_path / "old", Contracts(NEWER))) as new:
        assert isinstance(new, Replica)
        for height in range(HEIGHT, done.height + 1):
            new.apply(case.engine.block(height))
        assert new.status().running
        assert new.reader().get(MARK) == b"\x01"
        assert new.machine.head.app_hash == case.engine.machine.head.app_hash


def test_a_rehearsal_says_what_would_change_and_changes_nothing(case: Converting) -> None:
    decided(case)
    case.engine.close()
    case.engine = case.opened(Contracts(NEWER))
    machine, head = case.engine.machine, case.engine.machine.head
    root, changes = machine.rehearse(lambda view: Contracts(NEWER).migrate(view, 2))
    assert sorted(key for key, _, _ in changes) == [b"network/rules/", MARK]
    assert root != head.app_hash
    assert (machine.head, machine.reader().get(MARK)) == (head, None)
    assert machine.rehearse(lambda view: Contracts(NEWER).migrate(view, 2))[0] == root
    assert machine.rehearse(lambda view: None)[0] == head.app_hash  # noqa: ARG005 - nothing is done to it
    with pytest.raises(Unavailable, match=r"network\.10"):
        Contracts().migrate(View(case.engine.reader()), 2)
