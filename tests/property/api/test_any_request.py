"""Whatever is asked, nothing fails: no 5xx, each refusal a problem with a code, no access without the right key.

Requests are made by schemathesis from the OpenAPI document, and by Hypothesis beside it: bodies that are almost right,
headers that are not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from caremesh import codec
from caremesh.api import custody, health, ledger
from caremesh.api.app import make_app
from caremesh.api.heights import Heights
from caremesh.api.limits import Limits
from caremesh.api.nonces import NonceStore
from caremesh.api.openapi import document
from caremesh.api.routes import Caller, Route
from caremesh.api.signatures import Head, SignatureGuard
from caremesh.client import wire
from caremesh.client.signing import Identity, Message, sign
from caremesh.crypto.keys import SigningKey
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from tests.support.sending import Sending
from tests.support.serving import OneAtATime

MEMBER = "did:caremesh:caremesh-local:" + "a" * 32
PLENTY = Limits(per_second_address=1e9, burst_address=10**9, per_second=1e9, burst=10**9)
schemathesis.serializer(wire.CBOR)(lambda _, value: value if isinstance(value, bytes) else codec.encode(str(value)))


class LetsIn:
    """Everyone is a member's node, so that what is behind the guard is tried."""

    def check(self, route: Route, head: Head) -> Caller:  # noqa: ARG002
        return Caller("member", MEMBER, b"\x01" * 34)

    def check_body(self, head: Head, body: bytes) -> None:
        pass


class Node:
    """The laboratory, a custodian, without a network before it."""

    def __init__(self, mesh: LocalMesh, folder: Path) -> None:
        self.mesh, self.member = mesh, mesh.member("laboratory")
        engine: Any = OneAtATime(mesh.engine)
        routes = ledger.routes(engine, self.member.home.did) + custody.routes(self.member.custodian)
        routes += custody.erasure_routes(self.member.forgetting.confirm_erased)
        self.routes = routes + health.routes({}, routes, "0")
        self.nonces = NonceStore(folder / "nonces", mesh.clock)
        guard = SignatureGuard(
            did=self.member.home.did, reader=mesh.engine.reader, nonces=self.nonces, clock=mesh.clock
        )
        self.open = make_app(self.routes, LetsIn(), limits=PLENTY)
        self.guarded = make_app(self.routes, guard, limits=PLENTY)
        self.loop = asyncio.new_event_loop()
        self.sending = Sending(mesh)

    def ask(self, method: str, url: str, *, guarded: bool = False, **more: Any) -> httpx.Response:
        async def inside() -> httpx.Response:
            way = httpx.ASGITransport(self.guarded if guarded else self.open, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=way, base_url="https://node") as client:
                return await client.request(method, url, **more)

        return self.loop.run_until_complete(inside())


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("any")
    whole = Heights.reached
    patch = pytest.MonkeyPatch()

    async def soon(self: Heights, height: int, within_s: float) -> bool:
        return await whole(self, height, min(within_s, 0.01))

    patch.setattr(Heights, "reached", soon)
    with LocalMesh(folder / "mesh", SettableClock()) as mesh:
        made = Node(mesh, folder)
        yield made
        made.loop.run_until_complete(made.loop.shutdown_default_executor())
        made.loop.close()
        made.nonces.close()
    patch.undo()


def check(got: httpx.Response) -> None:
    """No failure of ours; what is refused is a problem with a code; the code is one of the error tree's form."""
    assert got.status_code < 500, (got.status_code, got.content[:300])
    if got.status_code >= 400:
        assert got.headers["content-type"] == wire.PROBLEM
        problem = msgspec.json.decode(got.content, type=wire.Problem)
        assert problem.status == got.status_code
        assert wire.error_of(got.content).code == problem.code


def operations(node: Node) -> list[Any]:
    described = msgspec.json.decode(document(node.routes, "0"))
    schema = schemathesis.openapi.from_dict(described)
    return [each.ok() for each in schema.get_all_operations() if each.ok().path != "/ledger/v1/events"]


def from_the_document(node: Node, examples: int) -> int:
    asked = 0
    for operation in operations(node):

        @settings(
            max_examples=examples,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def one(case: Any) -> None:
            nonlocal asked
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
            asked += 1

        one()
    return asked


@pytest.mark.slow
def test_requests_made_from_the_document(node: Node) -> None:
    assert from_the_document(node, 5) >= 60


@pytest.mark.long
def test_ten_thousand_requests_made_from_the_document(node: Node) -> None:
    assert from_the_document(node, 700) >= 9_000


POSTS = ["fragments", "seals", "reseals", "releases", "own-seals", "own-logs"]
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.binary(max_size=64) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
SIGNED = st.fixed_dictionaries(
    {"payload": st.binary(max_size=200), "key": st.just(bytes(34)), "signature": st.just(bytes(64))}
)
CBOR = (PLAIN | SIGNED | st.lists(SIGNED, max_size=3)).map(codec.encode)


@pytest.mark.slow
@given(what=st.sampled_from(POSTS), body=st.binary(max_size=300) | CBOR)
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
def test_bodies_that_are_almost_right(node: Node, what: str, body: bytes) -> None:
    check(node.ask("POST", f"/custody/v1/{what}", content=body, headers={"content-type": wire.CBOR}))


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
def test_transactions_with_a_byte_changed(node: Node, data: st.DataObject) -> None:
    raw = bytearray(node.sending.raw())
    raw[data.draw(st.integers(0, 2**20)) % len(raw)] ^= 1 << data.draw(st.integers(0, 7))
    got = node.ask("POST", "/ledger/v1/transactions", content=bytes(raw), headers={"content-type": wire.CBOR})
    check(got)
    assert got.status_code >= 400


HEADERS = ("signature-input", "signature", "content-digest", "caremesh-to", "content-type", "idempotency-key")
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)


@pytest.mark.slow
@pytest.mark.promise("P2")
@given(data=st.data())
@settings(max_examples=200, suppress_health_check=list(HealthCheck))
def test_no_access_without_the_right_key_however_the_headers_are_bent(node: Node, data: st.DataObject) -> None:
    """A request of a member that is not one, its headers replaced, cut, doubled, or with a character changed."""
    route = data.draw(st.sampled_from([route for route in node.routes if "anyone" not in route.callers]))
    path = route.path.replace("{id}", "x").replace("{key}", "bWVt").replace("{consent}", "A" * 43)
    who = node.mesh.member("hospital").home.did
    headers = {wire.TO: node.member.home.did} | ({"content-type": route.media} if route.media else {})
    url = f"https://node{path}"
    sign(Message(route.method, url, headers), b"", Identity.of_did(who, SigningKey.generate()), node.mesh.clock())
    headers = {name.lower(): value for name, value in headers.items()}
    for name in data.draw(st.lists(st.sampled_from(HEADERS), max_size=3)):
        text = headers.get(name, "")
        at = data.draw(st.integers(0, 2**20)) % max(1, len(text))
        bent = st.sampled_from([text[:at], text + ", " + text, text[:at] + "x" + text[at + 1 :]])
        headers[name] = data.draw(TEXT | bent).strip()
    got = node.ask(route.method, url, guarded=True, headers=headers)
    check(got)
    assert got.status_code in (400, 401, 403, 415, 422)
    assert got.json()["code"] in {f"api.{number:02}" for number in (*range(1, 12), 16)}
