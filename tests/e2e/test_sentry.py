"""A validator behind a sentry that has no vote: it connects to nobody else, and its votes go round all the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from caremesh.ledger.comet import address_of
from caremesh.settings import FILE
from caremesh.testing.nodes import FLAGS, Network, NodeProcess, OneHost, free_ports
from tests.support.apart import WITHIN_S, eventually
from tests.support.comet_engine import short_folder
from tests.support.kill_job import VALIDATORS
from tools.cometbft import cometbft

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

CAREMESH = str(Path(sys.executable).with_name("caremesh"))
HIDDEN, SENTRY = "hospital", "practice"
OTHERS = ("laboratory", "payer", "regulator")


class Hiding(OneHost):
    """One that nobody finds: its CometBFT listens elsewhere than it was said to."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        [self._elsewhere] = free_ports(1)

    def flags(self, name: str) -> Mapping[str, str]:
        """See ``Places``."""
        flags = super().flags(name)
        return {**flags, "peers_port": str(self._elsewhere)} if name == HIDDEN else flags


@pytest.fixture
def network() -> Iterator[Network]:
    with short_folder() as folder:
        made = Network(folder / "n", flags=FLAGS, cometbft=cometbft(), validators=VALIDATORS, places=Hiding)
        ids = {name: address_of(node.keys.peer_key.public).hex() for name, node in made.nodes.items()}
        to_sentry = f"{ids[SENTRY]}@{made.places.peers(SENTRY)}"
        (made.nodes[HIDDEN].home / FILE).write_text(f'peers_only = true\npeers_known = "{to_sentry}"\n')
        (made.nodes[SENTRY].home / FILE).write_text(f'peers_behind = "{ids[HIDDEN]}"\n')
        with made:
            made.start()
            yield made


def ran(*words: str | Path) -> Any:
    """What a command prints as JSON."""
    done = subprocess.run([CAREMESH, *map(str, words), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def height(node: NodeProcess) -> int:
    return node.desk.where().height


def status(network: Network, name: str) -> tuple[dict[str, Any], int]:
    """What a member's CometBFT says of each member, by the name of its folder, and how many are connected besides."""
    said = ran("network", "status", "--home", network.nodes[name].home)
    by_did = {each["did"]: each for each in said["members"]}
    return {other: by_did[node.keys.did] for other, node in network.nodes.items()}, said["besides"]


@pytest.mark.promise("P7", "P10")
def test_a_validator_behind_a_sentry_without_a_vote_signs_and_goes_on_when_the_sentry_was_away(
    network: Network,
) -> None:
    left = network.nodes["regulator"]

    def signs() -> bool:
        return status(network, "regulator")[0][HIDDEN]["signed"] is True

    eventually(signs)
    members, besides = status(network, HIDDEN)
    assert {name: each["connected"] for name, each in members.items()} == {
        HIDDEN: True,
        SENTRY: None,
        **dict.fromkeys(OTHERS, False),
    }
    assert besides == 1, "the sentry, whose CometBFT no file of the network names"
    assert members[SENTRY]["power"] == 0
    members, besides = status(network, "regulator")
    assert members[HIDDEN]["connected"] is False
    assert besides == 1
    network.nodes[SENTRY].stop()
    eventually(lambda: not signs())
    assert status(network, HIDDEN)[1] == 0
    before = height(left)
    eventually(lambda: height(left) > before + 1)
    eventually(lambda: not network.nodes[HIDDEN].ready())
    network.nodes[SENTRY].start()
    for node in network.nodes.values():
        node.wait(node.ready, WITHIN_S)
    eventually(signs)
