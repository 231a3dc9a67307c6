"""A clinician's click over five nodes, each of several processes: from the click to the last record at the desk.

network.visit_p95      12 streams, 2,000 records, nothing kept at the gateway: receipts, releases, blocks, opening
network.visit.requests how many requests for releases come to other members' nodes, a visit, as their metrics say
network.visit.releases how many releases one visit gets, as the custodians' logs say
network.block          how long a transaction takes from a follower into a block and onto that follower's own copy
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx

from bench._measure import entry
from bench._nodes import BASIS, INTERVAL_S, nodes, patient, percentile
from bench.visit import RECORDS, bundle
from caremesh.node import doors
from caremesh.node.start import ADDRESSES
from caremesh.testing.far_world import FarWorld
from caremesh.testing.person import Person
from caremesh.wallet import state as states

AREAS: Final = ("network.visit", "network.block")
VISITS: Final = 30
BLOCKS: Final = 60


def timed(call: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def blocks(world: FarWorld, category: str) -> list[float]:
    """Seconds of an ask at a follower, which is one transaction; each is a receipt there when it is answered."""
    return [timed(lambda: world.ask_for("practice", category, "TREAT", BASIS)) for _ in range(BLOCKS)]


def visits(world: FarWorld, key: bytes) -> list[float]:
    """Seconds of each visit; the first, which opens connections, is not counted."""
    desk, taken = world.network.nodes["practice"].desk, []
    for _ in range(VISITS + 1):
        started = time.perf_counter()
        visited = desk.visit(key, "TREAT", BASIS)
        taken.append(time.perf_counter() - started)
        opened = sum(map(len, visited.records.values()))
        if (opened, len(visited.records), visited.ended) != (RECORDS, 12, []):
            raise ValueError(f"{opened} records of {len(visited.records)} streams: {visited.ended}")
    return taken[1:]


def releases(person: Person) -> list[int]:
    """How many releases each custodian has logged under each receipt."""
    return sorted(Counter((log.custodian, entry.receipt) for log in person.logs() for entry in log.entries).values())


def requests(world: FarWorld) -> float:
    """For releases, to all nodes, until now."""
    found = 0.0
    for node in world.network.nodes.values():
        _, admin = (node.home / doors.RUN / ADDRESSES).read_text("utf-8").split()
        page = httpx.get(f"http://{admin}/metrics", timeout=60, trust_env=False).text
        for line in page.splitlines():
            if line.startswith("caremesh_http_requests_total{") and 'route="custody.release' in line:
                found += float(line.rpartition(" ")[2])
    return found


def run() -> list[dict[str, Any]]:
    """``network.visit_p95``, ``network.visit_p50``, ``network.visit.…``, ``network.block``."""
    build = Path("build")
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as name:
        folder = Path(name).resolve()
        with nodes(folder / "nodes") as world:
            person, categories = patient(world, folder, bundle())
            person.share("practice", categories, days=30)
            key = states.keys_of(person.wallet.state, world.did("practice")).channel().signing.public
            taken = visits(world, key)
            made, got = requests(world), releases(person)
            waited = blocks(world, categories[0])
    unit = "s, 12 streams, 2,000 records, cold, five nodes"
    goal = INTERVAL_S + 1.0
    return [
        entry("network.visit_p50", taken, unit, samples=VISITS),
        entry("network.visit_p95", taken, unit, goal, value=percentile(taken, 0.95), samples=VISITS),
        entry(
            "network.visit.requests", [made / (VISITS + 1)], "requests to others for releases, a visit", samples=VISITS
        ),
        entry("network.visit.releases", [sum(got) / (VISITS + 1)], "releases, a visit", samples=VISITS),
        entry("network.block", waited, "s, from a follower to its own copy", INTERVAL_S, samples=BLOCKS),
    ]
