"""Validators that have nothing to do for hours, what they take meanwhile, and the first visit afterwards."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from caremesh.node import doors
from caremesh.node.start import ADDRESSES
from caremesh.settings import Settings
from caremesh.testing.nodes import NodeProcess
from tests.support.apart import FLAGS, Apart
from tests.support.kill_job import alike
from tests.support.killing import cometbft_of

PRODUCTION: Final = {name: str(Settings.model_fields[name].default) for name in FLAGS}
"""What other tests set so that they wait for less, as it is where nobody sets anything."""
LOOK_EVERY_S: Final = 60.0
_WITHIN_S: Final = 60.0
_FETCH: Final = "import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1]).read())"
"""Run at the node's own host: its admin address is nobody else's."""


class Look(Struct, frozen=True, kw_only=True):
    """What was seen at one moment, of the node that has most of it. Memory is private memory."""

    minutes: float
    height: int
    age_s: float
    """Of the newest block, as custodians judge it."""
    not_ready: dict[str, list[str]]
    """Nodes that say so, each with the checks that do not hold."""
    memory_mib: float
    cometbft_memory_mib: float
    disk_mib: float
    """Of a home."""


class Idled(Struct, frozen=True, kw_only=True):
    """What became of the idle time. Seconds ``between`` blocks: the median, the 99th of a hundred, the longest."""

    hosts: str
    minutes: float
    blocks: int
    between_s: list[int]
    ask_s: float
    """Until the first request for access was on the ledger, afterwards."""
    release_s: float
    """From there until custodians had released and all was open."""
    doctor: dict[str, str]
    """By node: what it found to be wrong, nothing where that is empty."""
    heights: int
    looks: list[Look]


def idled(world: Apart, minutes: float, told: Callable[[Look], object] = print) -> Idled:
    """Share, do nothing for so long, then open what is shared as on any day. Raises AssertionError when it is not.

    ``told``: gets each look when it is taken.
    """
    world.well()
    imported = set(world.import_next())
    world.share()
    assert imported <= world.opened(world.receipt())
    begun, first = time.monotonic(), world.node("regulator").desk.where().height
    looks: list[Look] = []
    while True:
        looks.append(_look(world, begun))
        told(looks[-1])
        if (left := begun + 60 * minutes - time.monotonic()) <= 0:
            break
        time.sleep(min(LOOK_EVERY_S, left))
    asked = time.monotonic()
    receipt = world.receipt()
    received = time.monotonic()
    assert imported <= world.opened(receipt)
    opened = time.monotonic()
    last = looks[-1].height
    return Idled(
        hosts=world.hosts.kind,
        minutes=looks[-1].minutes,
        blocks=last - first,
        between_s=_spread(_times(world, first, last)),
        ask_s=round(received - asked, 2),
        release_s=round(opened - received, 2),
        doctor={name: _doctor(world, node) for name, node in world.network.nodes.items()},
        heights=alike(world),
        looks=looks,
    )


INTERVAL_S: Final = 10
FRESH_S: Final = 30
"""Of the newest block; when it is older, custodians release nothing."""
AT_ONCE_S: Final = 10.0
SLACK: Final = 1.3
SLACK_MIB: Final = 32.0
BY_BLOCK_MIB: Final = 0.05
"""Of a home's disk, until its oldest is pruned: CometBFT's log of votes and its stores."""


def judged(found: Idled) -> list[str]:
    """What was otherwise than it has to be."""
    half, end = found.looks[len(found.looks) // 2], found.looks[-1]
    _, nearly_all, longest = found.between_s
    wrong = [f"not ready after {each.minutes} min: {each.not_ready}" for each in found.looks if each.not_ready]
    wrong += [f"a block of {each.age_s} s after {each.minutes} min" for each in found.looks if each.age_s > FRESH_S]
    wrong += [f"doctor at {name}: {said}" for name, said in found.doctor.items() if said]
    wrong += [name for name in ("memory_mib", "cometbft_memory_mib") if _grown(getattr(half, name), getattr(end, name))]
    if end.disk_mib > half.disk_mib + BY_BLOCK_MIB * (end.height - half.height) + SLACK_MIB:
        wrong.append("disk_mib")
    if nearly_all > INTERVAL_S or longest > FRESH_S:
        wrong.append(f"between blocks {found.between_s} s")
    if found.ask_s > AT_ONCE_S or found.release_s > AT_ONCE_S:
        wrong.append(f"access after {found.ask_s} s, a release after {found.release_s} s")
    return wrong


def _grown(half: float, end: float) -> bool:
    return end > max(SLACK * half, half + SLACK_MIB)


def _look(world: Apart, begun: float) -> Look:
    nodes = world.network.nodes
    numbers = {name: _numbers(world, node) for name, node in nodes.items()}
    checks = {
        name: {**world.hosts.readiness(name)[1], "cometbft": numbers[name].get("caremesh_cometbft_running") == 1}
        for name in nodes
    }
    comets = [cometbft_of(node) for node in nodes.values()]
    pids = [[node.pid, *(part["pid"] for part in node.parts().values())] for node in nodes.values()]
    return Look(
        minutes=round((time.monotonic() - begun) / 60, 1),
        height=int(min(each.get("caremesh_ledger_height", 0) for each in numbers.values())),
        age_s=round(max(each.get("caremesh_ledger_age_seconds", math.inf) for each in numbers.values()), 1),
        not_ready={
            name: wrong for name, said in checks.items() if (wrong := [each for each in said if not said[each]])
        },
        memory_mib=max(_memory_mib(each) for each in pids),
        cometbft_memory_mib=max(_memory_mib([pid]) for pid in comets),
        disk_mib=max(_disk_mib(node.home) for node in nodes.values()),
    )


def _numbers(world: Apart, node: NodeProcess) -> dict[str, float]:
    """A node's page of metrics: those without labels. What its ledger part cannot say is missing."""
    admin = (node.home / doors.RUN / ADDRESSES).read_text("utf-8").split()[1]
    page = _run(world, node, [sys.executable, "-c", _FETCH, f"http://{admin}/metrics"])
    assert page.returncode == 0, page.stderr
    rows = [sample for family in text_string_to_metric_families(page.stdout) for sample in family.samples]
    return {sample.name: sample.value for sample in rows if not sample.labels}


def _doctor(world: Apart, node: NodeProcess) -> str:
    done = _run(world, node, [str(Path(sys.executable).with_name("caremesh")), "doctor", "--home", str(node.home)])
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _run(world: Apart, node: NodeProcess, command: list[str]) -> subprocess.CompletedProcess[str]:
    words = world.hosts.command(node.home.name, command)
    return subprocess.run(words, capture_output=True, text=True, timeout=_WITHIN_S, check=False)


def _times(world: Apart, first: int, last: int) -> list[int]:
    found: list[int] = []
    while len(found) <= last - first:
        found += [block.signed.own().time for block in world.ledger("regulator").blocks(first + len(found), 0)]
    return found[: last - first + 1]


def _spread(times: list[int]) -> list[int]:
    between = sorted(later - earlier for earlier, later in pairwise(times))
    return [between[len(between) // 2], between[len(between) * 99 // 100], between[-1]]


def _memory_mib(pids: Iterable[int]) -> float:
    used = 0
    for pid in pids:
        with suppress(OSError):  # gone since
            lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
            used += sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
    return round(used / 1024, 1)


def _disk_mib(folder: Path) -> float:
    used = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # gone since
            used += path.lstat().st_blocks * 512
    return round(used / 2**20, 1)
