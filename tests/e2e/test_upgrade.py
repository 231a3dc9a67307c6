"""Rules of version 2 count from a block on: nodes whose program has them go on, one that was left behind says so.

The old program is the one that is installed; the newer one is ``caremesh.testing.newer``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from caremesh.consensus.compaction import open_for_reading
from caremesh.contracts import Contracts
from caremesh.errors import CareMeshError, Refused
from caremesh.ledger.past import StateAt
from caremesh.node.decisions import Proposal
from caremesh.node.diagnosis import Finding
from caremesh.node.mesh import OPERATOR
from caremesh.node.network_status import look
from caremesh.node.node_diagnosis import diagnose_node
from caremesh.node.proposals import ToUpgrade
from caremesh.node.rehearsing import rehearse
from caremesh.node.running import LEDGER
from caremesh.testing.newer import MARK, MODULE, migration
from caremesh.testing.nodes import CHAIN, Network, NodeProcess
from caremesh.types import DAY_S, Height
from tests.support.comet_engine import now, short_folder
from tools.cometbft import cometbft

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

NEWER = (sys.executable, "-m", MODULE, "node")
LEFT_BEHIND = "practice"
WITHIN_S = 180
AHEAD = 30
"""Blocks, of two seconds: as long as it takes to decide on a machine that has much else to do."""


@contextmanager
def network(engine: str, behind: str = LEFT_BEHIND) -> Iterator[Network]:
    with short_folder() as folder, Network(folder, cometbft=cometbft() if engine == "cometbft" else None) as made:
        for name, node in made.nodes.items():
            if name != behind:
                node.program = NEWER
        made.start()
        yield made


def decide(made: Network, height: Height) -> None:
    """As many authorities as it takes, at their own nodes."""
    nodes = [made.nodes[OPERATOR], *(node for name, node in made.nodes.items() if name != OPERATOR)]
    decision = nodes[0].desk.propose(Proposal(ToUpgrade(2, height), []))
    for node in nodes:
        if node.keys.profile.label in decision.missing:
            decision = node.desk.sign_decision(decision.file)
    assert nodes[0].desk.submit_decision([decision.file]).height is not None


def height_of(node: NodeProcess) -> Height:
    try:
        return node.desk.where().height
    except CareMeshError:
        return 0


def mark_of(node: NodeProcess) -> bytes | None:
    store = open_for_reading(node.home / LEDGER, CHAIN)
    try:
        return StateAt(store).get(MARK)
    finally:
        store.close()


def rules_of(node: NodeProcess) -> Finding:
    return next(found for found in diagnose_node(node.home) if found.check == "rules")


@pytest.mark.promise("P7")
@pytest.mark.promise("P10")
@pytest.mark.parametrize("engine", ["embedded", "cometbft"])
def test_a_node_left_behind_stops_says_so_and_goes_on_with_the_next_program(engine: str) -> None:
    with network(engine) as made:
        first, old = made.nodes[OPERATOR], made.nodes[LEFT_BEHIND]
        tried = rehearse(first.home, Contracts({2: migration}))
        assert (tried.version, tried.at, tried.added) == (2, None, 2)
        assert tried.root_before != tried.root_after
        with pytest.raises(Refused, match=r"node\.33"):
            rehearse(old.home)
        assert not list(old.home.glob(".rehearsal-*"))

        height = first.desk.where().height + AHEAD
        decide(made, height)
        old.wait(lambda: not rules_of(old).ok or height_of(old) >= height, WITHIN_S)
        assert "version 2 counts from block" in rules_of(old).found

        first.wait(lambda: height_of(first) > height, WITHIN_S)
        doctor = first.keys.practitioner(CHAIN)
        first.desk.appoint(doctor.did, ["physician"], now() + 300 * DAY_S)
        first.wait(lambda: mark_of(first) is not None, WITHIN_S)
        old.wait(lambda: height_of(old) == height - 1 and not old.ready(), WITHIN_S)
        assert look(old.home).rules == 1, "it is read yet, and says what it is"
        assert mark_of(old) is None
        assert old.parts()["ledger"]["starts"] == 1, "it does not begin again and again"

        old.stop()
        old.program = NEWER
        old.start()
        old.wait(lambda: height_of(old) > height and old.ready(), WITHIN_S)
        old.wait(lambda: mark_of(old) is not None, WITHIN_S)
        assert look(old.home).rules == look(first.home).rules == 2
        assert rules_of(old).found.startswith("version 2 counts"), "says the program that is installed here"


@pytest.mark.promise("P7")
@pytest.mark.promise("P10")
def test_an_operator_left_behind_makes_no_block_says_so_and_goes_on_with_the_next_program() -> None:
    """The only one who orders blocks: all others wait for it, and nobody goes on without it."""
    with network("embedded", OPERATOR) as made:
        old, first = made.nodes[OPERATOR], made.nodes["hospital"]
        height = old.desk.where().height + AHEAD
        decide(made, height)
        old.wait(lambda: height_of(old) == height - 1 and not old.ready(), WITHIN_S)
        assert "version 2 counts from block" in rules_of(old).found
        assert not rules_of(old).ok
        doctor = first.keys.practitioner(CHAIN)
        for node in (old, first):
            with pytest.raises(CareMeshError) as refused:
                node.desk.appoint(doctor.did, ["physician"], now() + 300 * DAY_S)
            assert refused.value.code == "ledger.16", "whoever is asked says what is missing"
        first.wait(lambda: height_of(first) == height - 1, WITHIN_S)
        time.sleep(10)  # five blocks' time, in which none must come
        assert {height_of(node) for node in made.nodes.values()} == {height - 1}
        assert look(old.home).rules == look(first.home).rules == 1
        assert look(old.home).upgrade == height
        assert mark_of(old) is None
        assert old.parts()["ledger"]["starts"] == 1, "it does not begin again and again"

        old.stop()
        old.program = NEWER
        old.start()
        for node in (old, first):
            node.wait(lambda node=node: height_of(node) > height and node.ready(), WITHIN_S)
        first.desk.appoint(doctor.did, ["physician"], now() + 300 * DAY_S)
        for node in (old, first):
            node.wait(lambda node=node: mark_of(node) is not None, WITHIN_S)
            assert look(node.home).rules == 2
