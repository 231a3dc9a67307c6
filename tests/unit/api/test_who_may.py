"""Every endpoint × every kind of caller, through a real server: made from the routes, so that none is forgotten."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from caremesh.api.app import make_app
from caremesh.api.limits import Limits
from caremesh.api.routes import CERTIFICATE, Answer, Call, Route
from caremesh.client import wire
from caremesh.client.signing import Identity, Message, sign
from caremesh.crypto import pins
from caremesh.crypto.keys import SigningKey
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from tests.support.serving import Served, served
from tests.support.suspending import suspend
from tools import api_page

GUARD = {f"api.{number:02}" for number in range(1, 11)}
"""What the guard says when it does not let someone in."""


class Who(NamedTuple):
    """A kind of caller: who signs, and whose certificate is shown."""

    signs: str
    shows: str = ""


WHO = {
    "nobody": Who(""),
    "wallet key": Who("key"),
    "wallet key at a node": Who("key", "hospital"),
    "practitioner": Who("practitioner"),
    "member without certificate": Who("hospital"),
    "member with another's certificate": Who("hospital", "payer"),
    "member with certificate": Who("hospital", "hospital"),
    "suspended member": Who("regulator"),
    "suspended member with its certificate": Who("regulator", "regulator"),
    "member under its identity key": Who("hospital identity"),
    "stranger in a member's name": Who("stranger"),
}


def expected(route: Route, who: str) -> set[str]:
    """The codes of the guard that are right; empty when the caller is let in."""
    if who == "suspended member with its certificate":
        return {"tls"}
    if who == "suspended member":
        return {"api.04"}
    if who in ("member under its identity key", "stranger in a member's name"):
        return {"api.02"}
    if who == "nobody":
        return set() if "anyone" in route.callers else {"api.01"}
    kind = "key" if who.startswith("wallet") else "practitioner" if who == "practitioner" else "member"
    if kind not in route.callers:
        return {"api.05"}
    return {"api.10"} if route.pinned and who != "member with certificate" else set()


class Door:
    """The laboratory, a custodian, served; the regulator is suspended."""

    def __init__(self, door: Served) -> None:
        self.door, self.mesh = door, door.mesh
        self.clients: dict[str, httpx.Client] = {}

    def client(self, shows: str) -> httpx.Client:
        if shows not in self.clients:
            home = self.mesh.member(shows).home if shows else None
            leaf = pins.make_leaf(home.did, home.node_key, self.mesh.clock()) if home else None
            context = pins.client_context(leaf, pins.anchor(self.door.target.did, self.door.target.node_key))
            self.clients[shows] = httpx.Client(verify=context, trust_env=False, timeout=60)
        return self.clients[shows]

    def identity(self, signs: str) -> Identity | None:
        hospital = self.mesh.member("hospital").home
        if signs == "key":
            return Identity.of_key(SigningKey.generate())
        if signs == "practitioner":
            doctor = self.mesh.member("practice").home.practitioner(CHAIN)
            return Identity.of_did(doctor.did, doctor.key)
        if signs == "hospital identity":
            return Identity.of_did(hospital.did, hospital.key)
        if signs == "stranger":
            return Identity.of_did(hospital.did, SigningKey.generate())
        home = self.mesh.member(signs).home if signs else None
        return Identity.of_did(home.did, home.node_key) if home else None

    def asks(self, route: Route, who: Who) -> tuple[int, str]:
        """(status, code) of the answer; code ``tls`` when there was none."""
        path = route.path.replace("{id}", "bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy")
        path = path.replace("{key}", "bWVtYmVycw").replace("{call}", "status").replace("{consent}", "A" * 43)
        path = path.replace("{member}", self.door.home.did)
        query = "?start=1" if route.name == "ledger.blocks" else ""
        url, body = f"{self.door.url}{path}{query}", b"{}" if route.media == wire.JSON else os.urandom(8)
        headers = {wire.TO: self.door.home.did} | ({"content-type": route.media} if route.media else {})
        content = body if route.media else b""
        if (identity := self.identity(who.signs)) is not None:
            sign(Message(route.method, url, headers), content, identity, self.mesh.clock())
        try:
            with self.client(who.shows).stream(route.method, url, content=content, headers=headers) as got:
                if got.headers["content-type"] != wire.PROBLEM:
                    return got.status_code, ""
                return got.status_code, msgspec.json.decode(got.read(), type=wire.Problem).code
        except httpx.TransportError:
            return 0, "tls"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("who")
    with LocalMesh(folder / "mesh", SettableClock()) as mesh:
        suspend_last(mesh)
        with served(mesh, "laboratory", folder, Limits(burst_address=10**6, burst=10**6)) as running:
            made = Door(running)
            yield made
            for client in made.clients.values():
                client.close()


def suspend_last(mesh: LocalMesh) -> None:
    """The authority hands over, and is suspended then."""
    from caremesh.contracts.network.messages import Authorities, SetAuthorities

    heir = mesh.member("payer").home
    regulator = mesh.member("regulator").home
    handed = SetAuthorities(authorities=Authorities([heir.did], 1))
    assert not mesh.send([heir.requester, regulator.requester], handed).code
    suspend(mesh, "regulator", by="payer")


@pytest.mark.promise("P2")
@pytest.mark.parametrize("who", WHO)
def test_who_may_ask_what(door: Door, who: str) -> None:
    wrong = []
    for route in door.door.routes:
        status, code = door.asks(route, WHO[who])
        right = expected(route, who)
        let_in = code not in GUARD | {"tls"}
        fits = code in right if right else let_in
        if not fits or (status >= 500 and route.name != "health.ready"):
            wrong.append((route.name, status, code, right))
    assert not wrong


def test_the_table_holds_every_route_of_the_two_rooms(door: Door) -> None:
    names = {route.name for route in door.door.routes}
    assert {name for name in names if name.startswith("custody.")} == {
        f"custody.{what}"
        for what in (
            "fragment",
            "seals",
            "reseal",
            "release",
            "releases",
            "own-seals",
            "own-log",
            "destruction",
            "log",
            "erasure",
        )
    }
    assert {name for name in names if name.startswith("ledger.")} == {
        f"ledger.{what}"
        for what in (
            "status",
            "submit",
            "transaction",
            "inclusion",
            "state",
            "header",
            "crossing",
            "blocks",
            "entries",
            "cometbft",
            "events",
        )
    }


def test_only_health_and_the_networks_beginning_are_for_anyone(door: Door) -> None:
    assert {route.name for route in door.door.routes if "anyone" in route.callers} == {
        "health.alive",
        "health.ready",
        "health.openapi",
        "wallet.network",
    }


def test_what_leaves_for_nodes_only(door: Door) -> None:
    for route in door.door.routes:
        named = ("custody.release", "custody.releases", "custody.seals", "ledger.blocks", "ledger.cometbft")
        if route.name in (*named, "ledger.entries", "ledger.events", "directory.find"):
            assert route.pinned, route.name
            assert route.callers == frozenset({"member"}), route.name


async def let_in(_: Call) -> Answer:
    return Answer()


def asks_guard(door: Door, app: Any, route: Route, who: Who) -> str:
    """The code of the guard at a route of any room, behind which everything is well."""
    path = re.sub(r"\{[a-z_]+(:[a-z]+)?\}", "x", route.path)
    headers = {wire.TO: door.door.home.did, "host": "node"}
    if (identity := door.identity(who.signs)) is not None:
        sign(Message(route.method, f"https://node{path}", headers), b"", identity, door.mesh.clock())
    shown = door.mesh.member(who.shows).home if who.shows else None
    leaf = pins.make_leaf(shown.did, shown.node_key, door.mesh.clock()) if shown else None
    der = ssl.PEM_cert_to_DER_cert(leaf.certificate.decode()) if leaf else None

    async def with_certificate(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "extensions": {CERTIFICATE: der}}, receive, send)

    async def inside() -> httpx.Response:
        way = httpx.ASGITransport(with_certificate)
        async with httpx.AsyncClient(transport=way, base_url="https://node") as client:
            return await client.request(route.method, path, headers=headers)

    got = asyncio.run(inside())
    if got.status_code == 200:
        return ""
    if route.method == "HEAD":  # has no body to say why
        return f"status {got.status_code}"
    return re.search(rb'"code":"(.+?)"', got.content)[1].decode() if got.content else "api.??"  # type: ignore[index]


@pytest.mark.promise("P2")
@pytest.mark.parametrize("who", [who for who in WHO if who != "suspended member with its certificate"])
def test_who_may_ask_what_in_every_room(door: Door, who: str) -> None:
    """Rooms that other members do not have here are tried as well: their guards are the same."""
    plain = {"handler": let_in, "media": "", "streams": False, "once": False, "counts": None}
    every = [replace(route, **plain) for route in api_page.routes()]
    limits = Limits(burst_address=10**6, burst=10**6)
    app = make_app(every, door.door.guard, limits=limits)
    wrong, tried = [], set()
    for route in every:
        code, right = asks_guard(door, app, route, WHO[who]), expected(route, who)
        if code not in (right or {""}) and not (right and code in STATUS):
            wrong.append((route.name, code, right))
        tried.add((route.path, route.method.lower()))
    assert not wrong
    assert tried == set(documented())


STATUS = {"status 401", "status 403"}
"""What a request without a body to say why is told."""


def documented() -> list[tuple[str, str]]:
    """Path and method of every operation of the OpenAPI document that the docs have."""
    described = msgspec.json.decode(api_page.DOCUMENT.read_bytes())
    return [(path, method) for path, operations in described["paths"].items() for method in operations]


def test_a_node_answers_nothing_that_the_document_does_not_have(door: Door) -> None:
    said = door.client("").get(f"{door.door.url}/openapi.json").json()
    mine = {(path, method) for path, operations in said["paths"].items() for method in operations}
    assert mine == {(route.path, route.method.lower()) for route in door.door.routes}
    assert mine <= set(documented())


def test_what_is_for_anyone_is_known() -> None:
    """Another route without a signature wants a reason, and a line here."""
    by_links = {"blocks.put", "blocks.get", "blocks.has", "ipfs.get", "ipfs.head"}
    """Signed by a member, or under a link that names block, stream and time."""
    told = {"health.alive", "health.ready", "health.openapi", "admin.metrics", "wallet.network"}
    """The same for everybody; metrics at the admin address."""
    assert {route.name for route in api_page.routes() if "anyone" in route.callers} == by_links | told
