"""The main job over five nodes whose blocks CometBFT orders: five validators, nobody's operator.

The story's days pass for CometBFT, too: its clock is the story's (``tools/cometbft.py``), and nothing else about it is
other than what runs elsewhere.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from caremesh.contracts.network import queries as network
from caremesh.ledger.comet import CometHeader
from caremesh.testing.far_world import FarWorld, far
from caremesh.testing.main_job import MainJob, Step
from tests.support.comet_engine import short_folder
from tools.cometbft import bent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.promise("P7")
@pytest.mark.promise("P10")
def test_the_main_job_over_five_validators() -> None:
    told: list[Step] = []
    with short_folder() as folder:
        story = MainJob(folder, told.append, partial(far, cometbft=bent())).run()
        assert [step.title for step in told if not step.kept] == []
        assert story.kept
        assert len(told) == 17
        assert "CometBFT" in told[0].asked


@pytest.mark.long
@pytest.mark.promise("P10")
def test_one_of_five_is_killed_and_the_ledger_goes_on() -> None:
    with short_folder() as folder, far(folder / "mesh", cometbft=bent()) as world:
        assert_all_order(world)
        down, left = world.network.nodes["regulator"], world.network.nodes["hospital"]
        down.kill()
        before = left.desk.where().height
        left.wait(lambda: left.desk.where().height > before + 3)
        down.start()
        down.wait(down.ready)
        down.wait(lambda: down.desk.where().height > before + 3)
        heights_and_hashes(world)


def assert_all_order(world: FarWorld) -> None:
    """Each of the five is a validator with a vote like any other's, and has a CometBFT of its own."""
    said = network.validators(world.reader())
    assert sorted(each.member for each in said) == sorted(each.keys.did for each in world.network.nodes.values())
    assert {each.power for each in said} == {1}
    block = world.light_block()
    assert isinstance(block.signed.content(), CometHeader)
    assert len(block.validators) == 5
    assert len(block.signed.signatures) >= 4
    for node in world.network.nodes.values():
        assert (node.home / "cometbft" / "data").is_dir()
        assert_private(node.home)


def assert_private(home: Path) -> None:
    """Nobody else on the machine reads its keys or opens its RPC."""
    for name in ("cometbft/config/priv_validator_key.json", "cometbft/config/node_key.json", "run/abci.sock"):
        assert os.stat(home / name).st_mode & 0o077 == 0, name  # noqa: PTH116 - of a socket


def heights_and_hashes(world: FarWorld) -> None:
    """All five have the same state at one height."""
    assert len(set(world.states())) == 1
