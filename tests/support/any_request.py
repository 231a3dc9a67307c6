"""A member with every room that a node has, asked without a network before it, by requests made from its document."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from caremesh import codec
from caremesh.api import blocks, custody, directory, health, ipfs, ledger, observing, wallet
from caremesh.api.app import Seen, make_app
from caremesh.api.capabilities import Capabilities
from caremesh.api.heights import Heights
from caremesh.api.limits import Limits
from caremesh.api.nonces import NonceStore
from caremesh.api.openapi import document
from caremesh.api.routes import Caller, Route
from caremesh.api.signatures import Head, SignatureGuard
from caremesh.blobs.accounts import Accounts
from caremesh.blobs.holding import Holder
from caremesh.blobs.memory import MemoryBlocks
from caremesh.client import wire
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.signatures import ED25519_PREFIX
from caremesh.node.mesh import LocalMesh
from caremesh.node.serving_wallets import WalletService
from caremesh.testing.clock import SettableClock
from caremesh.types import Did, Multikey
from tests.support.sending import Sending
from tests.support.serving import OneAtATime

MEMBER = "did:caremesh:caremesh-local:" + "a" * 32
KEY = ED25519_PREFIX + SigningKey.from_seed(bytes(32)).public[-32:]
PLENTY = Limits(per_second_address=1e9, burst_address=10**9, per_second=1e9, burst=10**9, stream_s=0.03, linger_s=0.1)
TURN_S = 0.01

schemathesis.serializer(wire.CBOR)(lambda _, value: _bytes(value))
schemathesis.serializer(wire.RAW)(lambda _, value: _bytes(value))


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else codec.encode(str(value))


class LetsIn:
    """Everyone is let in, as someone who may ask this: so that what is behind the guard is tried.

    Of several kinds that may, the address chooses: the same request is always the same one's.
    """

    def check(self, route: Route, head: Head) -> Caller:
        kinds = sorted(route.callers)
        kind = kinds[len(head.url) % len(kinds)]
        return Caller(kind, "" if kind == "anyone" else MEMBER if kind == "member" else "did:key:x", KEY)

    def check_body(self, head: Head, body: bytes) -> None:
        pass


class AnyNode:
    """The laboratory, a custodian that holds blocks and relays. ``seen``: what was answered."""

    def __init__(self, mesh: LocalMesh, folder: Path) -> None:
        self.mesh, self.member = mesh, mesh.member("laboratory")
        home = self.member.home
        self.accounts = Accounts(folder / "accounts")
        self.store = MemoryBlocks()
        holder = Holder(did=home.did, store=self.store, accounts=self.accounts, ledger=mesh.engine, clock=mesh.clock)
        may = Capabilities(
            did=home.did, key=home.node_key.public, signer=home.node_key, blocks=self.store, clock=mesh.clock
        )
        reader = mesh.engine.reader
        ports = blocks.Ports(holder=holder, may=may, reader=reader, clock=mesh.clock, suspect=lambda _: None)
        engine: Any = OneAtATime(mesh.engine)
        self.metrics = observing.Metrics()
        routes = ledger.routes(engine, home.did) + custody.routes(self.member.custodian)
        routes += custody.erasure_routes(self.member.forgetting.confirm_erased)
        routes += blocks.routes(ports) + ipfs.routes(ports) + directory.routes(self.member.directory)
        routes += wallet.routes(WalletService(self.member, mesh, self, codec.encode(mesh.founding)))
        routes += observing.routes(self.metrics.page)
        self.routes = routes + health.routes({}, routes, "0")
        self.nonces = NonceStore(folder / "nonces", mesh.clock)
        guard = SignatureGuard(did=home.did, reader=reader, nonces=self.nonces, clock=mesh.clock)
        self.seen: list[Seen] = []
        self.open = make_app(self.routes, LetsIn(), limits=PLENTY, observe=self.seen.append)
        self.guarded = make_app(self.routes, guard, limits=PLENTY)
        self.loop = asyncio.new_event_loop()
        self.sending = Sending(mesh)

    def letter(self, member: Did, sealed: bytes) -> bytes:
        """See ``Carries``: here, within the process."""
        return self.mesh.send_letter(member, sealed)

    def leave(self, relay: Did, channel_key: Multikey, sealed: bytes) -> None:
        """See ``Carries``: here, within the process."""
        self.mesh.leave_message(channel_key, sealed, relay, self.member.home.did)

    def ask(self, method: str, url: str, *, guarded: bool = False, **more: Any) -> httpx.Response:
        async def inside() -> httpx.Response:
            way = httpx.ASGITransport(self.guarded if guarded else self.open, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=way, base_url="https://node") as client:
                return await client.request(method, url, **more)

        return self.loop.run_until_complete(inside())

    def close(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        self.nonces.close()
        self.accounts.close()


@contextmanager
def any_node(folder: Path) -> Iterator[AnyNode]:
    """Where it would wait for something, it waits for a moment."""
    whole = Heights.reached

    async def soon(self: Heights, height: int, within_s: float) -> bool:
        return await whole(self, height, min(within_s, TURN_S))

    with pytest.MonkeyPatch.context() as patch, LocalMesh(folder / "mesh", SettableClock()) as mesh:
        patch.setattr(Heights, "reached", soon)
        patch.setattr(wallet, "TURN_S", TURN_S)
        made = AnyNode(mesh, folder)
        try:
            yield made
        finally:
            made.close()


def check(got: httpx.Response) -> None:
    """No failure of ours; what is refused is a problem with a code; the code is one of the error tree's form."""
    assert got.status_code < 500, (got.status_code, got.content[:300])
    if got.status_code >= 400 and got.request.method != "HEAD":
        assert got.headers["content-type"] == wire.PROBLEM
        problem = msgspec.json.decode(got.content, type=wire.Problem)
        assert problem.status == got.status_code
        assert wire.error_of(got.content).code == problem.code


def operations(node: AnyNode) -> list[Any]:
    """All of the document."""
    schema = schemathesis.openapi.from_dict(msgspec.json.decode(document(node.routes, "0")))
    return [each.ok() for each in schema.get_all_operations()]


def from_the_document(node: AnyNode, examples: int) -> Counter[str]:
    """So many requests for each operation, or fewer where there are no more; how many each route was asked."""
    before = len(node.seen)
    for operation in operations(node):

        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def one(case: Any) -> None:
            sent = case.as_transport_kwargs(base_url="https://node")
            headers = {name: value for name, value in (sent.get("headers") or {}).items() if value.isascii()}
            got = node.ask(
                sent["method"],
                sent["url"],
                params=sent.get("params"),
                content=sent.get("data") or msgspec.json.encode(sent.get("json")),
                headers=headers | ({"content-type": case.media_type} if case.media_type else {}),
            )
            check(got)

        one()
    return Counter(seen.route for seen in node.seen[before:])
