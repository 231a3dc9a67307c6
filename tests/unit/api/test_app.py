"""What the app does around a handler: rates, bodies, streams, callers who leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from caremesh.api import errors
from caremesh.api.app import LARGE_BYTES, Seen, make_app
from caremesh.api.limits import Limits, Rates
from caremesh.api.routes import ANYONE, CERTIFICATE, ENDING, Answer, Call, Caller, Kind, Route
from caremesh.api.signatures import Head
from caremesh.client import wire
from caremesh.errors import Refused, Tampered


class Stub:
    """A guard that finds the caller whom a header names, and knows which bodies are signed."""

    def check(self, route: Route, head: Head) -> Caller:  # noqa: ARG002
        kind, _, name = head.headers.get("who", "anyone ").partition(" ")
        if kind == "wrong":
            raise Refused(errors.BAD_SIGNATURE)
        return Caller(msgspec.convert(kind, Kind), name)

    def check_body(self, head: Head, body: bytes) -> None:  # noqa: ARG002
        if body.strip() == b"changed":
            raise Tampered(errors.WRONG_DIGEST)


class App:
    """An app over handlers of a test, asked without a network."""

    def __init__(self, **limits: Any) -> None:
        self.seen: list[Seen] = []
        self.go_on = asyncio.Event()
        self.made = 0
        self.app = make_app(
            [
                self._route("echo", self.echo),
                self._route("waits", self.waits),
                self._route("ticks", self.ticks),
                self._route("several", self.echo),
            ],
            Stub(),
            limits=Limits(**limits),
            observe=self.seen.append,
        )

    def _route(self, name: str, handler: Callable[[Call], Awaitable[Answer]]) -> Route:
        return Route(
            name=f"test.{name}",
            method="POST",
            path=f"/{name}",
            summary="",
            handler=handler,
            callers=ANYONE,
            media=wire.RAW,
            streams=name == "ticks",
            counts=len if name == "several" else None,
        )

    async def echo(self, call: Call) -> Answer:
        self.made += 1
        return Answer(call.body)

    async def waits(self, _: Call) -> Answer:
        await self.go_on.wait()
        return Answer()

    async def ticks(self, _: Call) -> Answer:
        async def stream() -> AsyncIterator[bytes]:
            while True:
                yield b"tick"
                await self.go_on.wait()

        return Answer(stream=stream())

    async def ask(
        self,
        path: str = "/echo",
        body: bytes = b"",
        *,
        who: str = "anyone ",
        media: str = wire.RAW,
        address: str = "10.0.0.1",
        certificate: bytes | None = None,
        ending: asyncio.Event | None = None,
        leaves: bool = False,
        takes: int = 1_000,
        spec: str = "2.3",
    ) -> tuple[int, bytes]:
        sent: list[Any] = []
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"who", who.encode()), (b"content-type", media.encode()), (b"host", b"node")],
            "client": (address, 1) if address else None,
            "extensions": {CERTIFICATE: certificate},
            "state": {ENDING: ending},
            "asgi": {"version": "3.0", "spec_version": spec},
        }
        given = [{"type": "http.disconnect"}] if leaves else [{"type": "http.request", "body": body}]

        async def receive() -> Any:
            if given:
                return given.pop(0)
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            if len(sent) == takes:
                await asyncio.Event().wait()
            sent.append(message)

        await self.app(scope, receive, send)
        status = sent[0]["status"] if sent else 0
        return status, b"".join(message.get("body", b"") for message in sent)

    async def code(self, *args: Any, **named: Any) -> str:
        status, body = await self.ask(*args, **named)
        return "" if status < 400 else msgspec.json.decode(body, type=wire.Problem).code


@pytest.mark.parametrize("blanks", [0, LARGE_BYTES], ids=["small", "large"])
def test_a_body_that_was_not_signed_never_reaches_the_handler(blanks: int) -> None:
    async def inside() -> None:
        app = App()
        assert await app.code("/echo", b"changed" + b" " * blanks) == "api.08"
        assert app.made == 0
        right = b"right" + b" " * blanks
        assert await app.ask("/echo", right) == (200, right)

    asyncio.run(inside())


def test_another_media_type_is_refused() -> None:
    async def inside() -> None:
        app = App()
        assert await app.code(media="application/json") == "api.16"
        assert await app.code(media="") == "api.16"
        assert await app.code(media=f"{wire.RAW}; q=1") == ""

    asyncio.run(inside())


def test_a_caller_has_its_own_rate_wherever_it_calls_from() -> None:
    async def inside() -> None:
        app = App(burst=3, per_second=0.001, burst_address=1_000)
        assert [await app.code(who="member a", address=f"10.0.0.{n}") for n in range(4)] == ["", "", "", "api.13"]
        assert await app.code(who="member b") == ""
        assert await app.code(who="practitioner a b") == ""
        assert await app.code(who="key a") == ""

    asyncio.run(inside())


@pytest.mark.parametrize("who", ["anyone ", "key one", "wrong "])
def test_an_address_has_one_rate_for_all_whom_no_one_on_the_ledger_has_signed_for(who: str) -> None:
    async def inside() -> None:
        app = App(burst_address=3, per_second_address=0.001)
        first = "api.02" if who == "wrong " else ""
        assert [await app.code(who=who) for _ in range(4)] == [first] * 3 + ["api.13"]
        assert await app.code(who="member a") == "api.13", "from that address, before its signature is looked at"
        assert await app.code(who="member a", certificate=b"x") == "", "TLS has found a member"
        assert await app.code(who=who, address="10.0.0.2") == first

    asyncio.run(inside())


def test_behind_a_unix_socket_the_worker_has_counted() -> None:
    async def inside() -> None:
        app = App(burst_address=1, burst=1, per_second=0.001, per_second_address=0.001)
        assert [await app.code(who=who, address="") for who in ("key a", "member b", "member b")] == ["", "", ""]

    asyncio.run(inside())


def test_so_many_are_answered_at_a_time_and_the_next_is_told_to_wait() -> None:
    async def inside() -> None:
        app = App(max_at_work=2)
        held = [asyncio.create_task(app.ask("/waits")) for _ in range(2)]
        await settle()
        assert await app.code() == "api.22"
        app.go_on.set()
        assert [status for status, _ in await asyncio.gather(*held)] == [200, 200]
        assert await app.code() == ""

    asyncio.run(inside())


def test_streams_have_a_number_of_their_own() -> None:
    async def inside() -> None:
        app, ending = App(max_streams=1, max_at_work=1), asyncio.Event()
        held = asyncio.create_task(app.ask("/ticks", ending=ending))
        await settle()
        assert await app.code("/ticks") == "api.22"
        assert await app.code() == "", "a stream is not at work"
        ending.set()
        assert await held == (200, b"tick")
        again = asyncio.create_task(app.ask("/ticks", ending=ending))
        assert (await again)[0] == 200

    asyncio.run(asyncio.wait_for(inside(), 60))


def test_a_stream_ends_after_its_time() -> None:
    """Whoever goes on listening signs anew."""

    async def inside() -> None:
        status, body = await asyncio.wait_for(App(stream_s=0.2).ask("/ticks"), 60)
        assert (status, body) == (200, b"tick")

    asyncio.run(inside())


def test_a_stream_ends_with_the_process() -> None:
    async def inside() -> None:
        ending = asyncio.Event()
        held = asyncio.create_task(App().ask("/ticks", ending=ending))
        await settle()
        assert not held.done()
        ending.set()
        assert (await asyncio.wait_for(held, 60))[0] == 200

    asyncio.run(inside())


def test_a_caller_who_leaves_is_no_fault_of_ours() -> None:
    async def inside() -> None:
        app = App()
        assert await app.ask(leaves=True) == (0, b"")
        assert [(seen.status, seen.code, seen.fault) for seen in app.seen] == [(499, "", None)]
        assert await app.code() == ""

    asyncio.run(inside())


async def settle() -> None:
    """Let everything go on that does not wait for time or a test."""
    for _ in range(100):
        await asyncio.sleep(0)


@pytest.mark.parametrize("path", ["/echo", "/ticks"])
def test_a_caller_who_takes_nothing_is_not_waited_for(path: str) -> None:
    async def inside() -> None:
        app = App(send_s=0.05)
        await asyncio.wait_for(app.ask(path, takes=1), 30)
        assert [seen.status for seen in app.seen] == [499]

    asyncio.run(inside())


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rates_come_back_with_time_and_no_further_than_the_burst() -> None:
    clock = Clock()
    rates = Rates(2.0, 4, 10, clock)

    def left() -> int:
        count = 0
        while count < 100:
            try:
                rates.check("a")
            except Refused:
                return count
            rates.count("a")
            count += 1
        return count

    assert left() == 4
    clock.now += 1
    assert left() == 2
    clock.now += 1_000
    assert left() == 4


def test_so_many_callers_are_remembered() -> None:
    clock = Clock()
    rates = Rates(0.001, 1, 3, clock)
    for name in "abcd":
        rates.count(name)
    assert len(rates._left) == 3
    rates.check("a")  # forgotten
    with pytest.raises(Refused):
        rates.check("d")


def test_several_requests_in_one_count_for_as_many() -> None:
    rates = Rates(0.001, 10, 10, lambda: 100.0)
    rates.take("a", 7)
    with pytest.raises(Refused) as caught:
        rates.take("a", 4)
    assert caught.value.code == "api.13"
    rates.take("a", 3)
    with pytest.raises(Refused):
        rates.check("a")
    rates.take("b", 11)
    with pytest.raises(Refused):
        rates.check("b")


def test_a_body_with_several_requests_counts_for_as_many() -> None:
    async def inside() -> None:
        app = App(burst=5, per_second=0.001, burst_address=1_000)
        assert await app.code("/several", b"1", who="member a") == ""
        assert await app.code("/several", b"333", who="member a") == ""
        assert await app.code("/several", b"22", who="member a") == "api.13", "one is left"
        assert app.made == 2, "nothing of it was done"
        assert await app.code("/several", b"4444", who="member b") == ""
        assert await app.code("/several", b"55555", who="member c", address="") == "", "the worker has counted"
        assert await app.code("/several", b"55555", who="member c") == "", "and nothing was counted behind it"

    asyncio.run(inside())
