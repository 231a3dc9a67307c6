"""Pages of other origins: those on the list may ask, and no others are told that they may."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from caremesh.api import health
from caremesh.api.app import Seen, make_app
from caremesh.api.handover import HandedOver
from caremesh.api.origins import ASKED, with_origins
from caremesh.api.routes import ANYONE, Answer, Call, Caller, Route
from caremesh.api.signatures import Head
from caremesh.client.signing import ALWAYS, WHERE_THERE

WALLET = "https://wallet.example"
PREFLIGHT = {"origin": WALLET, "access-control-request-method": "POST", "access-control-request-headers": "signature"}


class Open:
    def check(self, route: Route, head: Head) -> Caller:  # noqa: ARG002
        return Caller("key", "did:key:x", b"\x01" * 34)

    def check_body(self, head: Head, body: bytes) -> None:
        pass


async def _open_block(_: Call) -> Answer:
    return Answer(b"x", headers={"access-control-allow-origin": "*"})


BLOCK = Route(name="ipfs.get", method="GET", path="/ipfs/x", summary="", handler=_open_block, callers=ANYONE)


def ask(origins: list[str], method: str, path: str, seen: list[Seen] | None = None, **headers: str) -> httpx.Response:
    routes = [BLOCK, *health.routes({}, [], "0")]
    app = with_origins(make_app(routes, Open(), observe=(seen if seen is not None else []).append), origins)

    async def inside() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://node") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(inside())


def cors(got: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in got.headers.items() if name.startswith("access-control") or name == "vary"}


def test_without_a_list_nothing_is_said() -> None:
    app: Any = make_app([], HandedOver())
    assert with_origins(app, []) is app
    assert cors(ask([], "GET", "/healthz", origin=WALLET)) == {}


def test_a_preflight_of_an_origin_on_the_list_is_answered_and_goes_no_further() -> None:
    seen: list[Seen] = []
    got = ask([WALLET], "OPTIONS", "/ledger/v1/status", seen, **PREFLIGHT)
    assert (got.status_code, got.content, seen) == (204, b"", [])
    assert got.headers["access-control-allow-origin"] == WALLET
    assert got.headers["vary"] == "origin"
    assert "access-control-allow-credentials" not in got.headers
    allowed = set(got.headers["access-control-allow-headers"].split(", "))
    signed = {name for name in (*ALWAYS, *WHERE_THERE) if not name.startswith("@")}
    assert signed | {"signature", "signature-input"} <= allowed == set(ASKED)
    assert {"GET", "POST", "PUT"} <= set(got.headers["access-control-allow-methods"].split(", "))


@pytest.mark.parametrize("origin", ["https://wallet.example.evil.example", "http://wallet.example", "null", ""])
def test_no_other_origin_is_told_that_it_may(origin: str) -> None:
    got = ask([WALLET], "OPTIONS", "/healthz", **{**PREFLIGHT, "origin": origin})
    assert (got.status_code, cors(got)) == (405, {})
    assert got.json()["code"] == "api.15"
    assert cors(ask([WALLET], "GET", "/healthz", origin=origin)) == {}


@pytest.mark.parametrize("path", ["/healthz", "/nowhere"])
def test_an_answer_or_a_problem_may_be_read_by_a_page_on_the_list(path: str) -> None:
    got = ask(["https://other.example", WALLET], "GET", path, origin=WALLET)
    said = cors(got)
    assert said.pop("access-control-expose-headers").startswith("retry-after")
    assert said == {"access-control-allow-origin": WALLET, "vary": "origin"}


def test_what_anyone_may_read_stays_so() -> None:
    assert cors(ask([WALLET], "GET", "/ipfs/x", origin=WALLET))["access-control-allow-origin"] == "*"


def test_options_that_are_no_preflight_go_the_way_of_all() -> None:
    assert ask([WALLET], "OPTIONS", "/healthz", origin=WALLET).status_code == 405
