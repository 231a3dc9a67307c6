"""``caremesh network`` against nodes that run: status, a validator's key changed, a backup, leaving."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from caremesh.node import joining
from caremesh.testing.nodes import COMMAND, NodeProcess, OneHost, free_ports
from tests.support.comet_engine import PATIENT_S, short_folder
from tools.cometbft import cometbft

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CAREMESH = str(Path(sys.executable).with_name("caremesh"))


def ran(*words: str | Path) -> Any:
    """What a command prints as JSON."""
    done = subprocess.run([CAREMESH, *map(str, words), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


class Pilot:
    """What ``caremesh network init`` makes, and its nodes."""

    def __init__(self, folder: Path, members: int, opened: ExitStack) -> None:
        for _ in range(PATIENT_S):
            first = free_ports(1)[0]
            if first + 3 * members < 32_000:
                break
        said = ran("network", "init", folder / "p", "--members", str(members), "--first-port", str(first))
        self.homes = [Path(each) for each in said["homes"]]
        places = OneHost([])
        flags = {"cometbft_program": str(cometbft()), "api_workers": "1", "block_every_s": "2.0"}
        self.nodes = [NodeProcess(home, joining.load_home(home), COMMAND, flags, places) for home in self.homes]
        for node in self.nodes:
            opened.callback(node.stop)

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait(node.ready)

    def status(self, at: int = 0) -> dict[str, Any]:
        return {each["name"]: each for each in ran("network", "status", "--home", self.homes[at])["members"]}

    def until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENT_S
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.5)

    def moves_on(self, at: int = 0) -> None:
        """Blocks come."""
        before = self.nodes[at].desk.where().height
        self.until(lambda: self.nodes[at].desk.where().height > before + 1)


@pytest.fixture
def pilot(request: pytest.FixtureRequest) -> Iterator[Pilot]:
    with short_folder() as folder, ExitStack() as opened:
        yield Pilot(folder, request.param, opened)


@pytest.mark.parametrize("pilot", [1], indirect=True)
@pytest.mark.promise("P10")
def test_the_only_validator_changes_its_key_and_goes_on(pilot: Pilot) -> None:
    """Nobody else could sign in between: the old key signs the block after the change, the new one the next."""
    pilot.start()
    [home], [node] = pilot.homes, pilot.nodes
    before = key_in_use(home)
    assert pilot.status()["Member 1"]["power"] == 1
    assert ran("network", "rotate-key", "--home", home) == {"member": "Member 1"}
    assert key_in_use(home) != before
    pilot.moves_on()
    pilot.until(lambda: pilot.status()["Member 1"]["signed"] is True)
    node.stop()
    node.start()
    node.wait(node.ready)
    pilot.moves_on()


@pytest.mark.long
@pytest.mark.parametrize("pilot", [4], indirect=True)
@pytest.mark.promise("P10")
def test_a_validator_is_restored_without_its_key_and_one_leaves(pilot: Pilot) -> None:
    pilot.start()
    pilot.until(lambda: all(each["connected"] for each in pilot.status().values()))
    third, home = pilot.nodes[2], pilot.homes[2]
    shutil.copyfile(home / "secrets.key", home.parent / "safe.key")
    subprocess.run([CAREMESH, "backup", "--home", str(home), str(home.parent / "backup")], check=True)
    key = key_in_use(home)
    third.stop()
    shutil.rmtree(home)
    words = ["restore", "--home", str(home), str(home.parent / "backup"), "--key", str(home.parent / "safe.key")]
    subprocess.run([CAREMESH, *words], check=True)
    assert not (home / "ledger").exists()
    third.start()
    third.wait(third.ready)
    assert key_in_use(home) != key, "it can sign nothing a second time"
    pilot.moves_on(2)
    assert pilot.status()["Member 3"]["signed"] is False, "it has no vote until the ledger names its key"
    assert ran("network", "rotate-key", "--home", home) == {"member": "Member 3"}
    pilot.until(lambda: pilot.status()["Member 3"]["signed"] is True)

    assert ran("network", "leave", "--home", pilot.homes[3], "--yes")["status"] == "left"
    pilot.until(lambda: pilot.status()["Member 4"]["power"] == 0)
    assert pilot.status()["Member 4"]["status"] == "left"
    pilot.moves_on()
    pilot.until(lambda: [pilot.status()[f"Member {number}"]["signed"] for number in (1, 2, 3)] == [True] * 3)


def key_in_use(home: Path) -> str:
    """The public key that CometBFT signs with."""
    said = json.loads((home / "cometbft" / "config" / "priv_validator_key.json").read_text("utf-8"))
    return str(said["pub_key"]["value"])
