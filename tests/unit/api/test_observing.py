"""Logs and metrics say what happened, and nothing of whom it was about."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from caremesh.api import health, observing
from caremesh.api.app import make_app
from caremesh.api.observing import Metrics, all_of, to_log
from caremesh.api.routes import ANYONE, Answer, Call, Caller, Route
from caremesh.api.signatures import Head
from caremesh.client import wire
from caremesh.errors import CareMeshError
from caremesh.node import logs

SECRETS = ["jane-roe-canary", "555-canary-0100", "did:key:canary", "canary-address"]


class Open:
    def check(self, route: Route, head: Head) -> Caller:  # noqa: ARG002
        return Caller("key", "did:key:canary", b"\x01" * 34)

    def check_body(self, head: Head, body: bytes) -> None:
        pass


class Watched:
    """An app whose routes answer, refuse and fail; everything that it says is kept."""

    def __init__(self) -> None:
        self.said = io.StringIO()
        self.metrics = Metrics()
        observe = all_of([self.metrics.observe, to_log(logs.begin("test", "debug", self.said))])
        routes = [
            self._route("answers"),
            self._route("refuses"),
            self._route("fails"),
            *observing.routes(self.metrics.page),
        ]
        self.app = make_app([*routes, *health.routes({}, routes, "0")], Open(), observe=observe)

    def _route(self, name: str) -> Route:
        async def handle(call: Call) -> Answer:
            if name == "refuses":
                call.json(wire.AskErased)
            if name == "fails":
                raise RuntimeError(call.body.decode())
            return Answer(call.body)

        return Route(
            name=f"test.{name}",
            method="POST",
            path=f"/{name}/{{id}}",
            summary="",
            handler=handle,
            callers=ANYONE,
        )

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def inside() -> httpx.Response:
            way = httpx.ASGITransport(self.app, client=("canary-address", 1))
            async with httpx.AsyncClient(transport=way, base_url="https://node") as client:
                return await client.request(method, path, **more)

        return asyncio.run(inside())

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said.getvalue().splitlines()]


@pytest.fixture
def watched() -> Iterator[Watched]:
    made = Watched()
    with suppress(CareMeshError):
        yield made


@pytest.mark.promise("P1")
def test_nothing_that_a_caller_says_is_logged_or_counted(watched: Watched) -> None:
    for name in ("answers", "refuses", "fails"):
        got = watched.ask(
            "POST",
            f"/{name}/jane-roe-canary?phone=555-canary-0100",
            content=b'{"stream": "jane-roe-canary"}',
            headers={"user-agent": "jane-roe-canary", "x-forwarded-for": "canary-address"},
        )
        assert name == "answers" or "jane-roe-canary" not in got.text
    watched.ask("GET", "/jane-roe-canary")
    said = watched.said.getvalue() + watched.ask("GET", "/metrics").text
    assert not [secret for secret in SECRETS if secret in said]


def test_each_request_is_one_line_with_route_status_and_code(watched: Watched) -> None:
    watched.ask("POST", "/answers/1")
    watched.ask("POST", "/refuses/1", content=b"no")
    watched.ask("POST", "/fails/1", content=b"no")
    watched.ask("GET", "/nowhere")
    found = [(line["event"], line["route"], line["status"], line.get("code")) for line in watched.lines()]
    assert found == [
        ("answered", "test.answers", 200, None),
        ("refused", "test.refuses", 400, "api.17"),
        ("failed", "test.fails", 500, "api.19"),
        ("refused", "none", 404, "api.14"),
    ]
    assert not [line for line in watched.lines() if "left_out" in line]
    failed = watched.lines()[2]
    assert failed["fault"] == "RuntimeError"
    assert any("test_observing" in frame for frame in failed["trace"])


def test_a_fault_of_the_program_is_a_problem_without_its_words(watched: Watched) -> None:
    got = watched.ask("POST", "/fails/1", content=b"jane-roe-canary")
    assert got.status_code == 500
    assert got.json()["code"] == "api.19"
    assert "jane-roe-canary" not in got.text


def test_requests_refusals_and_times_are_counted(watched: Watched) -> None:
    for _ in range(3):
        watched.ask("POST", "/answers/1")
    watched.ask("POST", "/refuses/1", content=b"no")
    page = watched.ask("GET", "/metrics").text
    assert 'caremesh_http_requests_total{caller="key",route="test.answers",status="200"} 3.0' in page
    assert 'caremesh_http_refusals_total{code="api.17",route="test.refuses"} 1.0' in page
    assert 'caremesh_http_seconds_count{route="test.answers"} 3.0' in page


COUNTS = """
from caremesh.api.app import Seen
from caremesh.api.observing import Metrics
metrics = Metrics()
metrics.observe(Seen(route="test.it", method="GET", status=403, code="api.05", seconds=0.2))
print(metrics.page().decode())
"""


def test_all_processes_of_a_node_are_told_of_by_any(tmp_path: Path) -> None:
    environment = {**os.environ, observing.SHARED: str(tmp_path)}
    command = [sys.executable, "-c", COUNTS]
    pages = [
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout for _ in range(2)
    ]
    for count, page in enumerate(pages, 1):
        assert f'caremesh_http_requests_total{{caller="anyone",route="test.it",status="403"}} {count}.0' in page
        assert f'caremesh_http_refusals_total{{code="api.05",route="test.it"}} {count}.0' in page
        assert f'caremesh_http_seconds_count{{route="test.it"}} {count}.0' in page


def test_a_check_that_fails_or_raises_makes_a_node_not_ready(tmp_path: Path) -> None:  # noqa: ARG001
    def raises() -> bool:
        raise RuntimeError

    async def ask(checks: dict[str, Any]) -> Any:
        app = make_app(health.routes(checks, [], "0"), Open())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://node") as client:
            return await client.get("/readyz")

    good = asyncio.run(ask({"disk": lambda: True}))
    assert (good.status_code, good.json()) == (200, {"ready": True, "checks": {"disk": True}})
    for bad in (lambda: False, raises):
        got = asyncio.run(ask({"disk": lambda: True, "ledger": bad}))
        assert (got.status_code, got.json()) == (503, {"ready": False, "checks": {"disk": True, "ledger": False}})
