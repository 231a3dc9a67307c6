"""Alert rules, dashboard and runbooks name each other and what a node tells; each alert fires when there is reason to.

The faults are real ones, made at nodes in this process; those of whole processes are in tests/e2e/test_watched_node.py.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
import yaml

from caremesh import codec
from caremesh.api.app import Seen, make_app
from caremesh.api.observing import Metrics
from caremesh.api.routes import ANYONE, Answer, Call, Caller, Route
from caremesh.api.signatures import Head
from caremesh.consensus.cometbft.abci_pb2 import (
    BLOCK_ID_FLAG_COMMIT,
    CommitInfo,
    RequestFinalizeBlock,
    Validator,
    VoteInfo,
)
from caremesh.consensus.cometbft.config import Addresses, Pace
from caremesh.consensus.cometbft.rpc import Ordering
from caremesh.consensus.cometbft.watched import Watched
from caremesh.consensus.replica import Replica
from caremesh.errors import StorageFailed
from caremesh.ledger.blocks import Block
from caremesh.ledger.store import NOT_WRITTEN
from caremesh.node import metric_rows, ordering_numbers
from caremesh.node.inbox import Inbox, InboxLimits
from caremesh.node.node import Node
from caremesh.node.numbers import of_node, of_parts
from caremesh.testing.clock import SettableClock
from tests.support.alerting import DASHBOARD, ROOT, RULES, ask, fires, names
from tests.support.near import Near, found

RUNBOOKS = ROOT / "docs" / "how-to" / "runbooks.md"
WATCH = ROOT / "docs" / "how-to" / "watch-a-node.md"
OF_PROCESSES = {
    "CareMeshNodeDown",
    "CareMeshWriterDown",
    "CareMeshPartsRestart",
    "CareMeshRefusals",
    "CareMeshTooMuchAsked",
}
"""Shown to fire at processes."""
OF_ORDERING = {
    "CareMeshCometbftDown",
    "CareMeshNoBlocks",
    "CareMeshRounds",
    "CareMeshFewPeers",
    "CareMeshMempoolFillsUp",
    "CareMeshNotSigning",
    "CareMeshEquivocation",
}
"""Shown to fire where CometBFT orders blocks: test_alerts_of_ordering.py."""

pytestmark = pytest.mark.slow


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return list(group["rules"])


def page(node: Node) -> str:
    return of_node(node).decode()


def until(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("near")
    found(folder, int(time.time()))
    return folder


@pytest.fixture
def near(founded: Path, tmp_path: Path) -> Iterator[Near]:
    made = Near(Path(shutil.copytree(founded, tmp_path / "near")), SettableClock())
    yield made
    made.close()


def test_prometheus_takes_the_rules_and_each_has_what_it_needs() -> None:
    said = ask()
    assert said.errors == []
    assert set(said.firing) == {rule["alert"] for rule in rules()}
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"].endswith(".")


def test_what_prometheus_does_not_take_is_told(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yml"
    bad.write_text(RULES.read_text("utf-8").replace("up{job=", "up{{job="), "utf-8")
    assert ask(rules=bad).errors


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    said = RUNBOOKS.read_text("utf-8")
    headings = re.findall(r"^## (\S+)$", said, re.MULTILINE)
    assert headings == [rule["alert"] for rule in rules()]
    for rule in rules():
        anchor = rule["annotations"]["runbook_url"]
        assert anchor == f"https://caremesh.example/docs/how-to/runbooks.html#{rule['alert'].lower()}"
    for section in said.split("\n## ")[1:]:
        assert "**What.**" in section
        assert "**Do.**" in section or "`duty failed`" in section, section[:40]


def expressions() -> list[str]:
    shown = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return [target["expr"].replace("$instance", ".+") for panel in shown for target in panel["targets"]]


def test_every_metric_that_rules_dashboard_and_page_name_is_told_and_every_one_told_is_named(near: Near) -> None:
    """What a node tells: its numbers, those of its processes, and of requests."""
    node = near.start("operator")
    until(lambda: node.status().height)
    metrics = Metrics()
    metrics.observe(Seen(route="custody.release", status=403, code="api.05"))
    pages = page(node) + of_parts(_processes(near.folder), answers=True).decode() + metrics.page().decode()
    told = names(pages) | of_ordering(node) | {"up"}
    said = ask(expressions=expressions())
    assert said.errors == []
    named = {name for each in said.names.values() for name in each}
    assert named <= told
    base = {re.sub(r"_(bucket|count|sum)$", "", name) for name in told - {"up"} if not name.endswith("_created")}
    written = set(re.findall(r"`(caremesh_[a-z_]+)`", WATCH.read_text("utf-8")))
    assert written == base
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in named}
    assert shown >= base


def of_ordering(node: Node) -> set[str]:
    """What is told where CometBFT orders blocks; that it is told by nodes, test_alerts_of_ordering.py shows."""
    watched = Watched()
    watched.refused["ledger.07"] += 1
    votes = [VoteInfo(validator=Validator(address=bytes(20)), block_id_flag=BLOCK_ID_FLAG_COMMIT)]
    watched.committed(RequestFinalizeBlock(decided_last_commit=CommitInfo(votes=votes)))
    local = SimpleNamespace(pace=Pace(), waiting=10, addresses=Addresses(""))
    copy = SimpleNamespace(
        application=SimpleNamespace(watched=watched),
        local=local,
        reader=node.reader,
        process=SimpleNamespace(starts=1),
    )
    return names(
        metric_rows.page(ordering_numbers.rows(cast("Any", copy), node.home.did, Ordering(1, 0, (1,), 0, 0))).decode()
    )


def _processes(folder: Path) -> Path:
    run = folder / "processes"
    run.mkdir(exist_ok=True)
    (run / "processes.json").write_text(json.dumps({"parts": {"ledger": {"pid": 1, "starts": 1, "last": ""}}}))
    return run


def test_a_dashboard_is_one_that_grafana_takes() -> None:
    shown = json.loads(DASHBOARD.read_text("utf-8"))
    assert shown["uid"] == "caremesh"
    assert (
        len({panel["id"] for panel in shown["panels"]})
        == len(shown["panels"])
        == len({p["title"] for p in shown["panels"]})
    )
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in shown["panels"]]
    assert len(set(places)) == len(places)
    assert all(x + panel["gridPos"]["w"] <= 24 for (x, _), panel in zip(places, shown["panels"], strict=True))


# --- each alert, by a fault that makes it fire ------------------------------------------------------------


def no_room(near: Near) -> tuple[str, str]:
    node = near.start("operator")
    until(lambda: node.status().height)
    before = page(node)
    near.stop("operator")
    return before, page(near.start("operator", min_free_bytes=str(2**50)))


def cut_off(near: Near) -> tuple[str, str]:
    operator, first = near.start("operator"), near.start("first")
    until(lambda: first.status().height and operator.status().height)
    before = page(first)
    near.cut.add("operator")
    until(lambda: first.follower is not None and first.follower.trouble)
    near.clock.advance(60)
    return before, page(first)


def slow_disk(near: Near) -> tuple[str, str]:
    operator = near.start("operator")
    first = near.start("first")
    until(lambda: first.status().height)
    before, reached = page(first), first.status().height
    near.stop("first")
    until(lambda: operator.status().height > reached + 25)
    going = [False]
    whole = Replica.apply

    def waits(self: Replica, block: Block) -> None:
        until(lambda: going[0])
        whole(self, block)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Replica, "apply", waits)
        first = near.start("first")
        until(lambda: first.follower is not None and first.follower.told)
        after = page(first)
        going[0] = True
        until(lambda: first.status().height > reached + 20)
    return before, after


def damaged_block(near: Near) -> tuple[str, str]:
    node = near.start("operator")
    until(lambda: node.status().height)
    before = page(node)
    cid, stream = codec.cid_of_raw(b"block"), bytes(32)
    node.home.blocks.put(stream, cid, b"block")
    [path] = (node.folder / "blocks").rglob(cid.encode())
    path.write_bytes(b"blocc")
    node.suspect(cid)
    until(lambda: node.keeper.counts["not-repaired"] and node.keeper.counts["damaged"])
    return before, page(node)


def duty_fails(near: Near) -> tuple[str, str]:
    node = near.start("operator")
    until(lambda: node.status().height)
    before = page(node)

    def full() -> list[bytes]:
        raise StorageFailed(NOT_WRITTEN)

    node.member.follow = full  # type: ignore[method-assign]
    until(lambda: node.duties.failing)
    return before, page(node)


def full_inbox(near: Near) -> tuple[str, str]:
    node = near.start("operator")
    node.member.inbox = Inbox(node.home.vault, near.clock, InboxLimits(max_messages=5))
    until(lambda: node.status().height)
    before = page(node)
    for number in range(5):
        node.member.inbox.leave(bytes(34), b"%d" % number, "did:caremesh:near:x")
    return before, page(node)


def standing_outbox(near: Near) -> tuple[str, str]:
    node = near.start("operator")
    until(lambda: node.status().height)
    before, outbox = page(node), node.member.ledger.outbox
    with outbox._changed:  # as if one transaction were there since eleven minutes
        outbox._waiting.append(None)  # type: ignore[arg-type]
        outbox._since = time.monotonic() - 660
        after = page(node)
        outbox._waiting.clear()
    return before, after


def slow_releases(_: Near) -> tuple[str, str]:
    metrics = Metrics()
    for _ in range(100):
        metrics.observe(Seen(route="custody.release", seconds=0.01))
    before = metrics.page().decode()
    for _ in range(100):
        metrics.observe(Seen(route="custody.release", seconds=4.0))
    return before, metrics.page().decode()


class _AnyoneMay:
    def check(self, route: Route, head: Head) -> Caller:  # noqa: ARG002
        return Caller("anyone", "")

    def check_body(self, head: Head, body: bytes) -> None:
        pass


def faulty_program(_: Near) -> tuple[str, str]:
    metrics, well = Metrics(), [True]

    async def handle(_: Call) -> Answer:
        return Answer() if well[0] else {}["x"]  # type: ignore[index]

    route = Route(name="test.it", method="GET", path="/it", summary="", handler=handle, callers=ANYONE)
    app = make_app([route], _AnyoneMay(), observe=metrics.observe)

    async def one() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://node") as client:
            await client.get("/it")

    asyncio.run(one())
    before = metrics.page().decode()
    well[0] = False
    asyncio.run(one())
    return before, metrics.page().decode()


FAULTS: list[tuple[Callable[[Near], tuple[str, str]], set[str]]] = [
    (no_room, {"CareMeshDiskFull", "CareMeshDiskFillsUp"}),
    (cut_off, {"CareMeshNotFollowing", "CareMeshNotFresh"}),
    (slow_disk, {"CareMeshBehind", "CareMeshNotFresh"}),
    (damaged_block, {"CareMeshBlocksDamaged", "CareMeshBlocksNotRepaired"}),
    (duty_fails, {"CareMeshDutyFails"}),
    (full_inbox, {"CareMeshLettersFillUp"}),
    (standing_outbox, {"CareMeshOutboxStands"}),
    (slow_releases, {"CareMeshReleasesSlow"}),
    (faulty_program, {"CareMeshFaults"}),
]


@pytest.mark.parametrize(("fault", "alerts"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_an_alert_fires_when_there_is_reason_to_and_not_before(
    near: Near, fault: Callable[[Near], tuple[str, str]], alerts: set[str], evidence: Any
) -> None:
    before, after = fault(near)
    assert fires(before, before) == set()
    assert fires(before, after) == alerts
    evidence.fault(fault.__name__.replace("_", " "))


def test_no_alert_is_left_out() -> None:
    assert {rule["alert"] for rule in rules()} == (OF_PROCESSES | OF_ORDERING).union(*(alerts for _, alerts in FAULTS))
