"""``/ledger/v1`` through real servers: proofs that the client checks, blocks that are followed, events that resume."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.api import ledger
from caremesh.api.heights import Heights
from caremesh.api.routes import Call, Caller
from caremesh.client.ledger import LedgerClient
from caremesh.client.node import Node
from caremesh.consensus.interface import NOT_YET, STOPPED, Status
from caremesh.contracts.members import queries as members
from caremesh.errors import BadInput, CareMeshError, Refused, Tampered, Unavailable
from caremesh.ledger.application import Event
from caremesh.ledger.light import Answer, LightBlock
from caremesh.ledger.proofs import Proof
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from tests.support.over_http import OverHttp, over_http
from tests.support.sending import Sending


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OverHttp]:
    folder = tmp_path_factory.mktemp("ledger")
    with LocalMesh(folder / "mesh", SettableClock()) as mesh, over_http(mesh, folder) as made:
        yield made


@pytest.fixture(scope="module")
def send(http: OverHttp) -> Sending:
    return Sending(http.mesh)


def run(node: Node, work: Callable[[LedgerClient], Any], http: OverHttp) -> Any:
    async def inside() -> Any:
        async with node:
            return await work(LedgerClient(node, http.mesh.light_client()))

    return asyncio.run(inside())


def test_a_value_and_an_absence_are_proven(http: OverHttp, send: Sending) -> None:
    key = members.member_key(http.mesh.member("hospital").home.did)
    other = members.member_key(http.mesh.member("payer").home.did)
    height = http.mesh.engine.status().height

    async def inside() -> None:
        async with http.doors["regulator"].as_member("hospital") as node:
            client = LedgerClient(node, http.mesh.light_client())
            assert await client.query(key) == http.mesh.engine.reader().get(key)
            assert await client.query(b"members/member/nobody") is None
            send.one()
            assert await client.query(other, height) == http.mesh.engine.reader().get(other), "at its own height"
            assert http.mesh.engine.status().height > height

    asyncio.run(inside())


class Lies(LedgerClient):
    """Changes what the node answers."""

    def __init__(self, node: Node, http: OverHttp, bend: Callable[[Answer], Answer]) -> None:
        super().__init__(node, http.mesh.light_client())
        self.bend = bend

    async def answer(self, key: bytes, height: int | None = None) -> Answer:
        return self.bend(await super().answer(key, height))


@pytest.mark.promise("P4")
@pytest.mark.parametrize(
    "bend",
    [
        lambda answer: replace(answer, proof=replace(answer.proof, value=b"other")),
        lambda answer: replace(answer, proof=Proof(siblings=answer.proof.siblings, value=None)),
        lambda answer: replace(answer, height=answer.height - 1),
    ],
    ids=["another value", "absent", "another height"],
)
def test_a_lie_about_the_state_is_found(http: OverHttp, bend: Callable[[Answer], Answer]) -> None:
    key = members.member_key(http.mesh.member("hospital").home.did)

    async def inside() -> None:
        async with http.doors["regulator"].as_member("hospital") as node:
            assert await Lies(node, http, lambda answer: answer).query(key)
            await Lies(node, http, bend).query(key)

    with pytest.raises(Tampered):
        asyncio.run(inside())


def test_what_was_not_asked_for_is_no_answer(http: OverHttp) -> None:
    class Swaps(Node):
        async def call(self, method: str, path: str, *args: Any, **named: Any) -> Any:
            other = http.mesh.engine.query(b"members/member/other")
            if "/state/" in path:
                return replace(await super().call(method, path, *args, **named), body=codec.encode(other))
            return await super().call(method, path, *args, **named)

    door = http.doors["regulator"]
    plain = door.as_key()
    node = Swaps(plain.target, plain.identity)
    with pytest.raises(Tampered):
        run(node, lambda client: client.query(b"members/member/this", verify=False), http)


def test_a_header_of_another_height_than_was_asked_for_is_none(http: OverHttp) -> None:
    class Older(LedgerClient):
        async def light_block(self, height: int | None = None) -> LightBlock:
            return await super().light_block(None if height is None else height - 1)

    async def inside() -> None:
        async with http.doors["regulator"].as_key() as node:
            await Older(node, http.mesh.light_client()).header(http.mesh.engine.status().height)

    with pytest.raises(Tampered) as caught:
        asyncio.run(inside())
    assert caught.value.code == "light.08"


def test_a_value_of_another_height_than_was_asked_for_is_no_answer(http: OverHttp, send: Sending) -> None:
    send.one()
    now = http.mesh.engine.status().height

    class Newest(Node):
        async def call(self, method: str, path: str, *args: Any, **named: Any) -> Any:
            return await super().call(method, path, *args, **(named | {"query": None}))

    door = http.doors["regulator"]
    plain = door.as_key()
    node = Newest(plain.target, plain.identity)
    with pytest.raises(Tampered) as caught:
        run(node, lambda client: client.query(b"members/all", now - 1, verify=False), http)
    assert caught.value.code == "light.08"


def test_an_old_head_is_not_taken_for_the_newest(http: OverHttp, send: Sending) -> None:
    clock = http.mesh.clock
    assert isinstance(clock, SettableClock)
    clock.advance(120)

    def ask() -> Any:
        return run(http.doors["regulator"].as_key(), lambda client: client.query(b"members/member/nobody"), http)

    with pytest.raises(Refused) as caught:
        ask()
    assert caught.value.code == "client.06"
    send.tick()
    assert ask() is None


def test_nothing_is_verified_without_something_to_trust(http: OverHttp) -> None:
    async def inside() -> None:
        async with http.doors["regulator"].as_key() as node:
            assert await LedgerClient(node).query(b"members/all", verify=False) is None
            await LedgerClient(node).query(b"members/all")

    with pytest.raises(Refused) as caught:
        asyncio.run(inside())
    assert caught.value.code == "client.07"


def test_a_header_of_another_chain_is_refused(http: OverHttp) -> None:
    class Forges(LedgerClient):
        async def light_block(self, height: int | None = None) -> LightBlock:
            block = await super().light_block(height)
            header = replace(block.signed.content(), app_hash=bytes(32))
            return replace(block, signed=replace(block.signed, header=codec.encode(header)))

    async def inside() -> None:
        async with http.doors["regulator"].as_key() as node:
            await Forges(node, http.mesh.light_client()).query(b"members/all")

    with pytest.raises(Tampered) as caught:
        asyncio.run(inside())
    assert caught.value.code == "light.01"


@pytest.mark.promise("P7")
def test_a_replica_follows_over_http(http: OverHttp, send: Sending, tmp_path: Path) -> None:
    remote = http.ledger("regulator", "hospital")
    copy = http.mesh.founding.replica(tmp_path / "copy", http.mesh.clock)
    try:
        while copy.height() < http.mesh.engine.status().height:
            for block in remote.blocks(copy.height() + 1, 0):
                copy.apply(block)
        assert copy.status().app_hash == http.mesh.engine.status().app_hash
        waiting = http.portal.start(lambda: remote._client.blocks(copy.height() + 1, 20, verify=False))
        time.sleep(0.3)
        assert not waiting.done(), "the answer came before there was a block"
        send.one()
        for block in waiting.result(10):
            copy.apply(block)
        assert copy.status().app_hash == http.mesh.engine.status().app_hash
    finally:
        copy.close()


def test_a_wait_for_a_block_ends(http: OverHttp) -> None:
    height = http.mesh.engine.status().height
    remote = http.ledger("regulator", "hospital")
    assert remote.blocks(height + 100, 1) == []
    assert remote.told == height  # how far the node is, also when it has nothing to give
    assert http.ledger("regulator", "hospital").blocks(height + 100, 0) == []


def test_what_became_of_a_transaction_is_told_by_its_id(http: OverHttp, send: Sending) -> None:
    committed = send.one()
    remote = http.ledger("regulator", "hospital")
    assert remote.outcome(codec.CID(committed.tx), verify=False) == committed
    assert remote.outcome(codec.cid_of_cbor(b"\xa0"), verify=False) is None


def test_many_transactions_are_on_their_way_at_once(http: OverHttp, send: Sending) -> None:
    remote = http.ledger("regulator", "hospital")
    futures = remote.submit_many([send.raw() for _ in range(5)])
    assert [future.result(10).code for future in futures] == [""] * 5


@pytest.mark.parametrize("verify", [True, False], ids=["verified", "as they are told"])
def test_events_come_once_each_and_in_order_however_often_the_way_breaks(
    http: OverHttp, send: Sending, verify: bool
) -> None:
    """Every read ends after two events; the next begins where it was."""
    first = next(iter(http.mesh.engine.subscribe()))[0]
    for _ in range(5):
        send.one()
    expected = list(http.mesh.engine.subscribe(first))

    async def inside() -> list[Any]:
        seen: list[Any] = []
        async with http.doors["regulator"].as_member("hospital") as node:
            cursor = first
            while len(seen) < len(expected) + 1:
                taken = 0
                stream = LedgerClient(node, http.mesh.light_client()).events(cursor, verify=verify)
                async for cursor, event in stream:
                    seen.append((cursor, event))
                    taken += 1
                    if len(seen) == len(expected) and taken:
                        await asyncio.to_thread(send.one)
                    if taken == 2 or len(seen) > len(expected):
                        break
                await stream.aclose()
        return seen

    seen = asyncio.run(asyncio.wait_for(inside(), 30))
    assert seen == list(http.mesh.engine.subscribe(first))[: len(seen)]
    assert len(seen) == len(expected) + 1


@pytest.mark.parametrize("cursor", ["x", "1.2", "1.2.x", "-1.2.3"])
def test_a_wrong_cursor_is_a_problem_and_not_a_stream(http: OverHttp, cursor: str) -> None:
    async def inside() -> None:
        async with http.doors["regulator"].as_member("hospital") as node:
            async for _ in LedgerClient(node).events(cursor, verify=False):
                raise AssertionError

    with pytest.raises(BadInput) as caught:
        asyncio.run(inside())
    assert caught.value.code == "consensus.05"


def test_no_one_answers_where_nobody_listens(http: OverHttp) -> None:
    door = http.doors["regulator"]
    node = Node(replace(door.target, url="https://127.0.0.1:1"), None)
    with pytest.raises(Unavailable) as caught:
        run(node, lambda client: client.status(verify=False), http)
    assert caught.value.code == "client.02"


def test_another_member_at_that_address_is_told_apart(http: OverHttp) -> None:
    """The payer answers at the address that is meant to be the regulator's."""
    door = http.doors["payer"]
    target = replace(http.doors["regulator"].target, url=door.url)
    with pytest.raises(CareMeshError) as caught:
        run(Node(target, None), lambda client: client.status(verify=False), http)
    assert caught.value.code == "client.03"


