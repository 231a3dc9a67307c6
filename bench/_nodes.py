"""Five nodes, each of several processes, and a patient with a wallet: what the benches over the network begin with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from caremesh.testing.bent import FileClock
from caremesh.testing.far_world import FarWorld
from caremesh.testing.nodes import CHAIN, FLAGS, Network, Places
from caremesh.testing.person import Person
from caremesh.types import DAY_S, Code

PATIENT: Final = "00000000-0000-4000-8000-000000000000"
BASIS: Final = ["HIPAA:164.506.c.2"]
INTERVAL_S: Final = 1.0
"""One block interval under load, in seconds: what goals that are in block intervals count with. The embedded engine
makes a block as soon as there is something to put into it, so that it takes less (``network.block``)."""
_RATES: Final = ("http_per_second", "http_burst", "http_per_second_address", "http_burst_address")
MANY: Final[dict[str, str]] = dict.fromkeys(_RATES, "100000")
"""All callers of a bench have one address, and ask more often than people do."""


@contextmanager
def nodes(folder: Path, places: Callable[[Sequence[str]], Places] | None = None) -> Iterator[FarWorld]:
    """Nodes that are ready, and a practitioner at the practice. ``places``: see ``Network``."""
    with Network(folder, flags={**FLAGS, **MANY}, places=places) as network:
        network.start()
        world = FarWorld(network, FileClock(folder / "clock"))
        try:
            doctor = world.home("practice").practitioner(CHAIN)
            network.nodes["practice"].desk.appoint(doctor.did, ["physician"], int(time.time()) + 700 * DAY_S)
            yield world
        finally:
            world.close()


def patient(world: FarWorld, folder: Path, *files: bytes) -> tuple[Person, list[Code]]:
    """Someone whose records the hospital has imported from these files; the categories that there are."""
    person, _ = Person.create(world, folder / "wallet", "passphrase")
    person.enrol("hospital", PATIENT)
    found: set[Code] = set()
    for file in files:
        found |= set(world.import_file("hospital", file).records)
    return person, sorted(found)


def percentile(values: list[float], part: float) -> float:
    """The smallest value that so many parts of 1 of all are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-part * len(ordered) // 1) - 1))]
