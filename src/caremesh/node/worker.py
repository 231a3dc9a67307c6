"""A worker of a node's API: TLS, signatures and limits are its own; what it may not do itself, it passes on.

It never sees a key of the member: the ledger process makes its certificate. It reads the ledger where the ledger
process writes it, to know whose key is whose.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

from msgspec.structs import replace
from starlette.types import ASGIApp, Receive, Scope, Send

from caremesh.api import observing, room
from caremesh.api.app import make_app
from caremesh.api.handover import CALLER, forwarded, spell
from caremesh.api.limits import Limits, Rates
from caremesh.api.nonces import NonceStore
from caremesh.api.origins import with_origins
from caremesh.api.routes import Answer, Call, Caller, Route, json_answer
from caremesh.api.serving import Doors
from caremesh.api.shared_rates import SharedRates
from caremesh.api.signatures import SignatureGuard
from caremesh.client import wire
from caremesh.client.node import Node as Way
from caremesh.client.node import Patience, Target
from caremesh.consensus.compaction import open_for_reading
from caremesh.contracts.members import queries as members
from caremesh.crypto import pins
from caremesh.errors import CareMeshError, Refused
from caremesh.ledger.past import StateAt
from caremesh.ledger.store import Store
from caremesh.node import doors, founding, joining, traces
from caremesh.node.block_reads import read_here
from caremesh.node.errors import NOT_JOINED
from caremesh.node.founding import Clock
from caremesh.node.logs import Log, about
from caremesh.node.numbers import of_parts
from caremesh.node.pulse import beating
from caremesh.node.running import LEDGER
from caremesh.settings import Settings
from caremesh.types import Did, Multikey

LOOK_EVERY_S: Final = 1.0
"""So often a worker looks whether members or keys have changed, and whether its certificate is about to end."""
RENEW_BEFORE_S: Final = 86_400
NUMBERS_S: Final = 5.0
"""How long the process that writes may take to tell its numbers."""
ADMIN_RATE: Final = (1_000.0, 10_000, 1_000)
"""Of the admin address, which is private: requests a second, at once, and of how many addresses."""
READY: Final = "health.ready"
READY_WITHIN_S: Final = 3.0
"""When the ledger process has not said by then that it is ready, it is not."""
NONCES: Final = "nonces"
NOBODY: Final = Caller("anyone", "")


def run(home: Path, settings: Settings, log: Log, fds: Sequence[int], clock: Clock | None) -> None:
    """Answer until a signal. ``fds``: the listening sockets, of the network and of the admin address."""
    worker = _Worker(home, settings, log, clock or (lambda: int(time.time())))
    asyncio.run(beating(worker.serve(fds), settings.silent_s, log))


class _Worker:
    def __init__(self, home: Path, settings: Settings, log: Log, clock: Clock) -> None:
        self._home: Final = home
        self._settings: Final = settings
        self._log: Final = log
        self._clock: Final = clock
        known = founding.load(home)
        if known is None:
            raise Refused(NOT_JOINED, home.name)
        self._chain: Final = known.chain
        said = joining.load_admission(home).admit
        self._did: Final[Did] = said.member
        self._key: Final[Multikey] = said.keys.node
        self._custodian: Final = "custodian" in said.roles
        self._store: Store | None = None
        self._context: ssl.SSLContext | None = None
        self._until = 0
        self._pinned: list[tuple[Did, Multikey]] = []

    async def serve(self, fds: Sequence[int]) -> None:
        """Until a signal."""
        url = f"unix:{self._home / doors.RUN / doors.SOCKET}"
        limits = doors.limits(self._settings)
        tracer = traces.begin(self._settings, "api", self._did)
        inside = Way(
            Target(did=self._did, node_key=self._key, url=url),
            None,
            clock=self._clock,
            patience=Patience(answer_s=90.0, tries=1, connections=256),
            tracer=tracer,
        )
        callers, addresses = self._rates(limits)
        nonces = NonceStore(self._home / doors.RUN / NONCES, self._clock)
        looking = asyncio.create_task(self._look(inside))
        try:
            guard = SignatureGuard(did=self._did, reader=self._reader, nonces=nonces, clock=self._clock)
            routes = read_here(
                forwarded(doors.outer(None, self._did, {}, custodian=self._custodian), inside),
                home=self._home,
                settings=self._settings,
                did=self._did,
                key=self._key,
                reader=self._reader,
                clock=self._clock,
            )
            routes = [_told_soon(each) if each.name == READY else each for each in routes]
            if not room.for_metrics(Path(os.environ.get(observing.SHARED, os.devnull))):
                self._log.warning("counts alone")
            metrics = observing.Metrics()
            observe = observing.all_of([metrics.observe, observing.to_log(cast("observing.Log", self._log))])
            outside = make_app(
                routes,
                guard,
                limits=limits,
                observe=observe,
                callers=callers,
                addresses=addresses,
                tracer=tracer,
            )
            outside = with_origins(outside, self._settings.web_origins.split())
            health = [route for route in routes if route.name.startswith("health.")]
            page = observing.routes(metrics.page, lambda: self._numbers(inside))
            admin = make_app([*health, *page], guard, limits=limits, addresses=Rates(*ADMIN_RATE))
            sockets = [socket.socket(fileno=fd) for fd in fds]
            ways = [(sockets[0], self._tls), *((listener, None) for listener in sockets[1:])]
            await Doors(_by_scheme(outside, admin), ways, limits).serve()
        finally:
            looking.cancel()
            await inside.close()
            nonces.close()
            callers.close()
            addresses.close()
            if tracer is not None:
                await asyncio.to_thread(tracer.close)
            if self._store is not None:
                self._store.close()

    def _rates(self, limits: Limits) -> tuple[SharedRates, SharedRates]:
        """Of callers and of addresses, shared with the other workers."""
        run, most = self._home / doors.RUN, limits.max_callers
        return (
            SharedRates(run / "rates-callers", limits.per_second, limits.burst, most),
            SharedRates(run / "rates-addresses", limits.per_second_address, limits.burst_address, most),
        )

    async def _numbers(self, inside: Way) -> bytes:
        """What is to be told besides requests: of the process that writes, when it answers, and of all processes."""
        try:
            said = (await inside.call("GET", doors.NUMBERS, headers={CALLER: spell(NOBODY)}, answer_s=NUMBERS_S)).body
        except CareMeshError:
            said = b""
        return said + of_parts(self._home / doors.RUN, answers=bool(said))

    def _reader(self) -> StateAt:
        """The state that the ledger process has executed. Raises StorageFailed until there is one."""
        if self._store is None:
            self._store = open_for_reading(self._home / LEDGER, self._chain)
        return StateAt(self._store)

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            raise OSError("no certificate yet")  # who comes waits
        return self._context

    async def _look(self, inside: Way) -> None:
        """Keep certificate and pins as the ledger has them."""
        told = ""
        while True:
            try:
                await self._renew(inside)
                told = ""
            except Exception as error:  # noqa: BLE001 - told; the next look may be better
                said = about(error)
                if told != str(said):
                    self._log.warning("no certificate", **said)
                told = str(said)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _renew(self, inside: Way) -> None:
        known = [(each.did, each.keys.node) for each in members.members(self._reader()) if each.status == "active"]
        if known == self._pinned and self._until - time.time() > RENEW_BEFORE_S:
            return
        answer = await inside.call("GET", doors.LEAF, headers={CALLER: spell(NOBODY)})
        said = wire.from_json(answer.body, doors.LeafAnswer)
        leaf = pins.Leaf(said.certificate.encode(), said.key.encode(), said.until)
        self._context = pins.server_context(leaf, [pins.anchor(*each) for each in known])
        self._pinned, self._until = known, said.until
        self._log.info("pinned", count=len(known))


def _told_soon(ready: Route) -> Route:
    """Readiness, also while the ledger process does not answer."""

    async def handle(call: Call) -> Answer:
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                return await ready.handler(call)
        except (CareMeshError, TimeoutError):
            return json_answer(wire.Health(ready=False, checks={"writer": False}), 503)

    return replace(ready, handler=handle)


def _by_scheme(outside: ASGIApp, admin: ASGIApp) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (outside if scope["scheme"] == "https" else admin)(scope, receive, send)

    return app
