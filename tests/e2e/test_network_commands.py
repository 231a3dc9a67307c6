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

from caremesh.client.blocking import Portal
from caremesh.consensus.compaction import open_for_reading
from caremesh.node import founding, joining
from caremesh.node.catching_up import ways
from caremesh.node.joining import Admission
from caremesh.node.relay import signed_tx
from caremesh.testing.nodes import COMMAND, NodeProcess, OneHost, free_ports
from tests.support.comet_engine import PATIENT_S, now, short_folder
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
        self.folder = folder
        for _ in range(PATIENT_S):
            first = free_ports(1)[0]
            if first + 3 * members < 32_000:
                break
        said = ran("network", "init", folder / "p", "--members", str(members), "--first-port", str(first))
        self.homes = [Path(each) for each in said["homes"]]
        places = OneHost([])
        self.flags = {
            "cometbft_program": str(cometbft()),
            "api_workers": "1",
            "block_every_s": "1.0",
            "snapshot_every_blocks": "10",
        }
        self.nodes = [NodeProcess(home, joining.load_home(home), COMMAND, self.flags, places) for home in self.homes]
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
        end = time.monotonic() + 4 * PATIENT_S
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


@pytest.mark.long
@pytest.mark.parametrize("pilot", [4], indirect=True)
@pytest.mark.promise("P6")
@pytest.mark.promise("P10")
def test_who_lost_the_ledger_or_finds_it_damaged_or_comes_later_joins_by_a_snapshot(pilot: Pilot) -> None:
    pilot.start()
    pilot.until(lambda: pilot.nodes[0].desk.where().height > 22)

    lost, home = pilot.nodes[1], pilot.homes[1]
    lost.stop()
    shutil.rmtree(home / "ledger")
    for each in (home / "cometbft" / "data").iterdir():
        if each.is_dir():
            shutil.rmtree(each)
    lost.start()
    lost.wait(lost.ready)
    assert logged(lost, "joins by a snapshot")
    assert oldest(home) > 1

    spoiled, home = pilot.nodes[2], pilot.homes[2]
    spoiled.stop()
    file = home / "ledger" / "data.mdb"
    data = bytearray(file.read_bytes())
    for at in range(8_192, len(data), 64):
        data[at] ^= 1
    file.write_bytes(data)
    spoiled.start()
    spoiled.wait(spoiled.ready)
    [said] = logged(spoiled, "ledger damaged")
    assert said["code"].startswith(("ledger.", "storage."))
    assert (home / "ledger.damaged").exists()
    pilot.moves_on(2)

    newcomer = pilot.folder / "p" / "member-5"
    port = free_ports(1)[0]
    _, file_of = joining.begin(
        newcomer,
        chain="pilot",
        name="Member 5",
        roles=["provider"],
        country="US",
        address=f"https://127.0.0.1:{port}",
        peers="127.0.0.1:0",
    )
    network_file = str(pilot.homes[0] / founding.FILE)
    words = [CAREMESH, "join", "--home", str(newcomer), network_file]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 4, "it was not admitted yet"
    admit(pilot, joining.read_admission(file_of, "file"))
    subprocess.run(words, check=True)
    flags = {**pilot.flags, "listen_port": str(port), "admin_port": "0", "peers_port": "0", "peers_one_host": "true"}
    node = NodeProcess(newcomer, joining.load_home(newcomer), COMMAND, flags, OneHost([]))
    try:
        node.start()
        node.wait(node.ready)
        assert logged(node, "joins by a snapshot")
        assert pilot.status()["Member 5"]["power"] == 0
        pilot.until(lambda: node.desk.where().app_hash == pilot.nodes[0].desk.where().app_hash)
    finally:
        node.stop()


def admit(pilot: Pilot, admission: Admission) -> None:
    """Three of four authorities sign; the third sends it to the first's node."""
    known = founding.load(pilot.homes[0])
    assert known is not None
    first, second, third = (node.keys for node in pilot.nodes[:3])
    with Portal() as portal:
        ledger = next(each for each in ways(known, third, portal, now) if each.name == first.did)
        done = ledger.submit(
            signed_tx("pilot", now(), [each.requester for each in (first, second, third)], admission.admit)
        )
    assert done.code == ""


def logged(node: NodeProcess, event: str) -> list[dict[str, Any]]:
    """What it said under this name."""
    lines = [json.loads(line) for line in node.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def oldest(home: Path) -> int:
    """The first block whose results are kept."""
    store = open_for_reading(home / "ledger", "pilot")
    try:
        with store.read() as read:
            return read.first_height("results") or 0
    finally:
        store.close()


def key_in_use(home: Path) -> str:
    """The public key that CometBFT signs with."""
    said = json.loads((home / "cometbft" / "config" / "priv_validator_key.json").read_text("utf-8"))
    return str(said["pub_key"]["value"])
