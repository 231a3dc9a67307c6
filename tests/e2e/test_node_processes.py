"""A node is processes: whichever dies is started again, nothing acknowledged is lost, and it ends when told to."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from caremesh.client.blocking import Portal, RemoteLedger
from caremesh.client.ledger import LedgerClient
from caremesh.client.node import Node, Patience, Target
from caremesh.client.signing import Identity
from caremesh.codec import CID
from caremesh.consensus.interface import Committed
from caremesh.contracts.members.messages import SetEndpoints
from caremesh.crypto.pins import make_leaf
from caremesh.errors import CareMeshError
from caremesh.node.diagnosis import Finding
from caremesh.node.node_diagnosis import diagnose_node
from caremesh.node.relay import signed_tx
from caremesh.testing.bent import CLOCK, MODULE, FileClock
from caremesh.testing.nodes import CHAIN, COMMAND, Network, NodeProcess

FLAGS = {
    "block_every_s": "0.5",
    "retry_first_s": "0.05",
    "retry_most_s": "0.5",
    "api_workers": "2",
    "silent_s": "8",
}


class Watched:
    """A network of which some nodes run, and a clock for all of them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.clock = FileClock(folder / "clock")
        command = (sys.executable, "-m", MODULE, "node")
        self.network = Network(folder, flags=FLAGS, command=command, now=self.clock)
        self.portal = Portal()

    def node(self, name: str) -> NodeProcess:
        return self.network.nodes[name]

    def ledger(self, name: str) -> RemoteLedger:
        """The ledger at a node, as the regulator's own software asks for it."""
        keys, mine = self.node(name).keys, self.node("regulator").keys
        [said] = [each for each in self.network.founding.document.members if each.member == keys.did]
        leaf = make_leaf(mine.did, mine.node_key, int(time.time()))
        way = self.portal.node(
            lambda: Node(
                Target(did=keys.did, node_key=keys.node_key.public, url=said.endpoints[0]),
                Identity.of_did(mine.did, mine.node_key),
                leaf=leaf,
                clock=self.clock,
                patience=Patience(answer_s=30.0, tries=1),
            )
        )
        return RemoteLedger(self.portal, LedgerClient(way))

    def transaction(self) -> bytes:
        home = self.node("regulator").keys
        told = f"https://{os.urandom(4).hex()}.example:1"
        mine = next(e.endpoints[0] for e in self.network.founding.document.members if e.member == home.did)
        message = SetEndpoints(member=home.did, endpoints=[mine, told])
        return signed_tx(CHAIN, self.clock(), [home.requester], message)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("n")
    os.environ[CLOCK] = str(folder / "clock")
    made = Watched(folder)
    made.network.start(["regulator", "hospital"])
    yield made
    made.portal.close()
    made.network.close()


def pid_of(node: NodeProcess, part: str, after: int = 0) -> int:
    def found() -> int:
        pid = node.parts().get(part, {}).get("pid") or 0
        return int(pid) if pid != after else 0

    return node.wait(found)


def readiness(node: NodeProcess) -> tuple[int, dict[str, bool]]:
    admin = (node.home / "run" / "addresses").read_text().split()[1]
    answer = httpx.get(f"http://{admin}/readyz", timeout=60, trust_env=False)
    return answer.status_code, answer.json().get("checks", {})


@pytest.mark.slow
@pytest.mark.parametrize("part", ["ledger", "api-1"])
@pytest.mark.parametrize("name", ["regulator", "hospital"])
def test_a_part_that_is_killed_is_healed(watched: Watched, name: str, part: str) -> None:
    node = watched.node(name)
    before, height = pid_of(node, part), node.desk.where().height
    os.kill(before, signal.SIGKILL)
    assert pid_of(node, part, after=before) != before
    node.wait(node.ready)
    assert node.desk.where().height >= height
    node.wait(lambda: node.desk.where().height > height)
    died = [json.loads(line) for line in node.log().splitlines() if '"died"' in line]
    assert (died[-1]["process"], died[-1]["place"]) == (part, "signal SIGKILL")


