"""A share is taken back, with 50 ms of delay each way between all hosts: patient, relay, operator, custodians.

Each node is on a host of its own (``caremesh.testing.hosts``): a network namespace, where the system has them.

network.revocation.p50, .p99   from the click, with no connection open, to n − t + 1 custodians' signed confirmations
network.revocation.ordered     of that, until the patient knows that the ledger has it
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench._measure import entry
from bench._nodes import INTERVAL_S, nodes, patient, percentile
from bench.far_release import files
from caremesh import codec
from caremesh.contracts.consent import queries as consents
from caremesh.testing.far_world import FarWorld
from caremesh.testing.hosts import Hosts
from caremesh.testing.person import Person
from caremesh.wallet.network import Network

AREAS: Final = ("network.revocation",)
ONE_WAY_S: Final = 0.05
REVOCATIONS: Final = 40


@contextlib.contextmanager
def freshly_opened(world: FarWorld, person: Person) -> Iterator[Person]:
    """The same wallet in an app that was just opened: it has asked nobody anything."""
    with Network(codec.encode(world.network.founding), world.relay, world.clock) as network:
        yield Person(network, person.wallet)


def once(world: FarWorld, person: Person, hosts: Hosts) -> tuple[float, float]:
    """Seconds until it is ordered, and until enough custodians have confirmed."""
    shared = person.share("practice", ["laboratory"], days=30).record
    [item] = shared.items
    consent = consents.consent(world.reader(), item.consent)
    if consent is None:
        raise ValueError("no consent")
    enough = len(consent.fragments) - consent.threshold + 1
    with freshly_opened(world, person) as mine:
        hosts.set(delay_s=ONE_WAY_S)
        try:
            started = time.perf_counter()
            mine.revoke(shared.id)
            ordered = time.perf_counter() - started
            found = mine.destroyed(shared.id, 30.0)
            taken = time.perf_counter() - started
        finally:
            hosts.set(delay_s=0.0)
    if found.confirmed < enough:
        raise ValueError(f"{found.confirmed} confirmed, {found.missing}")
    return ordered, taken


def run() -> list[dict[str, Any]]:
    """``network.revocation.…``."""
    build = Path("build")
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as name:
        folder = Path(name).resolve()
        with nodes(folder / "n", lambda names: Hosts(folder / "h", names)) as world:
            hosts = world.network.places
            assert isinstance(hosts, Hosts)
            person, _ = patient(world, folder, *files(1))
            once(world, person, hosts)  # the members meet each other
            both = [once(world, person, hosts) for _ in range(REVOCATIONS)]
    taken = [taken for _, taken in both]
    unit, goal = "s, 50 ms of delay each way, to the last confirmation", 2 * INTERVAL_S + 0.5
    found = [
        entry(f"network.revocation.{part}", taken, unit, goal, value=percentile(taken, share), samples=REVOCATIONS)
        for part, share in (("p50", 0.5), ("p99", 0.99))
    ]
    ordered = [ordered for ordered, _ in both]
    return [*found, entry("network.revocation.ordered", ordered, "s, until it is on the ledger", samples=REVOCATIONS)]
