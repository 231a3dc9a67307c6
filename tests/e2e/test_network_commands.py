"""``caremesh network`` against nodes that run: status, a validator's key changed, a backup, deciding, leaving."""

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

import httpx
import pytest
from typer.testing import CliRunner

from caremesh.cli.main import app
from caremesh.client.blocking import Portal
from caremesh.consensus.compaction import open_for_reading
from caremesh.ledger.comet import address_of
from caremesh.node import founding, joining
from caremesh.node.catching_up import ways
from caremesh.node.founding import Peer
from caremesh.node.joining import Admission
from caremesh.node.relay import signed_tx
from caremesh.testing.nodes import COMMAND, NodeProcess, OneHost, free_ports
from tests.support.alerting import samples
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


def told(home: Path) -> dict[str, float]:
    """The metrics of a node that have no label."""
    admin = (home / "run" / "addresses").read_text("utf-8").split()[1]
    text = httpx.get(f"http://{admin}/metrics", timeout=60, trust_env=False).text
    found = {tuple(labels): value for labels, value in samples(text).items()}
    return {labels[0][1]: value for labels, value in found.items() if len(labels) == 1}


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
    pilot.until(lambda: told(home).get("caremesh_consensus_signed_share") == 1)
    said = told(home)
    assert said["caremesh_validator_share"] == said["caremesh_cometbft_running"] == 1
    assert said["caremesh_mempool_limit"] == 60_000
    assert said["caremesh_mempool_transactions"] == said["caremesh_consensus_round"] == 0
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
def test_a_validator_behind_a_sentry_is_reached_by_nobody_else_and_signs(pilot: Pilot) -> None:
    """The first goes out to the second alone, from a port that nobody was told; votes go round by way of the second."""
    ids = [address_of(node.keys.peer_key.public).hex() for node in pilot.nodes]
    [sentry] = [each.address for each in known_peers(pilot) if each.address.startswith(ids[1])]
    configure(pilot.homes[0], peers_only=True, peers_known=sentry, peers_port=free_ports(1)[0])
    configure(pilot.homes[1], peers_behind=ids[0])
    pilot.start()
    pilot.until(lambda: pilot.status(0)["Member 2"]["connected"] is True)
    pilot.until(lambda: pilot.status(2)["Member 4"]["connected"] is True)
    pilot.moves_on(2)
    pilot.until(lambda: pilot.status(2)["Member 1"]["signed"] is True)
    assert [each["connected"] for each in pilot.status(0).values()] == [True, True, False, False]
    assert pilot.status(2)["Member 1"]["connected"] is pilot.status(3)["Member 1"]["connected"] is False
    pilot.nodes[1].stop()  # with it the first is away as well, and two of four make no block
    pilot.until(lambda: pilot.status(2)["Member 2"]["connected"] is False)
    pilot.nodes[1].start()
    pilot.nodes[1].wait(pilot.nodes[1].ready)
    pilot.moves_on(0)
    pilot.until(lambda: pilot.status(2)["Member 1"]["signed"] is True)


def configure(home: Path, **settings: Any) -> None:
    """Write settings into a home's file, in place of what it says of them."""
    file = home / "caremesh.toml"
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    kept = [line for line in lines if line.partition("=")[0].strip() not in settings]
    file.write_text("\n".join([*(f"{name} = {json.dumps(value)}" for name, value in settings.items()), *kept]) + "\n")


def known_peers(pilot: Pilot) -> list[Peer]:
    """Where the network file says that each member's CometBFT is."""
    known = founding.load(pilot.homes[0])
    assert known is not None
    return list(known.peers)


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


