"""A node of several processes tells one truth: its metrics, its limits, and the alerts that come of its faults."""

from __future__ import annotations

import os
import signal
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from caremesh.crypto import pins
from caremesh.testing.nodes import Network, NodeProcess
from tests.support.alerting import ask, fires, names, samples
from tests.unit.deploy.test_alerts import OF_PROCESSES, expressions

BURST = 90
FLAGS = {
    "block_every_s": "0.5",
    "retry_first_s": "0.05",
    "retry_most_s": "0.5",
    "api_workers": "2",
    "http_burst_address": str(BURST),
    "http_per_second_address": "0.01",
}
ROUTES = {"/healthz": "health.alive", "/ledger/v1/status": "ledger.status"}
DOWN = 'up{instance="127.0.0.1:9443",job="caremesh"} %d\n'

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with Network(tmp_path_factory.mktemp("watched"), flags=FLAGS) as made:
        made.start(["regulator", "hospital"])
        yield made


def admin(node: NodeProcess) -> str:
    return "http://" + (node.home / "run" / "addresses").read_text("utf-8").split()[1]


def page(node: NodeProcess) -> str:
    """What a scrape gets, and what Prometheus adds of its own."""
    try:
        answer = httpx.get(f"{admin(node)}/metrics", timeout=60, trust_env=False)
    except httpx.ConnectError:
        return DOWN % 0
    assert answer.status_code == 200
    return answer.text + DOWN % 1


def context(node: NodeProcess) -> ssl.SSLContext:
    return pins.client_context(None, pins.anchor(node.keys.did, node.keys.node_key.public))


def asks(network: Network, name: str, count: int, path: str = "/healthz") -> list[int]:
    """Statuses of so many requests that nobody signed, each over a connection of its own; all of them are counted when
    it returns, which a request is when its answer has left.
    """
    node, pinned = network.nodes[name], context(network.nodes[name])
    [said] = [each for each in network.founding.document.members if each.member == node.keys.did]
    before = counted(page(node), route=ROUTES[path])
    statuses = [one(pinned, said.endpoints[0] + path) for _ in range(count)]
    node.wait(lambda: counted(page(node), route=ROUTES[path]) >= before + count)
    return statuses


def one(pinned: ssl.SSLContext, url: str) -> int:
    """A worker that has no certificate yet ends a connection: whoever asks tries again."""
    end = time.monotonic() + 90
    while True:
        try:
            with httpx.Client(verify=pinned, trust_env=False, timeout=60) as client:
                return client.get(url).status_code
        except httpx.ConnectError:
            assert time.monotonic() < end
            time.sleep(0.1)


def counted(text: str, **labels: str) -> float:
    wanted = {("__name__", "caremesh_http_requests_total"), *labels.items()}
    return sum(value for found, value in samples(text).items() if wanted <= set(found))


def by_worker(node: NodeProcess) -> set[int]:
    """The pids of the workers that have counted requests."""
    kept = (node.home / "run" / "metrics").glob("histogram_*.db")
    workers = {said["pid"] for name, said in node.parts().items() if name != "ledger"}
    return {int(path.stem.partition("_")[2]) for path in kept} & workers


def test_all_workers_count_as_one_and_a_limit_holds_for_all_of_them(network: Network) -> None:
    """Twice as many requests as the burst: spread over two workers, and as many let in as at one."""
    node = network.nodes["hospital"]
    statuses, asked = asks(network, "hospital", BURST), BURST
    while len(by_worker(node)) < 2:  # the system chooses who accepts
        statuses += asks(network, "hospital", 10)
        asked += 10
        assert asked < 40 * BURST
    statuses += asks(network, "hospital", BURST)
    let_in = statuses.count(200)
    assert set(statuses) == {200, 429}
    assert BURST <= let_in <= BURST + 3  # the rate lets one more in every hundred seconds
    pages = [page(node) for _ in range(6)]  # whichever worker answers
    for text in pages:
        assert counted(text, route="health.alive", status="200", caller="anyone") == let_in
        assert counted(text, route="health.alive", status="429") == len(statuses) - let_in


def test_every_metric_of_rules_and_dashboard_is_on_the_page_of_a_node(network: Network) -> None:
    asks(network, "hospital", 1, "/ledger/v1/status")  # a refusal
    said = ask(expressions=expressions())
    ordering = ("caremesh_cometbft_", "caremesh_consensus_", "caremesh_mempool_", "caremesh_validator_")
    named = {name for each in said.names.values() for name in each if not name.startswith(ordering)}
    assert named <= names(page(network.nodes["hospital"]))
    assert named <= names(page(network.nodes["regulator"])) | {"caremesh_http_refusals_total"}


def test_the_numbers_are_those_of_the_node(network: Network) -> None:
    node = network.nodes["hospital"]
    found = {dict(labels)["__name__"]: value for labels, value in samples(page(node)).items() if len(labels) == 1}
    here = node.desk.where()
    assert 0 < found["caremesh_ledger_height"] <= here.height
    assert found["caremesh_ledger_process_up"] == found["caremesh_following"] == 1
    assert found["caremesh_ledger_lag_blocks"] < 20
    assert found["caremesh_disk_free_bytes"] > found["caremesh_disk_min_free_bytes"] == 200 * 2**20
    parts = {dict(labels)["part"]: value for labels, value in samples(page(node)).items() if "part" in dict(labels)}
    assert set(parts) == {"ledger", "api-1", "api-2"}


def test_strangers_that_ask_without_end_are_told(network: Network) -> None:
    asks(network, "regulator", 5, "/ledger/v1/status")  # a series that has just begun has no rate
    asks(network, "hospital", BURST + 5)  # its patience is at an end
    for name, path, alert in (
        ("regulator", "/ledger/v1/status", "CareMeshRefusals"),
        ("hospital", "/healthz", "CareMeshTooMuchAsked"),
    ):
        before = page(network.nodes[name])
        asks(network, name, BURST - 10, path)
        assert fires(before, before) == set()
        assert fires(before, page(network.nodes[name])) == {alert}


def test_a_writer_that_hangs_is_told(network: Network, evidence: Any) -> None:
    node = network.nodes["hospital"]
    before, pid = page(node), node.parts()["ledger"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        after = page(node)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert fires(before, after) == {"CareMeshWriterDown"}
    assert "caremesh_ledger_height" not in after
    evidence.fault("process that writes stopped")


def test_a_process_that_dies_again_and_again_is_told(network: Network, evidence: Any) -> None:
    node = network.nodes["hospital"]
    node.wait(node.ready)
    before = page(node)
    for _ in range(5):
        pid = node.wait(lambda: node.parts()["api-2"]["pid"])
        os.kill(pid, signal.SIGKILL)
        node.wait(lambda pid=pid: node.parts()["api-2"]["pid"] not in (pid, None))
    node.wait(node.ready)
    assert fires(before, page(node)) == {"CareMeshPartsRestart"}
    evidence.fault("process killed five times")


def test_a_node_that_is_down_is_told(network: Network, evidence: Any) -> None:
    node = network.nodes["hospital"]
    node.wait(node.ready)
    before = page(node)
    node.stop()
    try:
        assert fires(before, page(node)) == {"CareMeshNodeDown"}
    finally:
        node.start()
        node.wait(node.ready)
    evidence.fault("node stopped")


def test_each_alert_of_processes_was_made_to_fire_here() -> None:
    shown = Path(__file__).read_text("utf-8")
    assert all(f'"{alert}"' in shown for alert in OF_PROCESSES)
