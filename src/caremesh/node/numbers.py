"""A node in numbers, for whoever looks after it: what ``/metrics`` tells beside requests. docs/how-to/watch-a-node.md
has them all.

Looked up when they are asked for, in the process that has them: nothing is counted twice, and what cannot be asked is
missing instead of old. A number says nothing about a person: there are no labels but names of our own code's things.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client.metrics_core import Metric

from caremesh import __version__
from caremesh.api.health import holds
from caremesh.consensus.embedded import Embedded
from caremesh.consensus.replica import Replica
from caremesh.errors import BadInput
from caremesh.node import ordering_numbers
from caremesh.node.metric_rows import counter, counters, gauges, one, page
from caremesh.node.node import Node
from caremesh.node.supervisor import STATE

BLOCK_EVENTS: Final = ("damaged", "missing", "repaired", "not-repaired", "collected")


def of_node(node: Node) -> bytes:
    """The numbers of the process that writes, as Prometheus reads them. May block for a moment."""
    return page(_node(node))


def of_parts(run: Path, *, answers: bool) -> bytes:
    """Those of a node's processes, as the supervisor tells them in ``run/``.

    ``answers``: whether the process that writes does.
    """
    return page(_parts(run, answers=answers))


def _node(node: Node) -> Iterator[Metric]:
    height = node.copy.machine.head.height
    yield one("ledger_height", "Height of this node's copy of the ledger", height)
    told = height if node.follower is None else max(height, node.follower.told)
    if not isinstance(node.copy, (Embedded, Replica)):
        stands = ordering_numbers.asked(node.copy)
        told = max(height, ordering_numbers.told(stands))
        yield from ordering_numbers.rows(node.copy, node.home.did, stands)
    yield one(
        "ledger_lag_blocks", "Blocks that others have, by their word, and this node has not executed", told - height
    )
    with suppress(BadInput):  # before the first block there is none
        yield one("ledger_age_seconds", "Age of the newest block here, as custodians judge it", node.age_s())
    yield one("following", "Whether the last question for blocks was answered", _follows(node))
    checks = {name: float(holds(check)) for name, check in node.checks().items()}
    yield gauges("ready", "Whether a check of readiness holds", "check", checks)
    free = shutil.disk_usage(node.folder).free
    yield one("disk_free_bytes", "Free on the disk of the home", free)
    yield one("disk_min_free_bytes", "With less than this the node is not ready", node.settings.min_free_bytes)
    count, oldest_s = node.member.ledger.outbox.waiting()
    yield one("outbox_waiting", "Transactions that wait for a batch", count)
    yield one("outbox_oldest_seconds", "How long the first of them has waited", oldest_s)
    letters, room = node.member.inbox.total()
    yield one("letters_waiting", "Sealed messages that wait here for wallets", letters)
    yield one("letters_limit", "How many may", room)
    yield counter("destroyed", "Confirmations signed of what was let go of", node.member.confirmed)
    yield from _blocks(node)
    duties = {"follow", "anchor", "collect", "finish", "check"}
    failing = node.duties.failing | node.keeper.failing
    rows = {duty: float(duty in failing) for duty in sorted(duties | failing)}
    yield gauges("duty_failing", "Whether a duty failed when it was done last", "duty", rows)


def _blocks(node: Node) -> Iterator[Metric]:
    kinds = dict.fromkeys(BLOCK_EVENTS, 0) | dict(node.keeper.counts)
    yield counters("blocks", "What happened to blocks, by kind", "kind", kinds)
    yield one("blocks_damaged_known", "Blocks of this member found damaged since it began", len(node.damaged))
    done = dict(node.keeper.check.done)
    yield counter("blocks_checked", "Blocks read by the check in the background", done.get("blocks", 0))
    yield counter("blocks_checked_bytes", "Bytes read by it", done.get("bytes", 0))
    yield counter("blocks_check_rounds", "Times that it has come round", done.get("rounds", 0))


def _parts(run: Path, *, answers: bool) -> Iterator[Metric]:
    build = {__version__: 1.0}
    yield gauges("build_info", "The version of this software", "version", build)
    yield one("ledger_process_up", "Whether the process that writes answers", answers)
    try:
        parts = json.loads((run / STATE).read_text("utf-8"))["parts"]
    except (OSError, ValueError, KeyError):
        return  # it is being written for the first time
    yield gauges(
        "part_running",
        "Whether a process runs",
        "part",
        {name: float(said["pid"] is not None) for name, said in parts.items()},
    )
    starts = {name: said["starts"] for name, said in parts.items()}
    yield counters("part_starts", "Times that a process was started", "part", starts)


def _follows(node: Node) -> bool:
    return node.follower is None or node.follower.trouble is None
