"""A node in numbers, for whoever looks after it: what ``/metrics`` tells beside requests. docs/how-to/watch-a-node.md
has them all.

Looked up when they are asked for, in the process that has them: nothing is counted twice, and what cannot be asked is
missing instead of old. A number says nothing about a person: there are no labels but names of our own code's things.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from caremesh import __version__
from caremesh.api.health import holds
from caremesh.errors import BadInput
from caremesh.node.node import Node
from caremesh.node.supervisor import STATE

BLOCK_EVENTS: Final = ("damaged", "missing", "repaired", "not-repaired", "collected")


def of_node(node: Node) -> bytes:
    """The numbers of the process that writes, as Prometheus reads them. May block for a moment."""
    return _page(_node(node))


def of_parts(run: Path, *, answers: bool) -> bytes:
    """Those of a node's processes, as the supervisor tells them in ``run/``.

    ``answers``: whether the process that writes does.
    """
    return _page(_parts(run, answers=answers))


def _node(node: Node) -> Iterator[Metric]:
    height = node.copy.machine.head.height
    yield _one("ledger_height", "Height of this node's copy of the ledger", height)
    told = height if node.follower is None else max(height, node.follower.told)
    yield _one(
        "ledger_lag_blocks", "Blocks that others have, by their word, and this node has not executed", told - height
    )
    with suppress(BadInput):  # before the first block there is none
        yield _one("ledger_age_seconds", "Age of the newest block here, as custodians judge it", node.age_s())
    yield _one("following", "Whether the last question for blocks was answered", _follows(node))
    checks = {name: float(holds(check)) for name, check in node.checks().items()}
    yield _gauges("ready", "Whether a check of readiness holds", "check", checks)
    free = shutil.disk_usage(node.folder).free
    yield _one("disk_free_bytes", "Free on the disk of the home", free)
    yield _one("disk_min_free_bytes", "With less than this the node is not ready", node.settings.min_free_bytes)
    count, oldest_s = node.member.ledger.outbox.waiting()
    yield _one("outbox_waiting", "Transactions that wait for a batch", count)
    yield _one("outbox_oldest_seconds", "How long the first of them has waited", oldest_s)
    letters, room = node.member.inbox.total()
    yield _one("letters_waiting", "Sealed messages that wait here for wallets", letters)
    yield _one("letters_limit", "How many may", room)
    yield _counter("destroyed", "Confirmations signed of what was let go of", node.member.confirmed)
    yield from _blocks(node)
    duties = {"follow", "anchor", "collect", "finish", "check"}
    failing = node.duties.failing | node.keeper.failing
    rows = {duty: float(duty in failing) for duty in sorted(duties | failing)}
    yield _gauges("duty_failing", "Whether a duty failed when it was done last", "duty", rows)


def _blocks(node: Node) -> Iterator[Metric]:
    kinds = dict.fromkeys(BLOCK_EVENTS, 0) | dict(node.keeper.counts)
    events = CounterMetricFamily("caremesh_blocks", "What happened to blocks, by kind", labels=["kind"])
    for kind, count in sorted(kinds.items()):
        events.add_metric([kind], count)
    yield events
    yield _one("blocks_damaged_known", "Blocks of this member found damaged since it began", len(node.damaged))
    done = dict(node.keeper.check.done)
    yield _counter("blocks_checked", "Blocks read by the check in the background", done.get("blocks", 0))
    yield _counter("blocks_checked_bytes", "Bytes read by it", done.get("bytes", 0))
    yield _counter("blocks_check_rounds", "Times that it has come round", done.get("rounds", 0))


def _parts(run: Path, *, answers: bool) -> Iterator[Metric]:
    build = {__version__: 1.0}
    yield _gauges("build_info", "The version of this software", "version", build)
    yield _one("ledger_process_up", "Whether the process that writes answers", answers)
    try:
        parts = json.loads((run / STATE).read_text("utf-8"))["parts"]
    except (OSError, ValueError, KeyError):
        return  # it is being written for the first time
    yield _gauges(
        "part_running",
        "Whether a process runs",
        "part",
        {name: float(said["pid"] is not None) for name, said in parts.items()},
    )
    starts = CounterMetricFamily("caremesh_part_starts", "Times that a process was started", labels=["part"])
    for name, said in sorted(parts.items()):
        starts.add_metric([name], said["starts"])
    yield starts


def _follows(node: Node) -> bool:
    return node.follower is None or node.follower.trouble is None


class _Rows(Collector):
    def __init__(self, rows: Iterable[Metric]) -> None:
        self._rows = rows

    def collect(self) -> Iterable[Metric]:
        return self._rows


def _page(rows: Iterable[Metric]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Rows(list(rows)))
    return generate_latest(registry)


def _one(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(f"caremesh_{name}", says, value=float(value))


def _counter(name: str, says: str, value: float) -> Metric:
    return CounterMetricFamily(f"caremesh_{name}", says, value=float(value))


def _gauges(name: str, says: str, label: str, rows: Mapping[str, float]) -> Metric:
    made = GaugeMetricFamily(f"caremesh_{name}", says, labels=[label])
    for of, value in rows.items():
        made.add_metric([of], value)
    return made
