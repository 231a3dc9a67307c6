"""The way to a node: what is tried again, what is not, and how long; against a server of a few lines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from caremesh.client import node as module
from caremesh.client import wire
from caremesh.client.node import Node, Patience, Target
from caremesh.errors import BadInput, CareMeshError, ErrorCode, Refused, Unavailable

QUICK = Patience(tries=3, pause_s=0.01, longest_pause_s=0.02, answer_s=30.0, max_bytes=10_000)
HASTY = structs.replace(QUICK, answer_s=0.5)
WITHIN_S = 120
SAID = ErrorCode("test.01", "A sentence.", "A cure.")


def problem(error: CareMeshError, status: int, *more: str) -> bytes:
    return response(status, wire.to_json(wire.problem_of(error, status)), *more)


def response(status: int, body: bytes = b"", *more: str) -> bytes:
    head = [f"HTTP/1.1 {status} x", f"content-length: {len(body)}", "connection: close", *more]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Scripted:
    """Answers each connection with the next of some bytes; ``None`` hangs up without a word."""

    def __init__(self, path: Path, answers: list[bytes | None], work: Callable[[Node], Awaitable[Any]]) -> None:
        self.path, self.answers, self.work = path, list(answers), work
        self.asked: list[bytes] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head)
        answer = self.answers.pop(0)
        if answer is not None:
            writer.write(answer)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def inside(self, patience: Patience) -> Any:
        server = await asyncio.start_unix_server(self._serve, self.path)
        async with server:
            target = Target(did="did:caremesh:x:" + "a" * 32, node_key=b"", url=f"unix:{self.path}")
            async with Node(target, None, patience=patience) as node:
                return await self.work(node)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.sock"


def run(path: Path, answers: list[bytes | None], patience: Patience = QUICK, **call: Any) -> tuple[Any, Scripted]:
    method = call.pop("method", "GET")
    scripted = Scripted(path, answers, lambda node: node.call(method, "/x", **call))
    try:
        return asyncio.run(scripted.inside(patience)), scripted
    except CareMeshError as error:
        return error, scripted


BUSY = problem(Unavailable(SAID), 503)
GOOD = response(200, b"good")


@pytest.mark.parametrize("first", [None, BUSY, problem(Refused(SAID), 429), response(502), response(504, b"<html>")])
def test_what_may_be_repeated_is_tried_again(path: Path, first: bytes | None) -> None:
    answer, scripted = run(path, [first, first, GOOD])
    assert answer.body == b"good"
    assert len(scripted.asked) == 3


@pytest.mark.parametrize("first", [None, BUSY])
def test_what_may_not_be_repeated_is_tried_once(path: Path, first: bytes | None) -> None:
    error, scripted = run(path, [first, GOOD], method="POST", body=b"x")
    assert isinstance(error, Unavailable)
    assert len(scripted.asked) == 1


def test_a_write_that_is_safe_to_repeat_is_repeated(path: Path) -> None:
    answer, _ = run(path, [None, GOOD], method="POST", body=b"x", safe=True)
    assert answer.body == b"good"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 507])
def test_a_refusal_is_an_answer(path: Path, status: int) -> None:
    error, scripted = run(path, [problem(Refused(SAID, "place"), status), GOOD])
    assert (type(error), error.error, error.place) == (Refused, SAID, "place")
    assert len(scripted.asked) == 1


def test_patience_ends(path: Path) -> None:
    error, scripted = run(path, [BUSY] * 5)
    assert (type(error), error.error) == (Unavailable, SAID)
    assert len(scripted.asked) == QUICK.tries
    error, scripted = run(path.with_name("two"), [None] * 5)
    assert error.code == "client.02"
    assert len(scripted.asked) == QUICK.tries


def test_who_is_told_how_long_to_wait_waits(path: Path) -> None:
    begun = time.monotonic()
    run(path, [problem(Refused(SAID), 429, "retry-after: 1"), GOOD], Patience(tries=2, pause_s=0.01, answer_s=5))
    assert time.monotonic() - begun >= 1


@pytest.mark.parametrize("text", ["-1", "1e9", "soon", "99999"])
def test_nobody_is_made_to_wait_for_ever(path: Path, text: str) -> None:
    begun = time.monotonic()
    run(path, [problem(Refused(SAID), 429, f"retry-after: {text}"), GOOD], HASTY)
    assert time.monotonic() - begun < 60


def test_an_answer_has_a_size(path: Path) -> None:
    error, _ = run(path, [response(200, bytes(10_001))])
    assert error.code == "client.04"
    answer, _ = run(path.with_name("two"), [response(200, bytes(10_000))])
    assert len(answer.body) == 10_000


def test_a_node_that_says_nothing_is_given_up(path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side gives up
        writer.close()
        await writer.wait_closed()

    scripted = Scripted(path, [], lambda node: node.call("POST", "/x", b"x"))
    scripted._serve = silent  # type: ignore[method-assign]
    with pytest.raises(Unavailable) as caught:
        asyncio.run(asyncio.wait_for(scripted.inside(HASTY), 60))
    assert caught.value.code == "client.02"


@pytest.mark.parametrize("body", [b"", b"no", b"{}", b'{"code": 1}'])
def test_what_is_no_problem_is_not_taken_for_one(path: Path, body: bytes) -> None:
    error, _ = run(path, [response(400, body)])
    assert (type(error), error.code) == (BadInput, "client.01")


CUT = b"HTTP/1.1 200 x\r\ncontent-length: 100\r\n\r\nhalf of"
CUT_PIECE = b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf of"


@pytest.mark.parametrize("cut", [CUT, CUT_PIECE, CUT.replace(b"200", b"404")])
def test_an_answer_that_ends_early_is_nobodys_fault_who_asked(path: Path, cut: bytes) -> None:
    error, scripted = run(path, [cut] * 5)
    assert (type(error), error.code) == (Unavailable, "client.09")
    assert len(scripted.asked) == QUICK.tries
    error, scripted = run(path.with_name("two"), [cut] * 5, method="POST", body=b"x")
    assert (type(error), error.code) == (Unavailable, "client.09")
    assert len(scripted.asked) == 1, "it may have been done"
    answer, _ = run(path.with_name("three"), [cut, GOOD])
    assert answer.body == b"good"


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_that_ends_answers_for_no_node(path: Path, status: int) -> None:
    error, _ = run(path, [response(status, b"Internal Server Error")] * QUICK.tries)
    assert (type(error), error.code) == (Unavailable, "client.02")
    assert error.place.endswith(str(status))


def test_a_redirect_is_not_followed(path: Path) -> None:
    answer, scripted = run(path, [response(302, b"", "location: https://elsewhere/")])
    assert answer.status == 302
    assert len(scripted.asked) == 1


class Full(Scripted):
    """Reads what a request begins with, and nothing of its body, until the work is done."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        await self.done.wait()
        writer.close()

    async def inside(self, patience: Patience) -> Any:
        self.done = asyncio.Event()
        work = self.work

        async def watched(node: Node) -> Any:
            try:
                return await asyncio.wait_for(work(node), WITHIN_S)
            finally:
                self.done.set()

        self.work = watched
        return await super().inside(patience)


@pytest.mark.parametrize("size", [8 * 2**20, 1_000_000], ids=["in pieces", "whole"])
def test_a_node_that_does_not_take_a_body_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """How long it may take depends on the body; time-outs for answers begin only when it is sent."""
    monkeypatch.setattr(module, "_SLOWEST_BYTES_S", 4 * size)
    full = Full(path, [], lambda node: node.call("POST", "/x", bytes(size)))
    with pytest.raises(Unavailable, match=r"client\.02"):
        asyncio.run(full.inside(HASTY))
    assert len(full.asked) == 1, "what may have arrived is not sent again"