@pytest.mark.slow
def test_readiness_tells_the_truth_while_the_ledger_process_is_away(watched: Watched) -> None:
    node = watched.node("hospital")
    node.wait(node.ready)
    assert readiness(node)[0] == 200
    before = pid_of(node, "ledger")
    os.kill(before, signal.SIGSTOP)
    os.kill(before, signal.SIGKILL)
    node.wait(lambda: not node.ready())
    node.wait(node.ready)


@pytest.mark.slow
@pytest.mark.promise("P10")
def test_whatever_hangs_is_noticed_and_begun_anew_and_readiness_tells_the_truth_meanwhile(watched: Watched) -> None:
    operator, follower = watched.node("regulator"), watched.node("hospital")
    hung = [(operator, "api-1"), (follower, "api-2"), (follower, "ledger")]
    for node, _ in hung:
        node.wait(node.ready)
    before = [pid_of(node, part) for node, part in hung]
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    status, checks = readiness(follower)
    assert (status, checks) == (503, {"writer": False})
    assert readiness(operator)[0] == 200  # its other worker answers
    for (node, part), pid in zip(hung, before, strict=True):
        assert pid_of(node, part, after=pid) != pid
        hangs = [json.loads(line) for line in node.log().splitlines() if '"hangs"' in line]
        assert (part, pid) in [(line["process"], line["pid"]) for line in hangs]
    for node, _ in hung:
        node.wait(node.ready)
    height = operator.desk.where().height
    follower.wait(lambda: follower.desk.where().height > height)


@pytest.mark.slow
@pytest.mark.promise("P3")
def test_a_node_whose_operator_is_silent_says_that_it_is_not_ready_and_comes_back_by_itself(watched: Watched) -> None:
    operator, node = watched.node("regulator"), watched.node("hospital")
    node.wait(node.ready)
    frozen = [pid_of(operator, part) for part in operator.parts()]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        watched.clock.advance(60)
        status, checks = readiness(node)
        assert (status, checks["fresh"]) == (503, False)
        assert checks["room"]
        assert checks["writable"]
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    node.wait(node.ready)


