"""A worker finds out who asks, and hands over to the process that writes, through a unix socket."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from caremesh.api import ledger
from caremesh.api.app import make_app
from caremesh.api.handover import CALLER, HandedOver, forwarded, spell
from caremesh.api.limits import Limits
from caremesh.api.nonces import NonceStore
from caremesh.api.routes import MEMBERS, Answer, Call, Caller, Route
from caremesh.api.serving import Doors, listen
from caremesh.api.signatures import Head, SignatureGuard
from caremesh.client.ledger import LedgerClient
from caremesh.client.node import Node, Target
from caremesh.client.signing import Identity
from caremesh.crypto import pins
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, Refused
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from tests.support.sending import Sending


class TwoProcesses:
    """The writer behind a unix socket and a worker before it, each in an event loop of its own."""

    def __init__(self, mesh: LocalMesh, folder: Path) -> None:
        self.mesh, self.home = mesh, mesh.member("regulator").home
        self.path = folder / "ledger.sock"
        inner = socket.socket(socket.AF_UNIX)
        inner.bind(str(self.path))
        inner.listen()
        outer = listen("127.0.0.1", 0)
        self.target = Target(
            did=self.home.did,
            node_key=self.home.node_key.public,
            url=f"https://127.0.0.1:{outer.getsockname()[1]}",
        )
        self.local = Target(did=self.home.did, node_key=b"", url=f"unix:{self.path}")
        self.nonces = NonceStore(folder / "nonces", mesh.clock)
        self.routes = ledger.routes(mesh.engine, self.home.did)
        self.writer = Doors(make_app(self.routes, HandedOver()), [(inner, None)], Limits(drain_s=2))
        self.outer = outer
        self.worker: Doors | None = None
        loops = (self.writer.serve, self._work)
        self.threads = [threading.Thread(target=lambda loop=loop: asyncio.run(loop())) for loop in loops]

    async def _work(self) -> None:
        leaf = pins.make_leaf(self.home.did, self.home.node_key, int(time.time()))
        hospital = self.mesh.member("hospital").home
        context = pins.server_context(leaf, [pins.anchor(hospital.did, hospital.node_key.public)])
        guard = SignatureGuard(
            did=self.home.did, reader=self.mesh.engine.reader, nonces=self.nonces, clock=self.mesh.clock
        )
        async with Node(self.local, None) as way:
            app = make_app(forwarded(self.routes, way), guard)
            self.worker = Doors(app, [(self.outer, lambda: context)], Limits(drain_s=2))
            await self.worker.serve()

    def caller(self) -> Node:
        home = self.mesh.member("hospital").home
        leaf = pins.make_leaf(home.did, home.node_key, int(time.time()))
        return Node(self.target, Identity.of_did(home.did, home.node_key), leaf=leaf, clock=self.mesh.clock)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoProcesses]:
    folder = tmp_path_factory.mktemp("two")
    with LocalMesh(folder / "mesh", SettableClock()) as mesh:
        made = TwoProcesses(mesh, folder)
        for thread in made.threads:
            thread.start()
        while not (made.writer.started and made.worker and made.worker.started):
            time.sleep(0.005)
        yield made
        assert made.worker is not None
        made.worker.should_exit = True
        made.threads[1].join(10)
        made.writer.should_exit = True
        made.threads[0].join(10)
        made.nonces.close()


def test_everything_goes_through_unchanged(two: TwoProcesses) -> None:
    send = Sending(two.mesh)
    raw = send.raw()

    async def run() -> None:
        async with two.caller() as node:
            client = LedgerClient(node, two.mesh.light_client())
            committed = await client.submit(raw)
            assert not committed.code
            assert await client.submit(raw) == committed
            assert (await client.status(verify=False)).height == two.mesh.engine.status().height
            assert await client.query(b"members/nobody") is None
            assert [block.signed for block in await client.blocks(1, verify=False)] == [
                b.signed for b in two.mesh.engine.blocks(1)
            ]
            assert client.told == two.mesh.engine.status().height
            seen = []
            async for row in client.events(verify=False):
                seen.append(row)
                if len(seen) == 3:
                    break
            assert seen == list(two.mesh.engine.subscribe())[:3]
            async for row in client.events(seen[0][0], verify=False):
                assert row == seen[1], "it resumes where it was"
                break

    asyncio.run(run())


def test_refusals_of_both_processes_arrive_as_themselves(two: TwoProcesses) -> None:
    async def run() -> None:
        async with two.caller() as node:
            with pytest.raises(BadInput) as late:
                await LedgerClient(node).light_block(2**40)
            assert late.value.code == "ledger.11"
            with pytest.raises(BadInput) as cursor:
                async for _ in LedgerClient(node).events("x", verify=False):
                    pass
            assert cursor.value.code == "consensus.05"
        stranger = Node(two.target, Identity.of_key(SigningKey.generate()), clock=two.mesh.clock)
        async with stranger:
            with pytest.raises(Refused) as caught:
                await LedgerClient(stranger).blocks(1, verify=False)
            assert caught.value.code == "api.05"

    asyncio.run(run())


async def never(_: Call) -> Answer:
    raise AssertionError


def head(text: str) -> Head:
    return Head("GET", "https://node/", {CALLER: text} if text else {})


def test_who_asks_is_passed_on_as_it_was_found() -> None:
    route = Route(name="test.it", method="GET", path="/", summary="", handler=never)
    for caller in (
        Caller("member", "did:caremesh:x:" + "a" * 32, bytes(34)),
        Caller("key", "did:key:z6Mk", b"\x01" * 34),
        Caller("practitioner", "did:caremesh:x:" + "b" * 32, b"\xff" * 34),
    ):
        assert HandedOver().check(route, head(spell(caller))) == caller


@pytest.mark.parametrize("text", ["", "member", "god did:x AA", "member did:x !", " did:x AA"])
def test_who_says_nothing_clear_of_the_caller_is_refused(text: str) -> None:
    route = Route(name="test.it", method="GET", path="/", summary="", handler=never)
    with pytest.raises(Refused) as caught:
        HandedOver().check(route, head(text))
    assert caught.value.code == "api.01"


def test_the_inner_door_looks_at_the_kind_as_well() -> None:
    route = Route(name="test.it", method="GET", path="/", summary="", handler=never, callers=MEMBERS)
    with pytest.raises(Refused) as caught:
        HandedOver().check(route, head(spell(Caller("key", "did:key:z", bytes(34)))))
    assert caught.value.code == "api.05"


def test_the_outer_door_does_not_take_anybodys_word(two: TwoProcesses) -> None:
    """The header of the inner door means nothing at the outer one."""
    guard = SignatureGuard(did="x", reader=two.mesh.engine.reader, nonces=two.nonces, clock=two.mesh.clock)
    said = head(spell(Caller("member", two.home.did, two.home.node_key.public)))
    with pytest.raises(Refused) as caught:
        guard.check(two.routes[0], said)
    assert caught.value.code == "api.01"