class Quiet:
    """A ledger in which nothing happens; it remembers from where it was asked for events."""

    def __init__(self) -> None:
        self.height = 7
        self.asked: list[str] = []
        self.new: list[Any] = []

    def status(self) -> Status:
        return Status("chain", self.height, 0, bytes(32))

    def wait(self, height: int, timeout_s: float) -> int:
        end = time.monotonic() + timeout_s
        while self.height < height:
            if time.monotonic() > end:
                raise Unavailable(NOT_YET)
            time.sleep(0.005)
        return self.height

    def subscribe(self, cursor: str = "") -> Iterator[tuple[str, Event]]:
        self.asked.append(cursor)
        return iter([row for row in self.new if self._place(row[0]) > self._place(cursor or "0.0.0")])

    @staticmethod
    def _place(cursor: str) -> list[int]:
        return [int(part) for part in cursor.split(".")]


def stream_of(quiet: Any, cursor: str = "") -> AsyncIterator[bytes]:
    async def made() -> AsyncIterator[bytes]:
        [route] = [route for route in ledger.routes(quiet, "did") if route.name == "ledger.events"]
        call = Call(Caller("member", "did"), {}, {"cursor": cursor} if cursor else {}, {}, b"")
        answer = await route.handler(call)
        assert answer.stream is not None
        async for chunk in answer.stream:
            yield chunk

    return made()


