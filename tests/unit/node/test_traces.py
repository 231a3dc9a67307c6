"""Traces: off unless asked for, and then nothing that a log could not say."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from caremesh import settings
from caremesh.api.app import make_app
from caremesh.api.routes import ANYONE, Answer, Call, Caller, Kind, Route
from caremesh.api.signatures import Head
from caremesh.client.tracing import ELSEWHERE, TRACEPARENT, Tracer, place_of
from caremesh.errors import BadInput, Refused
from caremesh.node import traces
from caremesh.node.errors import NO_TRACES
from tests.support.collector import Collector, Got, collecting
from tools import api_page

THEIRS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""The example of W3C Trace Context."""
OTHER = "did:caremesh:n:other"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture
def tracer(collector: Collector, tmp_path: Path) -> Iterator[Tracer]:
    made = begun(tmp_path, collector.url)
    yield made
    made.close()


def begun(home: Path, url: str, share: str = "1") -> Tracer:
    given = {"traces_endpoint": url, "traces_share": share}
    made = traces.begin(settings.load(home, given), "api", "did:caremesh:n:me")
    assert made is not None
    return made


class As:
    """Everyone is of one kind."""

    def __init__(self, kind: Kind) -> None:
        self.kind: Kind = kind

    def check(self, route: Route, head: Head) -> Caller:  # noqa: ARG002
        return Caller(self.kind, OTHER)

    def check_body(self, head: Head, body: bytes) -> None:
        pass


def ask(tracer: Tracer, kind: Kind, work: Callable[[], Any] = bytes, address: str = "192.0.2.7") -> httpx.Response:
    """A request that says it is part of a trace, answered by ``work``."""

    async def handle(_: Call) -> Answer:
        return Answer(work())

    route = Route(name="test.it", method="POST", path="/it/{id}", summary="", handler=handle, callers=ANYONE)
    app = make_app([route], As(kind), tracer=tracer)

    async def inside() -> httpx.Response:
        way = httpx.ASGITransport(app, client=(address, 1))
        async with httpx.AsyncClient(transport=way, base_url="https://node") as client:
            return await client.post("/it/canary-id?canary=query", content=b"canary", headers={TRACEPARENT: THEIRS})

    return asyncio.run(inside())


def only(collector: Collector) -> Got:
    [span] = collector.spans()
    return span


def test_without_the_setting_there_are_none_and_nothing_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys, caremesh.node.part, caremesh.node.traces as t, caremesh.settings as s; from pathlib import Path\n"
        "assert t.begin(s.load(Path(sys.argv[1])), 'api', 'did') is None\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('opentelemetry', 'requests', 'google')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"


def test_without_the_packages_one_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(BadInput) as error:
        begun(tmp_path, "http://127.0.0.1:9/v1/traces")
    assert (error.value.code, error.value.place) == (NO_TRACES.code, "caremesh[otel]")


@pytest.mark.parametrize("route", api_page.routes(), ids=lambda route: route.name)
def test_a_span_calls_a_path_by_what_is_the_same_for_everybody(route: Route) -> None:
    beginning = route.path.partition("{")[0].rstrip("/")
    found = place_of(route.path.replace("{", "canary-").replace("}", ""))
    assert found == beginning != ELSEWHERE


@pytest.mark.parametrize("path", ["/", "/canary", "/custody/v1/canary", "/blocksy", "/ledger/v2/state/x"])
def test_a_path_that_is_not_known_has_no_name(path: str) -> None:
    assert place_of(path) == ELSEWHERE


@pytest.mark.parametrize(("kind", "address"), [("member", "192.0.2.7"), ("anyone", ""), ("key", "")])
def test_a_member_and_ones_own_process_say_what_a_request_is_part_of(
    tracer: Tracer, collector: Collector, kind: Kind, address: str
) -> None:
    assert ask(tracer, kind, address=address).status_code == 200
    tracer.close()
    span = only(collector)
    assert f"00-{span.trace}-{span.parent}-01" == THEIRS


@pytest.mark.promise("P1")
@pytest.mark.parametrize("kind", ["anyone", "key", "practitioner"])
def test_nobody_else_can_tie_requests_together(tracer: Tracer, collector: Collector, kind: Kind) -> None:
    for _ in range(2):
        ask(tracer, kind)
    tracer.close()
    one, other = collector.spans()
    assert len({one.trace, other.trace, THEIRS.split("-")[1]}) == 3
    assert not one.parent
    assert not other.parent


@pytest.mark.promise("P1")
def test_a_request_to_another_member_begins_a_trace_and_one_within_the_node_does_not(
    tracer: Tracer, collector: Collector
) -> None:
    with tracer.answers("desk.open", "anyone", "") as above:
        with tracer.asks("POST", "/custody/v1/releases", OTHER, inside=False) as out:
            out.came_to(200)
        with tracer.asks("POST", "/custody/v1/releases", OTHER, inside=False) as again:
            again.came_to(200)
        with tracer.asks("GET", "/inner/v1/leaf", OTHER, inside=True) as within:
            within.came_to(200)
    tracer.close()
    ids = [each.traceparent.split("-")[1] for each in (above, out, again, within)]
    assert ids[0] == ids[3]
    assert len(set(ids)) == 3
    left = [span for span in collector.spans() if span.name == "POST /custody/v1/releases"]
    assert [span.links for span in left] == [[(ids[0], above.traceparent.split("-")[2])]] * 2
    assert not any(span.parent for span in left)


@pytest.mark.promise("P1")
def test_no_word_of_a_request_or_of_a_fault_is_sent(tracer: Tracer, collector: Collector) -> None:
    def fails() -> bytes:
        raise RuntimeError("canary-fault")

    def refuses() -> bytes:
        raise Refused(NO_TRACES, "canary-place")

    for work in (bytes, fails, refuses):
        ask(tracer, "key", work)
    tracer.close()
    said = b"".join(collector.bodies)
    assert b"test.it" in said
    for secret in (b"canary", b"192.0.2.7", OTHER.encode(), b"/it/"):
        assert secret not in said
    assert [span.said.get("caremesh.code") for span in collector.spans()] == [None, "fault", "node.29"]
    assert collector.spans()[0].said["http.response.status_code"] == 200


def test_traces_go_where_the_setting_says_whatever_the_environment_of_the_process(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "host.name=canary")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "canary")
    made = begun(tmp_path, collector.url)
    ask(made, "key")
    made.close()
    assert only(collector).name == "test.it"
    assert b"canary" not in collector.bodies[0]


def test_so_many_requests_as_the_setting_says(collector: Collector, tmp_path: Path) -> None:
    made = begun(tmp_path, collector.url, "0")
    assert ask(made, "key").status_code == 200
    made.close()
    assert collector.bodies == []


@pytest.mark.parametrize("status", [503, 400, None])
def test_a_collector_that_is_away_or_refuses_holds_nobody_up(
    collector: Collector, tmp_path: Path, status: int | None
) -> None:
    collector.status = status or 200
    made = begun(tmp_path, collector.url if status else "http://127.0.0.1:9/v1/traces")
    assert ask(made, "key").status_code == 200
    made.close()