@pytest.mark.slow
@pytest.mark.promise("P5")
@pytest.mark.promise("P10")
def test_whatever_dies_at_whatever_moment_nothing_acknowledged_is_lost(watched: Watched, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - it chooses what dies
    operator, follower = watched.node("regulator"), watched.node("hospital")
    ledger = watched.ledger("hospital")
    acknowledged: list[CID] = []
    killed = 0
    for number in range(36):
        if number % 6 == 3:
            node = dice.choice([operator, follower])
            part = dice.choice(sorted(node.parts()))
            time.sleep(dice.uniform(0, 0.3))
            os.kill(pid_of(node, part), signal.SIGKILL)
            killed += 1
        raw = watched.transaction()
        try:
            done = ledger.submit(raw)
        except CareMeshError:  # not acknowledged: it may or may not be there
            time.sleep(0.2)
            continue
        assert not done.code
        acknowledged.append(CID(done.tx))
    assert killed == 6
    assert len(acknowledged) > 10
    for node in (operator, follower):
        node.wait(node.ready)
    raw = watched.transaction()
    follower.wait(lambda: _submitted(ledger, raw))
    for tx in acknowledged:
        known = ledger.outcome(tx, verify=False)
        assert known is not None
        assert not known.code
    follower.wait(lambda: operator.desk.where().app_hash == follower.desk.where().app_hash)


def _submitted(ledger: RemoteLedger, raw: bytes) -> Committed | None:
    try:
        return ledger.submit(raw)
    except CareMeshError:
        return None


@pytest.mark.slow
def test_when_the_supervisor_is_killed_nothing_is_left_and_it_starts_again_at_once(watched: Watched) -> None:
    node = watched.node("hospital")
    pids = [pid_of(node, part) for part in node.parts()]
    node.kill()
    node.start()
    node.wait(lambda: all(not Path(f"/proc/{pid}").exists() for pid in pids))
    node.wait(node.ready)


@pytest.mark.slow
def test_one_home_is_for_one_node_and_one_address_for_one_program(watched: Watched, tmp_path: Path) -> None:
    node = watched.node("hospital")
    ports = ["--listen-port", "0", "--admin-port", "0"]
    assert refused(node.home, *ports) == (4, "node.03")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = ["--listen-port", port, "--admin-port", "0", "--stop-within-s", "0.5"]
        assert refused(watched.node("payer").home, *words) == (9, "node.19")
    assert refused(tmp_path, *ports) == (4, "node.13")


def refused(home: Path, *words: str) -> tuple[int, str]:
    """Exit code and error of a node that does not start."""
    command = [*COMMAND, "--home", str(home), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    told = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    return done.returncode, told[0].partition(":")[0]


@pytest.mark.slow
def test_doctor_finds_nothing_wrong_with_a_node_that_runs(watched: Watched) -> None:
    node = watched.node("hospital")
    node.stop()  # who had to be started often, as others here make it, has something wrong with it
    node.start()
    node.wait(node.ready)
    (node.home / "caremesh.toml").write_text("")
    found = looked_at(node.home)
    assert {name for name, each in found.items() if not each.ok} - {"ledger"} == {
        f"member {label}" for label in ("Elm Street Practice", "Harbor Laboratory", "Commonwealth Health Plan")
    }  # which do not run
    assert found["operator Health Data Authority"].ok
    assert found["ledger"].ok or "ahead" in found["ledger"].found  # another test lets time pass at the nodes


@pytest.mark.slow
def test_doctor_names_what_is_wrong(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    home = watched.node("laboratory").home
    assert looked_at(home)["ledger"].found.startswith("ledger.33")
    (home / "secrets.key").chmod(0o644)
    (home / "caremesh.toml").write_text("listen_prot = 1\n")
    found = looked_at(home)
    assert (found["key file"].ok, found["settings"].found) == (False, "settings.04 listen_prot")
    (home / "secrets.key").chmod(0o600)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (home / "caremesh.toml").write_text(f"listen_port = {port}\nadmin_port = 0\n")
        assert not looked_at(home)["network's address"].ok
    assert looked_at(home)["network's address"].ok
    (home / "run").mkdir(exist_ok=True)
    died = {"parts": {"ledger": {"pid": None, "starts": 9, "last": "exit code 5"}}}
    (home / "run" / "processes.json").write_text(json.dumps(died))
    assert looked_at(home)["processes"].found == "started ledger 9 times (exit code 5)"
    monkeypatch.setattr("caremesh.node.node_diagnosis.time.time", lambda: 2_000_000_000)
    stale = looked_at(watched.node("hospital").home)["ledger"]
    assert not stale.ok
    monkeypatch.undo()
    (home / "founding.cbor").rename(home / "away")
    assert looked_at(home)["network"].found == "not joined"
    (home / "away").rename(home / "founding.cbor")


@pytest.mark.slow
def test_doctor_tells_a_node_that_is_not_the_one_that_was_meant(watched: Watched) -> None:
    """Where the laboratory should answer, the hospital does."""
    operator, home = watched.node("regulator"), watched.node("hospital").home
    [place] = [e for e in watched.network.founding.document.members if e.member == watched.node("hospital").keys.did]
    theirs = watched.node("laboratory").keys
    message = SetEndpoints(member=theirs.did, endpoints=place.endpoints)
    raw = signed_tx(CHAIN, watched.clock(), [theirs.requester], message)
    done = watched.ledger("regulator").submit(raw)
    assert not done.code
    operator.wait(lambda: watched.node("hospital").desk.where().height >= done.height)
    assert looked_at(home)["member Harbor Laboratory"].found == "client.03"


def looked_at(home: Path) -> dict[str, Finding]:
    return {found.check: found for found in diagnose_node(home)}


@pytest.mark.slow
def test_a_signal_ends_all_of_a_node_in_order(watched: Watched) -> None:
    node = watched.node("hospital")
    node.wait(node.ready)
    pids = [pid_of(node, part) for part in node.parts()]
    assert node.stop() == 0
    assert all(not Path(f"/proc/{pid}").exists() for pid in pids)
    ended = [json.loads(line) for line in node.log().splitlines() if '"ended"' in line and '"process"' in line]
    assert [line["process"] for line in ended][-1] == "ledger"
    node.start()
    node.wait(node.ready)
