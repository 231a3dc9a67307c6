"""A network that one member's node ordered goes over to validators of all five in the middle of the main job.

What was on the ledger stays, is proven, and verifies under the old chain; the patient's wallet notices nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from caremesh.cli.main import app
from caremesh.contracts.members.messages import SetEndpoints
from caremesh.errors import CareMeshError, Refused, WrongLedger
from caremesh.ledger.blocks import Header
from caremesh.ledger.comet import CometHeader
from caremesh.ledger.light import LightBlock
from caremesh.ledger.succession import following
from caremesh.node import catching_up, founding
from caremesh.node.mesh import OPERATOR
from caremesh.node.network_status import look
from caremesh.node.relay import signed_tx
from caremesh.node.running import LEDGER
from caremesh.testing.far_world import FarWorld, far
from caremesh.testing.main_job import MainJob, Step
from caremesh.testing.nodes import CHAIN, NodeProcess
from caremesh.types import Height
from tests.support.comet_engine import short_folder
from tools.cometbft import bent

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

AFTER_STEP = 5
"""The patient has shared; what was shared is read, audited and taken back after it."""
STEPS = 17
AHEAD = 30
"""Blocks, of two seconds: as long as it takes to decide on a machine that has much else to do."""
ASLEEP = "payer"
"""Is down while the others go over."""


class Conversion:
    """Done once, between two steps of the story."""

    def __init__(self) -> None:
        self.told: list[Step] = []
        self.world: FarWorld | None = None
        self.last: Height = 0
        self.old: LightBlock | None = None
        self.pending = b""
        self.checked = False

    def heard(self, step: Step) -> None:
        """The story is told a step at a time."""
        self.told.append(step)
        if len(self.told) == AFTER_STEP:
            self.convert()
        if len(self.told) == STEPS:
            self.check()

    def convert(self) -> None:
        """All five offer, the operator decides alone as it did before, and every node goes over by itself."""
        assert self.world is not None
        network = self.world.network
        self.old = self.world.light_block()
        operator = network.nodes[OPERATOR]
        offers = [str(node.home / "offer") for node in network.nodes.values()]
        for (name, node), offer in zip(network.nodes.items(), offers, strict=True):
            ran("offer", "--home", str(node.home), "--peers", network.places.peers(name), "--out", offer)
        network.nodes[ASLEEP].stop()
        self.last = operator.desk.where().height + AHEAD
        file = operator.home / "decision"
        said = ["--home", str(operator.home), "--height", str(self.last), "--out", str(file), *offers]
        assert ran("convert", *said)["missing"] == []
        home = network.nodes["hospital"].keys
        message = SetEndpoints(member=home.did, endpoints=["https://elsewhere.example:1"])
        self.pending = signed_tx(CHAIN, self.world.clock(), [home.requester], message)
        assert ran("submit", "--home", str(operator.home), str(file))["height"] is not None
        for name, node in network.nodes.items():
            if name != ASLEEP:
                node.wait(partial(_has_crossed, node), 180)
                node.wait(partial(self._is_over, node), 180)
        network.nodes[ASLEEP].start()
        for node in network.nodes.values():
            node.wait(partial(_has_crossed, node), 180)
            node.wait(partial(self._is_over, node), 180)

    def _is_over(self, node: NodeProcess) -> bool:
        return _height(node) > self.last

    def check(self) -> None:
        """The headers of both chains, what was signed for the old one, and what each node says of itself."""
        world = self.world
        assert world is not None
        assert self.old is not None
        network = world.network
        newest = world.light_block()
        header = newest.signed.content()
        assert isinstance(header, CometHeader)
        assert header.chain == following(CHAIN, self.last)
        assert len(newest.validators) == len(network.nodes)
        for node in network.nodes.values():
            known = founding.load(node.home)
            assert known is not None
            assert known.founded == network.founding, "the network is known by what it was"
            old = known.light_client(CHAIN).verify(self.old, world.clock())
            assert isinstance(old, Header)
            assert (old.chain, old.height <= self.last) == (CHAIN, True)
            assert known.light_client().verify(newest, world.clock()) == header
            with pytest.raises(WrongLedger, match=r"light\.06"):
                network.founding.light_client().verify(newest, world.clock())
            said = look(node.home)
            assert (said.chain, said.engine) == (CHAIN, "cometbft")
            assert [each.power for each in said.members] == [1] * len(network.nodes)
        with pytest.raises(Refused, match=r"ledger\.06"):
            world.subject_ledger().submit([self.pending])
        self._joins_again()
        self.checked = True

    def _joins_again(self) -> None:
        """Who lost its ledger and what proves the going over joins as anybody does, with the network file alone."""
        assert self.world is not None
        network = self.world.network
        node = network.nodes[ASLEEP]
        node.stop()
        proof = (node.home / founding.CROSSING).read_bytes()
        for name in (founding.CROSSING, founding.FILE):
            (node.home / name).unlink()
        shutil.rmtree(node.home / LEDGER)
        for each in (node.home / "cometbft" / "data").iterdir():
            if each.is_dir():
                shutil.rmtree(each)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(catching_up, "time", SimpleNamespace(time=self.world.clock))  # that of the story
            said = ran("join", "--home", str(node.home), str(network.nodes[OPERATOR].home / founding.FILE))
        assert (said["chain"], said["engine"]) == (following(CHAIN, self.last), "cometbft")
        assert (node.home / founding.CROSSING).read_bytes() == proof
        node.start()
        node.wait(partial(_has_crossed, node), 180)
        node.wait(partial(self._is_over, node), 180)


@pytest.mark.promise("P4")
@pytest.mark.promise("P10")
def test_the_main_job_goes_on_over_a_conversion() -> None:
    done = Conversion()

    @contextmanager
    def world(folder: Path) -> Iterator[FarWorld]:
        with far(folder, later=bent()) as made:
            done.world = made
            yield made

    with short_folder() as folder:
        story = MainJob(folder, done.heard, world).run()
    assert [step.title for step in done.told if not step.kept] == []
    assert story.kept
    assert len(done.told) == STEPS
    assert done.checked


def ran(*words: str) -> dict[str, Any]:
    """What a command of ``caremesh network`` says for programs."""
    done = CliRunner().invoke(app, ["network", *words, "--json"])
    assert done.exit_code == 0, done.output
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _height(node: NodeProcess) -> Height:
    try:
        return node.desk.where().height
    except CareMeshError:
        return 0  # it is just being started again


def _has_crossed(node: NodeProcess) -> bool:
    return (node.home / founding.CROSSING).exists() and node.ready()
