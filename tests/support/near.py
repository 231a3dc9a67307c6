"""Nodes of one network in one process: real homes, real followers, and ways between them that can be cut."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from caremesh.blobs.interface import BlockStore
from caremesh.consensus.interface import NOT_YET, Committed
from caremesh.contracts.network.messages import Params
from caremesh.custodian.custodian import Custodian
from caremesh.errors import Unavailable
from caremesh.ledger.blocks import Block
from caremesh.node import joining
from caremesh.node.errors import NO_SOURCE
from caremesh.node.logs import begin
from caremesh.node.mesh import PARAMS
from caremesh.node.node import Node
from caremesh.settings import Settings, load
from caremesh.source.directory import Directory
from caremesh.testing.clock import SettableClock
from caremesh.types import Did, Height, Seconds

ROLES = {"operator": ["regulator", "custodian"], "first": ["provider", "custodian"], "second": ["payer", "custodian"]}
FLAGS = {
    "block_every_s": "0.2",
    "retry_first_s": "0.02",
    "retry_most_s": "0.1",
    "follow_wait_s": "0.5",
    "anchor_every_s": "0.5",
}


def found(folder: Path, now: Seconds, params: Params = PARAMS) -> None:
    """Homes of these members in ``folder``, all of one network."""
    admissions = []
    for name, roles in ROLES.items():
        _, made = joining.begin(
            folder / name, chain="near", name=name, roles=roles, country="US", address=f"https://{name}.example:8443"
        )
        admissions.append(joining.read_admission(made, name))
    joining.found(folder / "operator", admissions[1:], now, params)
    file = (folder / "operator" / "founding.cbor").read_bytes()
    for name in list(ROLES)[1:]:
        joining.join(folder / name, file)


class Near:
    """The nodes that run, by name; ``cut`` holds the names of those whom nobody reaches, and who reach nobody."""

    def __init__(self, folder: Path, clock: SettableClock) -> None:
        self.folder = folder
        self.clock = clock
        self.nodes: dict[str, Node] = {}
        self.cut: set[str] = set()
        self.log = io.StringIO()

    def start(self, name: str, **flags: str) -> Node:
        settings: Settings = load(self.folder / name, FLAGS | flags)
        log = begin(name, "debug", self.log)
        (self.folder / name / "run").mkdir(exist_ok=True)
        self.nodes[name] = Node(self.folder / name, settings, lambda _: _Ways(self, name), log, self.clock)
        return self.nodes[name]

    def stop(self, name: str) -> None:
        self.nodes.pop(name).close()

    def close(self) -> None:
        for name in sorted(self.nodes, key=lambda name: name == "operator"):
            self.stop(name)

    def way(self, mine: str, other: str) -> Node:
        if (mine != other and {mine, other} & self.cut) or other not in self.nodes:
            raise Unavailable(NO_SOURCE, other)
        return self.nodes[other]


class _Ways:
    def __init__(self, near: Near, mine: str) -> None:
        self._near = near
        self._mine = mine

    def clock(self) -> Seconds:
        return self._near.clock()

    @property
    def custodians(self) -> Mapping[Did, Custodian]:
        return {node.home.did: node.member.custodian for node in self._near.nodes.values() if node.member.is_custodian}

    def holders(self) -> Mapping[Did, BlockStore]:
        mine = self._near.nodes[self._mine].home.did if self._mine in self._near.nodes else ""
        return {node.home.did: node.member.holder.of(mine) for node in self._near.nodes.values()}

    def stores(self) -> Sequence[BlockStore]:
        return list(self.holders().values())

    def directories(self) -> Mapping[Did, Directory]:
        return {node.home.did: node.member.directory for node in self._near.nodes.values()}

    def sources(self) -> list[_Source]:
        return [_Source(self._near, self._mine, other) for other in ROLES if other != self._mine]

    def submit(self, raw: bytes) -> Committed:
        return self._near.way(self._mine, "operator").submit(raw)

    def submit_many(self, raws: Sequence[bytes]) -> list[Future[Committed]]:
        futures = []
        for raw in raws:
            future: Future[Committed] = Future()
            future.set_result(self.submit(raw))
            futures.append(future)
        return futures

    def close(self) -> None:
        pass


class _Source:
    def __init__(self, near: Near, mine: str, name: str) -> None:
        self._near = near
        self._mine = mine
        self.name = name
        self.told: Height = 0

    def blocks(self, start: Height, wait_s: float) -> Sequence[Block]:
        node = self._near.way(self._mine, self.name)
        found: list[Block] = []
        try:
            node.wait(start, wait_s)
            found = list(node.blocks(start))
            self.told = node.status().height
        except Unavailable as error:
            if error.error is not NOT_YET:
                raise
        self._near.way(self._mine, self.name)
        return found