def test_a_stream_in_which_nothing_happens_says_so_and_does_not_look_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "BEAT_S", 0.05)
    quiet = Quiet()

    async def inside() -> None:
        stream = stream_of(quiet)
        found = [await anext(stream) for _ in range(4)]
        assert found == [b": caremesh\n\n"] + [b"id: 8.0.0\n\n"] * 3
        assert set(quiet.asked[2:]) == {"8.0.0"}, "what was seen once is not looked at again"
        quiet.new.append(("9.4.1", Event(type="a", height=9, tx=bytes(36), attributes={})))
        quiet.height = 9
        while not (chunk := await anext(stream)).startswith(b"id: 9.4.1\n"):
            assert chunk == b"id: 8.0.0\n\n"
        assert await anext(stream) == b"id: 10.4.1\n\n"

    asyncio.run(asyncio.wait_for(inside(), 60))


def test_a_cursor_ahead_of_the_ledger_is_not_moved_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "BEAT_S", 0.02)

    async def inside() -> None:
        stream = stream_of(Quiet(), "12.9.3")
        assert [await anext(stream) for _ in range(2)] == [b": caremesh\n\n", b"id: 12.9.3\n\n"]

    asyncio.run(asyncio.wait_for(inside(), 60))


def test_a_hundred_who_wait_take_one_thread() -> None:
    quiet, runs = Quiet(), []

    async def run(work: Callable[[], Any]) -> Any:
        runs.append(work)
        return await asyncio.to_thread(work)

    async def inside() -> None:
        heights = Heights(quiet, run)  # type: ignore[arg-type]
        waiting = [asyncio.create_task(heights.reached(8, 60)) for _ in range(100)]
        late = asyncio.create_task(heights.reached(100, 0.3))
        while len(runs) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert len(runs) == 2, "one that learned the height, one that waits for the next"
        quiet.height = 8
        assert await asyncio.gather(*waiting) == [True] * 100
        assert not await late
        assert await heights.reached(8, 0)

    asyncio.run(asyncio.wait_for(inside(), 60))


def test_who_waits_for_a_ledger_that_stops_is_told_in_time() -> None:
    class Stopped(Quiet):
        def wait(self, height: int, timeout_s: float) -> int:  # noqa: ARG002
            raise Unavailable(STOPPED)

    async def run(work: Callable[[], Any]) -> Any:
        return await asyncio.to_thread(work)

    async def inside() -> None:
        assert not await Heights(Stopped(), run).reached(8, 0.2)  # type: ignore[arg-type]

    asyncio.run(asyncio.wait_for(inside(), 60))
