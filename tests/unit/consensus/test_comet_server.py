"""The application's side of the socket: what comes together is answered together, who goes may go, a fault ends it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from caremesh.consensus.cometbft import server
from caremesh.consensus.cometbft.abci_pb2 import Request, RequestCommit, RequestEcho, Response, ResponseEcho
from caremesh.consensus.cometbft.framing import framed
from caremesh.consensus.cometbft.server import _PORTION, Server, listening
from caremesh.consensus.interface import OUT_OF_ORDER
from caremesh.errors import BadInput, Refused
from caremesh.ledger.comet import varint
from tests.support.comet_engine import PATIENT_S, short_folder


class Echoing:
    """A server that echoes, and fails when it is told to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.errors: list[BaseException] = []
        self.failed = threading.Event()
        self.held = threading.Event()
        self.held.set()
        self.each: Callable[[], None] = lambda: None
        """Done before each answer."""
        self.server = Server(listening(path), self._answer, self._fail)
        self.server.start()

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(PATIENT_S)
        try:
            client.connect(str(self.path))
        except OSError:
            client.close()
            raise
        return client

    def _answer(self, request: Request) -> Response:
        assert self.held.wait(PATIENT_S)
        self.each()
        if request.echo.message == "refuse":
            raise Refused(OUT_OF_ORDER)
        if request.WhichOneof("value") == "commit":
            raise ZeroDivisionError
        return Response(echo=ResponseEcho(message=request.echo.message))

    def _fail(self, error: BaseException) -> None:
        self.errors.append(error)
        self.failed.set()


@pytest.fixture
def echoing() -> Iterator[Echoing]:
    with short_folder() as folder:
        made = Echoing(folder / "run" / "abci.sock")
        yield made
        made.held.set()
        made.server.close()


def asked(*messages: str) -> bytes:
    bodies = [Request(echo=RequestEcho(message=message)).SerializeToString() for message in messages]
    return b"".join(varint(len(body)) + body for body in bodies)


def answers(*messages: str) -> bytes:
    return b"".join(framed(Response(echo=ResponseEcho(message=message))) for message in messages)


def received(client: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length and (piece := client.recv(length - len(data))):
        data += piece
    return data


def test_while_much_is_being_answered_nobody_waits_for_room_to_ask(echoing: Echoing) -> None:
    """CometBFT's client burns a core while a write of its waits."""
    words = ["x" * 500] * 2 * _PORTION
    piece, expected, asking = asked(*words), answers(*words), range(40)
    answered, taken = 0, [0]

    def each() -> None:
        nonlocal answered
        answered += 1
        if answered % _PORTION == 1 and len(taken) < len(asking):
            taken.append(client.send(piece, socket.MSG_DONTWAIT))

    echoing.each = each
    with echoing.connect() as client:
        client.settimeout(None)  # with one, Python itself waits for room
        taken[0] = len(piece)
        client.sendall(piece)
        data = received(client, len(expected) * len(asking))
    assert taken == [len(piece)] * len(asking), "all of it was taken at once, each time"
    assert data == expected * len(asking)


def test_only_so_much_is_taken_before_it_is_answered(echoing: Echoing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_AHEAD_BYTES", 1)
    words = ["x" * 500] * 2 * _PORTION
    stream, expected = asked(*words) * 60, answers(*words) * 60
    step = len(stream) // 60
    answered, at, refused, ended = 0, step, False, threading.Event()

    def each() -> None:
        nonlocal answered, at, refused
        answered += 1
        if answered % _PORTION == 1 and not ended.is_set():
            try:
                taken = client.send(stream[at : at + step], socket.MSG_DONTWAIT)
            except BlockingIOError:
                taken = 0
            at, refused = at + taken, taken < step
            if refused or at == len(stream):
                ended.set()

    echoing.each = each
    with echoing.connect() as client, ThreadPoolExecutor(1) as reader:
        client.settimeout(None)
        data = reader.submit(received, client, len(expected))
        client.sendall(stream[:step])
        assert ended.wait(PATIENT_S)
        client.sendall(stream[at:])
        assert data.result() == expected
    assert refused, "nothing ever waited"


def test_connections_are_answered_each_in_order(echoing: Echoing) -> None:
    with echoing.connect() as one, echoing.connect() as other:
        one.sendall(asked("a", "b", "c"))
        other.sendall(asked("d")[:3])
        assert received(one, len(answers("a", "b", "c"))) == answers("a", "b", "c")
        other.sendall(asked("d")[3:])
        assert received(other, len(answers("d"))) == answers("d")


def test_that_the_other_side_goes_is_normal(echoing: Echoing) -> None:
    for _ in range(3):
        client = echoing.connect()
        client.sendall(asked("a") + asked("b")[:2])
        client.close()
    assert echoing.server.drain(PATIENT_S)
    with echoing.connect() as client:
        client.sendall(asked("still here"))
        assert received(client, len(answers("still here"))) == answers("still here")
    assert not echoing.errors


@pytest.mark.parametrize(
    ("sent", "kind", "told"),
    [
        (asked("refuse"), Refused, "consensus.02"),
        (b"\x02\x5a\x00", ZeroDivisionError, "fault"),
        (b"\x01\x0a", BadInput, "consensus.20"),
    ],
    ids=["refusal", "fault", "garbage"],
)
def test_an_error_is_told_to_both_sides_and_ends_the_connection(
    echoing: Echoing, sent: bytes, kind: type[BaseException], told: str
) -> None:
    assert Request(commit=RequestCommit()).SerializeToString() == b"\x5a\x00"
    with echoing.connect() as client:
        client.sendall(sent + asked("after"))
        said = received(client, 10**6)
        assert Response.FromString(said[1:]).exception.error == told
    assert echoing.failed.wait(PATIENT_S)
    assert [type(error) for error in echoing.errors] == [kind]


def test_draining_waits_for_what_is_being_answered(echoing: Echoing) -> None:
    with echoing.connect() as client:
        client.sendall(asked("a"))
        assert received(client, len(answers("a"))) == answers("a"), "it is connected"
        echoing.held.clear()
        client.sendall(asked("b"))
    assert not echoing.server.drain(0.05)
    echoing.held.set()
    assert echoing.server.drain(PATIENT_S)


def test_closing_ends_connections_and_takes_no_more(echoing: Echoing) -> None:
    with echoing.connect() as client:
        client.sendall(asked("a"))
        assert received(client, len(answers("a"))) == answers("a")
        echoing.server.close()
        assert client.recv(1) == b""
    with pytest.raises(OSError):  # noqa: PT011 - which one is the system's affair
        echoing.connect()
    echoing.server.close()
    assert not echoing.errors


def test_a_server_that_nobody_can_reach_any_more_has_failed(echoing: Echoing) -> None:
    echoing.server._listener.shutdown(socket.SHUT_RDWR)
    assert echoing.failed.wait(PATIENT_S)
    assert isinstance(echoing.errors[0], OSError)


def test_the_socket_is_for_this_user_only_and_takes_the_place_of_one_left_behind() -> None:
    with short_folder() as folder:
        path = folder / "run" / "abci.sock"
        listening(path).close()
        listener = listening(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        listener.close()