def said(*words: str | Path, answer: str = "") -> tuple[int, str]:
    """How a command ends, and what it prints for people."""
    done = subprocess.run([CAREMESH, *map(str, words)], input=answer, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def begun(folder: Path, chain: str, name: str, port: int) -> joining.Admission:
    address = f"https://127.0.0.1:{port}"
    return joining.read_admission(
        joining.begin(folder, chain=chain, name=name, roles=["regulator"], country="US", address=address)[1], name
    )


@pytest.mark.promise("P10")
def test_the_only_authority_decides_alone() -> None:
    with short_folder() as folder, ExitStack() as opened:
        board, guest, file = folder / "board", folder / "guest", folder / "decision.cbor"
        [port] = free_ports(1)
        begun(board, "lakes", "Board", port)
        joining.found(board, [begun(folder / "clinic", "lakes", "Clinic", port)], int(time.time()))
        begun(guest, "lakes", "Guest", port)
        flags = {"listen_port": str(port), "admin_port": "0", "api_workers": "1", "block_every_s": "2.0"}
        node = NodeProcess(board, joining.load_home(board), COMMAND, flags, OneHost([]))
        opened.callback(node.stop)
        words = ["--home", board, "--out", file]
        assert said("network", "propose", "end-brake", *words)[0] == 9, "no node runs"
        node.start()
        node.wait(node.ready)

        made = ran("network", "propose", "admit", *words, guest / joining.ADMISSION_FILE)
        assert (made["missing"], made["height"]) == ([], None)
        code, text = said("network", "sign", file, "--home", board, answer="n\n")
        assert (code, "Guest becomes a member (regulator)" in text, "Sign this?" in text) == (1, True, True)
        assert ran("network", "submit", file, "--home", board)["height"] > 0
        members = ran("network", "status", "--home", board)["members"]
        assert [(each["name"], each["status"]) for each in members][-1] == ("Guest", "active")
        code, text = said("network", "submit", file, "--home", board)
        assert (code, "members.03" in text) == (4, True)

        ran("network", "propose", "brake", *words, "--scope", "all", "--reason", "a drill", "--minutes", "60")
        code, text = said("network", "submit", file, "--home", board)
        assert (code, "Why: a drill" in text, "Decided, in block" in text) == (0, True, True)
        code, text = said("network", "propose", "suspend", "Clinic", *words)
        assert (code, "network.05" in text) == (4, True)
        ran("network", "propose", "end-brake", *words)
        ran("network", "submit", file, "--home", board)
        here = [["suspend", "Clinic"], ["reinstate", "Clinic"], ["authorities", "Board"]]
        for what in (*here, ["upgrade", "--version", "2", "--height", "1000000"], ["cancel-upgrade"]):
            assert CliRunner().invoke(app, ["network", "propose", *what, *map(str, words)]).exit_code == 0
            done = CliRunner().invoke(app, ["network", "submit", str(file), "--home", str(board)])
            assert (done.exit_code, "Decided, in block" in done.output) == (0, True)
        no_key = ["network", "propose", "validators", "Clinic", *map(str, words)]
        assert "decision.02" in str(CliRunner().invoke(app, no_key).exception)


@pytest.mark.long
@pytest.mark.promise("P10")
def test_a_conversion_is_called_off_before_its_block_and_one_key_goes_on() -> None:
    with short_folder() as folder, ExitStack() as opened:
        board, clinic, file = folder / "board", folder / "clinic", folder / "decision.cbor"
        ports = free_ports(4)
        for home, port in ((board, ports[0]), (clinic, ports[1])):
            begun(home, "lakes", home.name, port)
        admission = joining.read_admission((clinic / joining.ADMISSION_FILE).read_bytes(), "clinic")
        joining.found(board, [admission], int(time.time()))
        flags = {"listen_port": str(ports[0]), "admin_port": "0", "api_workers": "1", "block_every_s": "1.0"}
        node = NodeProcess(board, joining.load_home(board), COMMAND, flags, OneHost([]))
        opened.callback(node.stop)
        node.start()
        node.wait(node.ready)
        words = ["--home", board, "--out", file]
        offers = [folder / f"{home.name}.offer" for home in (board, clinic)]
        for home, offer, port in zip((board, clinic), offers, ports[2:], strict=True):
            ran("network", "offer", "--home", home, "--peers", f"127.0.0.1:{port}", "--out", offer)

        code, text = said("network", "propose", "cancel-convert", *words)
        assert (code, "network.16" in text) == (4, True)
        last = node.desk.where().height + 60
        ran("network", "convert", "--height", str(last), *words, *offers)
        code, text = said("network", "submit", file, "--home", board)
        assert (code, f"After block {last} no single key" in text, "Decided, in block" in text) == (0, True, True)
        status = ran("network", "status", "--home", board)
        assert (status["engine"], status["conversion"], status["upgrade"]) == ("embedded", last, None)
        assert [each["power"] for each in status["members"]] == [1, 0], "who was named does not order blocks yet"
        code, text = said("network", "status", "--home", board)
        assert (code, f"After block {last}, those who were named" in text) == (0, True)

        ran("network", "propose", "cancel-convert", *words)
        code, text = said("network", "submit", file, "--home", board)
        assert (code, "is called off" in text, "Decided, in block" in text) == (0, True, True)
        assert ran("network", "status", "--home", board)["conversion"] is None
        code, text = said("network", "submit", file, "--home", board)
        assert (code, "network.16" in text or "ledger.09" in text) == (4, True)
        node.wait(lambda: node.desk.where().height > last, 4 * PATIENT_S)
        ran("network", "propose", "upgrade", "--version", "2", "--height", "1000000", *words)
        assert ran("network", "submit", file, "--home", board)["height"] > last, "the same key orders blocks"
        status = ran("network", "status", "--home", board)
        assert (status["engine"], status["conversion"], status["upgrade"]) == ("embedded", None, 1_000_000)
        assert not (board / founding.CROSSING).exists()


@pytest.mark.long
@pytest.mark.parametrize("pilot", [4], indirect=True)
@pytest.mark.promise("P10")
def test_three_of_four_decide_for_all(pilot: Pilot) -> None:
    folder = pilot.homes[0].parent
    file, copy = folder / "decision.cbor", folder / "copy.cbor"
    pilot.start()

    def decide(*what: str | Path) -> None:
        """The first proposes, the second and the third sign apart, the fourth hands it in."""
        others = ["--with", "Member 2", "--with", "Member 3"]
        made = ran("network", "propose", *what, *others, "--home", pilot.homes[0], "--out", file)
        assert made["missing"] == ["Member 2", "Member 3"]
        shutil.copyfile(file, copy)
        code, text = said("network", "submit", file, "--home", pilot.homes[3])
        assert (code, "decision.11" in text) == (4, True)
        code, text = said("network", "sign", copy, "--home", pilot.homes[1], answer="y\n")
        assert code == 0, text
        assert ran("network", "sign", file, "--home", pilot.homes[2], "--yes")["missing"] == ["Member 2"]
        assert said("network", "sign", file, "--home", pilot.homes[3], "--yes")[0] == 4
        assert ran("network", "submit", file, copy, "--home", pilot.homes[3])["height"] > 0

    begun(folder / "fifth", "pilot", "Member 5", free_ports(1)[0])
    decide("admit", folder / "fifth" / joining.ADMISSION_FILE)
    pilot.until(lambda: pilot.status(1)["Member 5"]["status"] == "active")
    decide("validators", "Member 1", "Member 2", "Member 3")
    pilot.until(lambda: pilot.status()["Member 4"]["power"] == 0)
    pilot.moves_on()

    decide("brake", "--scope", "all", "--reason", "a drill", "--minutes", "1")
    words = ["network", "propose", "suspend", "Member 5", "--home", str(pilot.homes[0]), "--out", str(file)]
    code, text = said(*words)
    assert (code, "network.05" in text) == (4, True)
    time.sleep(60)
    pilot.until(lambda: said(*words)[0] == 0)
    decide("suspend", "Member 5")
    pilot.until(lambda: pilot.status(3)["Member 5"]["status"] == "suspended")
