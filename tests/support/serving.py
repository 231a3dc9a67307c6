"""A node of a local mesh behind its outer door: a real server on loopback, over TLS, in a thread of its own."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from caremesh import codec
from caremesh.api import custody, directory, health, ledger, wallet
from caremesh.api.app import make_app
from caremesh.api.limits import Limits
from caremesh.api.nonces import NonceStore
from caremesh.api.observing import Metrics, all_of, to_log
from caremesh.api.routes import Route
from caremesh.api.serving import Doors, listen
from caremesh.api.signatures import SignatureGuard
from caremesh.client.node import Node, Target
from caremesh.client.signing import Identity
from caremesh.consensus.embedded import Embedded
from caremesh.consensus.interface import Committed
from caremesh.contracts.members import queries as members
from caremesh.crypto import pins
from caremesh.crypto.keys import SigningKey
from caremesh.node import logs
from caremesh.node.mesh import LocalMesh, Member
from caremesh.node.serving_wallets import WalletService
from caremesh.types import Did, Multikey


class OneAtATime:
    """The engine of a local mesh makes a block in the thread that submits: here, in one at a time."""

    lock = threading.Lock()

    def __init__(self, engine: Embedded) -> None:
        self._engine = engine

    def submit(self, raw: bytes) -> Committed:
        with self.lock:
            return self._engine.submit(raw)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


class Served:
    """One member of a mesh, reachable at ``url``."""

    def __init__(self, mesh: LocalMesh, name: str, folder: Path, limits: Limits | None = None) -> None:
        self.mesh = mesh
        self.home = mesh.member(name).home
        self.limits = limits or Limits()
        self.nonces = NonceStore(folder / f"nonces-{name}", mesh.clock)
        self.socket = listen("127.0.0.1", 0)
        self.url = f"https://127.0.0.1:{self.socket.getsockname()[1]}"
        self.routes = self._routes(mesh.member(name))
        guard = SignatureGuard(did=self.home.did, reader=mesh.engine.reader, nonces=self.nonces, clock=mesh.clock)
        self.guard = guard
        self.said, self.metrics = io.StringIO(), Metrics()
        observe = all_of([self.metrics.observe, to_log(logs.begin(name, "debug", self.said))])
        app = make_app(self.routes, guard, limits=self.limits, observe=observe)
        self.app = app
        self.doors = Doors(app, [(self.socket, self._context)], self.limits)
        self._thread = threading.Thread(target=lambda: asyncio.run(self.doors.serve()), name="served")

    def _routes(self, member: Member) -> list[Route]:
        mine = ledger.routes(cast("Any", OneAtATime(self.mesh.engine)), member.home.did)
        if member.is_custodian:
            mine += custody.routes(member.custodian)
        mine += custody.erasure_routes(lambda stream, segment: self.mesh.confirm_erased(self.home.did, stream, segment))
        mine += directory.routes(member.directory)
        self.service = WalletService(member, self.mesh, self, codec.encode(self.mesh.founding))
        mine += wallet.routes(self.service)
        return [*mine, *health.routes({"ledger": lambda: self.mesh.engine.status().running}, mine, "0")]

    def letter(self, member: Did, sealed: bytes) -> bytes:
        """See ``Carries``: here, within the process."""
        return self.mesh.send_letter(member, sealed)

    def leave(self, relay: Did, channel_key: Multikey, sealed: bytes) -> None:
        """See ``Carries``: here, within the process."""
        self.mesh.leave_message(channel_key, sealed, relay, self.home.did)

    def _context(self) -> pins.ssl.SSLContext:
        leaf = pins.make_leaf(self.home.did, self.home.node_key, int(time.time()))
        known = members.members(self.mesh.engine.reader())
        return pins.server_context(leaf, [pins.anchor(m.did, m.keys.node) for m in known if m.status == "active"])

    @property
    def target(self) -> Target:
        return Target(did=self.home.did, node_key=self.home.node_key.public, url=self.url)

    def node(self, identity: Identity, leaf: pins.Leaf | None = None) -> Node:
        return Node(self.target, identity, leaf=leaf, clock=self.mesh.clock)

    def as_member(self, name: str) -> Node:
        """Called by another member's node."""
        home = self.mesh.member(name).home
        leaf = pins.make_leaf(home.did, home.node_key, int(time.time()))
        return self.node(Identity.of_did(home.did, home.node_key), leaf)

    def as_key(self, key: SigningKey | None = None) -> Node:
        """Called by whoever has a key."""
        return self.node(Identity.of_key(key or SigningKey.generate()))

    def start(self) -> None:
        self._thread.start()
        while not self.doors.started:
            time.sleep(0.005)

    def stop(self) -> None:
        self.doors.should_exit = True
        self._thread.join()
        self.nonces.close()


@contextmanager
def served(mesh: LocalMesh, name: str, folder: Path, limits: Limits | None = None) -> Iterator[Served]:
    """One member, served while the block runs."""
    running = Served(mesh, name, folder, limits)
    running.start()
    try:
        yield running
    finally:
        running.stop()
