"""Limits that hold before a request is one: slow callers, many callers, long headers, long bodies."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from caremesh.api.app import make_app
from caremesh.api.limits import Limits
from caremesh.api.routes import ANYONE, Answer, Call, Caller, Route, json_answer
from caremesh.api.serving import Doors, listen
from caremesh.api.signatures import Head
from caremesh.client import wire
from caremesh.client.wire import Health
from caremesh.crypto import pins
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.signatures import did_of

KEY = SigningKey.generate()
DID = did_of("doors", KEY.public)
AT_LAST_S = 30.0
"""Longer than any machine takes, shorter than what there would be without the limit."""
TIGHT = Limits(
    head_s=0.6,
    handshake_s=0.6,
    body_s=0.6,
    idle_s=1,
    linger_s=0.3,
    send_s=0.6,
    drain_s=3,
    max_head_bytes=4_096,
    max_connections=12,
    max_connections_an_address=8,
    burst_address=10_000,
)


class Open:
    """A guard that lets everyone in."""

    def check(self, route: Route, head: Head) -> Caller:  # noqa: ARG002
        return Caller("anyone", "")

    def check_body(self, head: Head, body: bytes) -> None:
        pass


async def echo(call: Call) -> Answer:
    return Answer(call.body, wire.RAW)


async def slow(_: Call) -> Answer:
    await asyncio.sleep(0.7)
    return json_answer(Health(ready=True, checks={}))


async def waits(_: Call) -> Answer:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"here"
        await asyncio.Event().wait()

    return Answer(media=wire.EVENTS, stream=chunks())


async def endless(_: Call) -> Answer:
    async def chunks() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65_536)

    return Answer(media=wire.RAW, stream=chunks())


ROUTES = [
    Route(name="test.echo", method="POST", path="/echo", summary="", handler=echo, callers=ANYONE, max_bytes=10_000),
    Route(name="test.endless", method="GET", path="/endless", summary="", handler=endless, callers=ANYONE),
    Route(name="test.waits", method="GET", path="/waits", summary="", handler=waits, callers=ANYONE, streams=True),
    Route(name="test.slow", method="GET", path="/slow", summary="", handler=slow, callers=ANYONE),
]


class Running:
    """Doors that are open, with and without TLS."""

    def __init__(self, limits: Limits) -> None:
        self.tls, self.plain = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
        leaf = pins.make_leaf(DID, KEY, int(time.time()))
        self.ports = self.tls.getsockname()[1], self.plain.getsockname()[1]
        doors = [(self.tls, lambda: pins.server_context(leaf, [])), (self.plain, None)]
        self.doors = Doors(make_app(ROUTES, Open(), limits=limits), doors, limits)
        self.thread = threading.Thread(target=lambda: asyncio.run(self.doors.serve()))

    def connect(self, *, tls: bool = False) -> socket.socket:
        raw = socket.create_connection(("127.0.0.1", self.ports[0 if tls else 1]), AT_LAST_S)
        return pins.client_context(None, pins.anchor(DID, KEY.public)).wrap_socket(raw) if tls else raw

    def ask(self, request: bytes, *, tls: bool = False) -> bytes:
        with closing(self.connect(tls=tls)) as connection:
            connection.sendall(request)
            return answer(connection)


def answer(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    found = b""
    with suppress(ConnectionError, ssl.SSLError):
        while data := connection.recv(65_536):
            found += data
    return found


def problem(found: bytes) -> tuple[int, str]:
    head, _, body = found.partition(b"\r\n\r\n")
    return int(head.split()[1]), msgspec.json.decode(body, type=wire.Problem).code


@contextmanager
def running(limits: Limits) -> Iterator[Running]:
    made = Running(limits)
    made.thread.start()
    while not made.doors.started:
        time.sleep(0.005)
    try:
        yield made
    finally:
        made.doors.should_exit = True
        made.thread.join(20)
        assert not made.thread.is_alive()


@pytest.fixture(scope="module")
def doors() -> Iterator[Running]:
    with running(TIGHT) as made:
        yield made


def ends(connection: socket.socket) -> bytes:
    """All that comes until the other side closes, which it does."""
    connection.settimeout(AT_LAST_S)
    return answer(connection)


def post(size: int, body: bytes = b"", *lines: str) -> bytes:
    head = ["POST /echo HTTP/1.1", "host: x", f"content-length: {size}", "connection: close", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize("tls", [False, True])
def test_a_request_is_answered(doors: Running, tls: bool) -> None:
    found = doors.ask(post(5, b"hello"), tls=tls)
    assert found.startswith(b"HTTP/1.1 200")
    assert found.endswith(b"hello")


def test_who_says_nothing_is_closed(doors: Running) -> None:
    with closing(doors.connect()) as connection:
        assert ends(connection) == b""


def test_headers_that_drip_are_cut_off(doors: Running) -> None:
    """A byte every now and then keeps no connection open."""
    with closing(doors.connect()) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\n")
        begun = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - begun < AT_LAST_S:
                connection.sendall(b"a")
                time.sleep(0.05)
                connection.settimeout(0.01)
                with suppress(TimeoutError):
                    if connection.recv(1, socket.MSG_PEEK) is not None:
                        break
        assert time.monotonic() - begun < AT_LAST_S
        connection.settimeout(AT_LAST_S)
        assert problem(answer(connection)) == (408, "api.12")


def test_the_second_request_of_a_connection_has_a_time_for_its_headers_too(doors: Running) -> None:
    with closing(doors.connect()) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")
        connection.settimeout(AT_LAST_S)
        found = b""
        while not found.endswith(b"\r\n\r\nx"):
            found += connection.recv(1_000)
        connection.sendall(b"POST /echo HTTP/1.1\r\n")
        assert problem(ends(connection)) == (408, "api.12")


def test_a_connection_at_rest_is_closed(doors: Running) -> None:
    with closing(doors.connect()) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")
        assert ends(connection).endswith(b"x")


def test_a_body_that_drips_is_cut_off(doors: Running) -> None:
    with closing(doors.connect()) as connection:
        connection.sendall(post(100, b"x"))
        assert problem(ends(connection)) == (408, "api.12")


def test_a_handshake_has_its_time(doors: Running) -> None:
    with closing(socket.create_connection(("127.0.0.1", doors.ports[0]), AT_LAST_S)) as connection:
        connection.sendall(b"\x16\x03\x01")
        ends(connection)


def test_who_does_not_take_the_answer_is_cut_off() -> None:
    with running(TIGHT) as made, closing(made.connect(tls=True)) as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
        assert wait_for(lambda: bool(made.doors.server_state.tasks))
        assert wait_for(lambda: not made.doors.server_state.tasks and not made.doors.server_state.connections)


@pytest.mark.parametrize("size", [10_001, 10 * 2**30])
def test_a_body_that_is_announced_too_long_is_refused_unread(doors: Running, size: int) -> None:
    assert problem(doors.ask(post(size, b"x" * 10))) == (413, "api.11")


def test_a_body_that_turns_out_too_long_is_refused(doors: Running) -> None:
    chunk = b"1000\r\n" + b"x" * 4_096 + b"\r\n"
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    assert problem(doors.ask(head + 3 * chunk + b"0\r\n\r\n")) == (413, "api.11")


def test_a_body_without_end_is_cut_off(doors: Running) -> None:
    """As much as fits into the time that is left to it, and no more."""
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    with closing(doors.connect()) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        begun = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - begun < AT_LAST_S:
                connection.sendall(chunk)
        assert time.monotonic() - begun < AT_LAST_S


@pytest.mark.parametrize(
    "lines",
    [["x: " + "y" * 5_000], [f"x{number}: {'y' * 100}" for number in range(60)]],
    ids=["one long", "many"],
)
def test_headers_have_a_size(doors: Running, lines: list[str]) -> None:
    assert problem(doors.ask(post(0, b"", *lines))) == (413, "api.11")


def test_headers_without_end_are_cut_off(doors: Running) -> None:
    with closing(doors.connect()) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\n")
        with suppress(ConnectionError):
            for number in range(100):
                connection.sendall(f"x{number}: {'y' * 100}\r\n".encode())
                time.sleep(0.001)
        connection.settimeout(AT_LAST_S)
        assert b"api.11" in answer(connection)


@pytest.mark.parametrize("data", [b"words\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 10, b"\x16\x03"])
def test_what_is_not_http_gets_a_problem_or_nothing(doors: Running, data: bytes) -> None:
    found = doors.ask(data)
    assert not found or problem(found)[0] in (400, 401, 404, 408)


def test_two_lengths_are_refused(doors: Running) -> None:
    found = doors.ask(post(5, b"hello", "transfer-encoding: chunked"))
    assert problem(found) == (400, "api.23")


@pytest.mark.parametrize(
    ("request_line", "status", "code"),
    [
        ("GET /nowhere", 404, "api.14"),
        ("DELETE /echo", 405, "api.15"),
        ("GET /%ff/%00", 404, "api.14"),
        ("GET /slow?a=1&a=2", 400, "api.17"),
    ],
)
def test_wrong_addresses_are_problems(doors: Running, request_line: str, status: int, code: str) -> None:
    found = doors.ask(f"{request_line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    assert problem(found) == (status, code)


def test_one_address_has_so_many_connections_and_gets_them_back() -> None:
    with running(Limits(max_connections_an_address=8)) as made:
        held = [made.connect() for _ in range(8)]
        try:
            assert made.ask(post(1, b"x")) == b"", "one more was let in"
        finally:
            for connection in held:
                connection.close()
        assert wait_for(lambda: made.ask(post(1, b"x")).endswith(b"x"))


def test_all_together_have_so_many_connections_and_the_next_waits() -> None:
    limits = Limits(head_s=0.4, max_connections=3, max_connections_an_address=100, linger_s=0.1)
    with running(limits) as made, ExitStack() as held:
        for _ in range(9):
            held.enter_context(closing(made.connect()))
        last = held.enter_context(closing(made.connect()))
        last.sendall(post(1, b"x"))
        last.settimeout(0.01)
        most, waiting = 0, True
        end = time.monotonic() + AT_LAST_S
        while waiting and time.monotonic() < end:
            most = max(most, len(made.doors.server_state.connections))
            with suppress(TimeoutError):
                waiting = not last.recv(1, socket.MSG_PEEK)
        assert ends(last).endswith(b"x"), "who waited was not let in"
        assert most == 3


def test_who_comes_before_there_is_a_certificate_waits_for_it() -> None:
    made = Running(TIGHT)
    context, asked = made.doors._doors[0][1], []
    assert context is not None

    def late() -> ssl.SSLContext:
        asked.append(None)
        if len(asked) < 3:
            raise OSError
        return context()

    made.doors._doors[0] = made.tls, late
    made.thread.start()
    try:
        assert made.ask(post(1, b"x"), tls=True).endswith(b"x")
        assert len(asked) > 2
    finally:
        made.doors.should_exit = True
        made.thread.join(AT_LAST_S)


def test_what_is_being_answered_is_finished_at_the_end_and_nobody_new_is_let_in() -> None:
    found: list[bytes] = []
    with running(TIGHT) as made:
        asking = threading.Thread(
            target=lambda: found.append(made.ask(b"GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
        )
        asking.start()
        assert wait_for(lambda: bool(made.doors.server_state.tasks))
        made.doors.should_exit = True
        made.thread.join(AT_LAST_S)
        asking.join(AT_LAST_S)
        with pytest.raises(OSError):  # noqa: PT011 - refused
            made.connect()
    assert found[0].startswith(b"HTTP/1.1 200")


def test_streams_of_events_do_not_hold_up_the_end() -> None:
    with running(Limits(drain_s=300)) as made, closing(made.connect()) as connection:
        connection.sendall(b"GET /waits HTTP/1.1\r\nhost: x\r\n\r\n")
        connection.settimeout(AT_LAST_S)
        found = b""
        while b"here" not in found:
            found += connection.recv(1_000)
        made.doors.should_exit = True
        made.thread.join(AT_LAST_S)
        assert not made.thread.is_alive()


@pytest.mark.long
def test_ten_thousand_connections_keep_nobody_out(tmp_path: Path) -> None:  # noqa: ARG001
    """They come and say nothing; whoever asks something is answered all the same."""
    limits = Limits(head_s=1.0, handshake_s=1.0, max_connections=400, max_connections_an_address=20_000)
    with running(limits) as made:
        held: list[socket.socket] = []

        def flood() -> None:
            for _ in range(10_000):
                with suppress(OSError):
                    held.append(made.connect())
                if len(held) > 800:
                    held.pop(0).close()

        flooding = threading.Thread(target=flood)
        flooding.start()
        answered = 0
        while flooding.is_alive():
            answered += made.ask(post(1, b"x")).endswith(b"x")
        flooding.join()
        for connection in held:
            connection.close()
    assert answered >= 3


def wait_for(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + AT_LAST_S
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.01)
    return False
