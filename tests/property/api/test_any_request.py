"""Whatever is asked, nothing fails: no 5xx, each refusal a problem with a code, no access without the right key.

Requests are made by schemathesis from the OpenAPI document, at every route of it, and by Hypothesis beside it: bodies
that are almost right, headers that are not. Some of them here, ten thousand in tests/simulation/api.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caremesh import codec
from caremesh.client import wire
from caremesh.client.signing import Identity, Message, sign
from caremesh.crypto.keys import SigningKey
from tests.support.any_request import AnyNode, any_node, check, from_the_document
from tools import api_page

EXAMPLES = 24


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnyNode]:
    with any_node(tmp_path_factory.mktemp("any")) as made:
        yield made


def test_every_route_that_a_node_can_have_is_asked(node: AnyNode) -> None:
    assert {(route.method, route.path) for route in node.routes} == {
        (route.method, route.path) for route in api_page.routes()
    }


@pytest.mark.slow
def test_requests_made_from_the_document(node: AnyNode) -> None:
    asked = from_the_document(node, EXAMPLES)
    assert asked.total() >= 600
    assert set(asked) >= {route.name for route in node.routes}


POSTS = [f"/custody/v1/{name}" for name in ("fragments", "seals", "reseals", "releases", "own-seals", "own-logs")]
POSTS += [f"/wallet/v1/{name}" for name in ("proofs", "sponsored", "transactions", "inbox/kept")]
POSTS += ["/blocks", "/ledger/v1/transactions"]
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
def test_bodies_that_are_almost_right(node: AnyNode, what: str, body: bytes) -> None:
    check(node.ask("POST", what, content=body, headers={"content-type": wire.CBOR}))


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
def test_transactions_with_a_byte_changed(node: AnyNode, data: st.DataObject) -> None:
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
def test_no_access_without_the_right_key_however_the_headers_are_bent(node: AnyNode, data: st.DataObject) -> None:
    """A request of a member that is not one, its headers replaced, cut, doubled, or with a character changed."""
    route = data.draw(st.sampled_from([route for route in node.routes if "anyone" not in route.callers]))
    path = re.sub(r"\{[a-z:]+\}", "bWVt", route.path)
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
