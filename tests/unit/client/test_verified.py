"""What a client believes of a node under either engine, question by question: the truth, and no lie.

The node answers by its real routes over a real engine, without a network between; what it answers is then bent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, cast

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.api import ledger
from caremesh.api.routes import Call, Caller
from caremesh.client import wire
from caremesh.client.ledger import LedgerClient
from caremesh.client.node import Answer, Node
from caremesh.codec import CID
from caremesh.consensus import kept
from caremesh.consensus.cometbft.engine import CometBft
from caremesh.consensus.embedded import Embedded
from caremesh.consensus.interface import Committed, Cursor
from caremesh.crypto.signatures import did_of
from caremesh.errors import CareMeshError, Refused, Tampered
from caremesh.ledger import history
from caremesh.ledger.application import Event
from caremesh.ledger.blocks import Block, Misbehaviour
from caremesh.ledger.inclusion import Entries, Inclusion
from caremesh.ledger.light import LightClient
from tests.support.comet_engine import PATIENT_S, comet, embedded, now, short_folder, signed
from tests.support.kv import CHAIN, MEMBER, Put, Refuse

Bend = Callable[[Any], Any]
Running = Embedded | CometBft
DIGEST = b"\7" * 32
MAX_AGE_S = 600
ANYONE = Caller("anyone", "")


class Scene:
    """An engine with a few blocks, and transactions that took effect and that did not."""

    def __init__(self, engine: Running) -> None:
        self.engine = engine
        futures = [engine.submit_soon(signed(Put(key=b"%d" % number, value=b"1"))) for number in range(3)]
        self.txs = [future.result(PATIENT_S) for future in futures]
        self.txs.append(engine.submit(signed(Refuse(key=b"r"))))
        assert [tx.code for tx in self.txs[:3]] == [""] * 3
        assert self.txs[3].code
        self.txs.append(engine.submit(signed(Put(key=b"last", value=b"1"))))

    def client(self, light: LightClient | None = None, **bends: Bend) -> LedgerClient:
        """``bends``: by the name of a route, what is made of its answer."""
        begun = self.engine.block(1).signed.own().time
        trusting = light or LightClient(CHAIN, self.engine.validators, trusted_at=begun)
        return LedgerClient(cast("Node", Direct(self.engine, bends)), trusting, MAX_AGE_S)


class Direct:
    """See ``client.node.Node``: the routes themselves."""

    clock = staticmethod(now)

    def __init__(self, engine: Running, bends: Mapping[str, Bend]) -> None:
        self._routes = {route.name: route for route in ledger.routes(cast("Any", engine), did_of(CHAIN, MEMBER.public))}
        self._bends = bends

    async def chunks(self, path: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        name, given = self._named(path)
        told = await self._routes[f"ledger.{name}"].handler(Call(ANYONE, given, {}, dict(headers or {}), b""))
        assert told.stream is not None
        async for chunk in told.stream:
            yield self._bends[name](chunk) if name in self._bends else chunk

    async def call(self, _method: str, path: str, *, query: Mapping[str, Any] | None = None, **_: Any) -> Answer:
        name, given = self._named(path)
        asked = {key: str(value) for key, value in (query or {}).items()}
        told = await self._routes[f"ledger.{name}"].handler(Call(ANYONE, given, asked, {}, b""))
        body = self._bends[name](told.body) if name in self._bends else told.body
        return Answer(200, {key.lower(): value for key, value in told.headers.items()}, body)

    @staticmethod
    def _named(path: str) -> tuple[str, dict[str, str]]:
        match path.removeprefix("/ledger/v1/").split("/"):
            case ["transactions", tx]:
                return "transaction", {"id": tx}
            case ["transactions", tx, "proof"]:
                return "inclusion", {"id": tx}
            case ["state", key]:
                return "state", {"key": key}
            case ["light-blocks"]:
                return "header", {}
            case [name]:
                return name, {}
            case other:
                raise AssertionError(other)


@pytest.fixture(scope="module", params=[embedded, comet], ids=["embedded", "cometbft"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with short_folder() as folder:
        engine = request.param(folder, begun=now())
        try:
            engine.start()
            engine.wait(1, PATIENT_S)
            yield Scene(engine)
        finally:
            engine.close()


def of(kind: Any, change: Callable[[Any], Any]) -> Bend:
    """Bends an answer in DAG-CBOR."""
    return lambda body: codec.encode(change(codec.decode_as(body, kind)))


def run(work: Any) -> Any:
    return asyncio.run(work)


def caught(work: Any) -> CareMeshError:
    with pytest.raises(CareMeshError) as error:
        asyncio.run(work)
    return error.value


@pytest.mark.promise("P4")
def test_what_became_of_a_transaction_is_proven(scene: Scene) -> None:
    client = scene.client()
    for tx in reversed(scene.txs):  # the newest header is verified before older ones are asked for
        found = run(client.outcome(CID(tx.tx)))
        assert (found.tx, found.height, found.code, found.events) == (tx.tx, tx.height, tx.code, tx.events)
        assert found.result.sentence == "", "no header holds it"
        assert run(client.outcome(CID(tx.tx), verify=False)) == tx
    assert run(client.outcome(codec.cid_of_cbor(b"\xa0"), verify=False)) is None


def _other_tx(scene: Scene) -> Bend:
    """The proof of another transaction."""
    found = scene.engine.inclusion(scene.txs[1].tx)
    assert found is not None
    return lambda body: codec.encode(replace(found, log=codec.decode_as(body, Inclusion).log))


def _in_the_block_of(tx: Committed, scene: Scene) -> Bend:
    found = scene.engine.inclusion(tx.tx)
    assert found is not None
    held = ("height", "signed", "position", "count", "block_path")
    return of(Inclusion, lambda said: replace(said, **{name: getattr(found, name) for name in held}))


LIES: dict[str, Callable[[Scene], dict[str, Bend]]] = {
    "took effect": lambda _: {
        "transaction": of(Committed, lambda said: replace(said, result=replace(said.result, code="")))
    },
    "took effect, and the proof says so": lambda _: {
        "transaction": of(Committed, lambda said: replace(said, result=replace(said.result, code=""))),
        "inclusion": of(Inclusion, lambda said: replace(said, code="")),
    },
    "in an earlier block": lambda _: {"transaction": of(Committed, lambda said: replace(said, height=1))},
    "in an earlier block, and the proof says so": lambda _: {
        "transaction": of(Committed, lambda said: replace(said, height=said.height - 1)),
        "inclusion": of(Inclusion, lambda said: replace(said, height=said.height - 1)),
    },
    "another transaction": lambda scene: {"inclusion": _other_tx(scene)},
    "of another id": lambda _: {"transaction": of(Committed, lambda said: replace(said, tx=bytes(36)))},
    "told something": lambda _: {
        "transaction": of(Committed, lambda said: replace(said, events=[_false_event(said.tx)])),
    },
    "told something, and the proof says so": lambda _: {
        "transaction": of(Committed, lambda said: replace(said, events=[_false_event(said.tx)])),
        "inclusion": of(Inclusion, lambda said: replace(said, events=[_false_event(scene_id(said))])),
    },
    "another signature": lambda _: {"inclusion": of(Inclusion, lambda said: replace(said, signed=_resigned(said)))},
    "no transaction": lambda _: {"inclusion": of(Inclusion, lambda said: replace(said, signed=b"\x80"))},
    "another place in the log": lambda _: {
        "inclusion": of(Inclusion, lambda said: replace(said, index=said.index - 1))
    },
    "another value of the state": lambda _: {
        "inclusion": of(Inclusion, lambda said: replace(said, log=replace(said.log, key=b"kv/value/0")))
    },
    "another log": lambda _: {
        "transaction": of(Committed, lambda said: replace(said, result=replace(said.result, code=""))),
        "inclusion": of(Inclusion, _own_log),
    },
    "in the block of another": lambda scene: {
        "transaction": of(Committed, lambda said: replace(said, height=scene.txs[0].height)),
        "inclusion": _in_the_block_of(scene.txs[0], scene),
    },
}


def _false_event(tx: bytes) -> Event:
    return Event(type="kv/put", height=1, tx=tx, attributes={"key": b"false"})


def _resigned(said: Inclusion) -> bytes:
    """The same transaction as nobody sent it."""
    tx, signatures = cast("list[Any]", codec.decode(said.signed))
    return codec.encode([tx, [bytes(64) for _ in signatures]])


def _own_log(said: Inclusion) -> Inclusion:
    """A log of the node's own, in which the transaction took effect."""
    tx = scene_id(said)
    log, _ = history.append(history.NO_LEAVES, [history.tx_leaf(tx, "", [])])
    proof = replace(said.log.proof, value=codec.encode(log))
    return replace(said, code="", index=0, path=[], log=replace(said.log, proof=proof))


def scene_id(said: Inclusion) -> bytes:
    """The id of the transaction in a proof."""
    return bytes(codec.cid_of_cbor(cast("list[Any]", codec.decode(said.signed))[0]))


@pytest.mark.promise("P4")
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_about_what_became_of_a_transaction_is_found(
    scene: Scene, lie: Callable[[Scene], dict[str, Bend]]
) -> None:
    error = caught(scene.client(**lie(scene)).outcome(CID(scene.txs[3].tx)))
    assert isinstance(error, Tampered), error


@pytest.mark.promise("P4")
def test_blocks_are_those_of_their_headers(scene: Scene) -> None:
    last = scene.txs[-1].height
    scene.engine.wait(last + 1, PATIENT_S)
    client = scene.client()
    found = run(client.blocks(1))
    assert len(found) >= last
    assert found == [scene.engine.block(height) for height in range(1, len(found) + 1)]
    assert run(client.blocks(last))[0] == scene.engine.block(last), "older headers than the newest are verified, too"
    assert run(client.blocks(2**40)) == []


def test_what_the_newest_header_does_not_prove_yet_is_not_verified(scene: Scene) -> None:
    old = codec.encode(scene.engine.light_block(2))
    assert scene.txs[-1].height > 2
    client = scene.client(header=lambda _: old)
    error = caught(client.outcome(CID(scene.txs[-1].tx)))
    assert (type(error), error.code) == (Refused, "client.06")
    assert run(client.blocks(scene.txs[-1].height)) == []


@pytest.mark.promise("P4")
def test_the_newest_header_is_never_older_than_one_before(scene: Scene) -> None:
    said: list[bytes] = []
    client = scene.client(header=lambda body: said[0] if said else body)
    run(client.newest())
    said.append(codec.encode(scene.engine.light_block(2)))
    error = caught(client.newest())
    assert (type(error), error.code) == (Refused, "light.05")


def _header(change: Callable[[Any], Any]) -> Bend:
    def bent(body: bytes) -> bytes:
        return wire.several([_with_header(codec.decode_as(each, Block), change) for each in wire.each_of(body)])

    return bent


def _with_header(block: Block, change: Callable[[Any], Any]) -> bytes:
    signed_header = replace(block.signed, header=codec.encode(change(block.signed.own())))
    return codec.encode(replace(block, signed=signed_header))


def _block(change: Callable[[Block], Block]) -> Bend:
    return lambda body: wire.several(
        [codec.encode(change(codec.decode_as(each, Block))) for each in wire.each_of(body)]
    )


FALSE = Misbehaviour(kind="two-votes", validator=bytes(20), height=1, time=1)
OTHER_BLOCKS: dict[str, Bend] = {
    "a transaction fewer": _block(lambda block: replace(block, txs=block.txs[:-1])),
    "a transaction more": _block(lambda block: replace(block, txs=[*block.txs, b"more"])),
    "someone misbehaved": _block(lambda block: replace(block, misbehaviour=[FALSE])),
    "another root": _header(lambda header: replace(header, app_hash=DIGEST)),
    "another time": _header(lambda header: replace(header, time=header.time + 1)),
    "another block before": _header(lambda header: replace(header, previous=DIGEST)),
    "other validators": _header(lambda header: replace(header, validators=DIGEST)),
    "other validators next": _header(lambda header: replace(header, next_validators=DIGEST)),
    "another root of transactions": _header(lambda header: replace(header, txs=DIGEST)),
    "another chain": _header(lambda header: replace(header, chain="other")),
}


@pytest.mark.promise("P4")
@pytest.mark.parametrize("lie", OTHER_BLOCKS.values(), ids=OTHER_BLOCKS)
def test_a_block_that_its_header_does_not_name_is_found(scene: Scene, lie: Bend) -> None:
    start = scene.txs[0].height
    scene.engine.wait(start + 1, PATIENT_S)
    error = caught(scene.client(blocks=lie).blocks(start))
    assert (type(error), error.code) == (Tampered, "light.17")
    assert run(scene.client(blocks=lie).blocks(start, verify=False))


@pytest.mark.promise("P4")
def test_where_the_ledger_stands_is_in_its_newest_header(scene: Scene) -> None:
    client = scene.client()
    found, header = run(client.status()), run(client.newest())
    assert found.height <= header.height <= scene.engine.status().height
    assert found.height >= scene.txs[-1].height
    client = scene.client(header=lambda _: codec.encode(scene.engine.light_block(found.height)), **_still(found))
    again = run(client.status())
    assert (again.height, again.time, again.app_hash) == (found.height, found.time, found.app_hash)


def _still(found: wire.NodeStatus, **other: Any) -> dict[str, Bend]:
    """Says that it stands where the header of ``found`` says, but for ``other``."""
    return {
        "status": lambda body: json.dumps(
            json.loads(body) | {"height": found.height, "time": found.time, **other}
        ).encode()
    }


@pytest.mark.promise("P4")
@pytest.mark.parametrize(
    "lie",
    [
        lambda found: {"height": found.height + 10},
        lambda found: {"time": found.time + 1},
        lambda _: {"chain": "other"},
    ],
    ids=["further", "later", "another chain"],
)
def test_a_lie_about_where_the_ledger_stands_is_found(scene: Scene, lie: Callable[[Any], dict[str, Any]]) -> None:
    found = run(scene.client().status())
    block = codec.encode(scene.engine.light_block(found.height))
    error = caught(scene.client(header=lambda _: block, **_still(found, **lie(found))).status())
    assert (type(error), error.code) == (Tampered, "light.08")


@pytest.mark.promise("P4")
def test_another_root_than_the_proven_one_is_found(scene: Scene) -> None:
    client = scene.client()
    header = run(client.newest())
    block = codec.encode(scene.engine.light_block(header.height))
    said = {"height": header.proves, "time": header.time, "app_hash": "00" * 32}
    lying = scene.client(header=lambda _: block, status=lambda body: json.dumps(json.loads(body) | said).encode())
    assert isinstance(caught(lying.status()), Tampered)


async def _events(client: LedgerClient, count: int, cursor: str = "", **asked: Any) -> list[tuple[str, Event]]:
    found: list[tuple[str, Event]] = []
    async with asyncio.timeout(PATIENT_S), aclosing(client.events(cursor, **asked)) as stream:
        async for row in stream:
            found.append(row)
            if len(found) == count:
                break
    return found


@pytest.mark.promise("P4")
def test_events_are_those_that_the_history_holds(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(scene.engine.subscribe())
    assert len(expected) >= 4
    assert run(_events(scene.client(), len(expected))) == expected
    assert run(_events(scene.client(), len(expected), verify=False)) == expected
    for at, (cursor, _) in enumerate(expected[:-1]):
        assert run(_events(scene.client(), len(expected) - at - 1, cursor)) == expected[at + 1 :]
    monkeypatch.setattr(kept, "MAX_ENTRIES", 1)
    assert run(_events(scene.client(), len(expected))) == expected, "in as many answers as it takes"


@pytest.mark.promise("P4")
def test_an_event_is_told_once_a_header_proves_it(scene: Scene) -> None:
    last = list(scene.engine.subscribe())[-1][0]

    async def inside() -> Event:
        waiting = asyncio.create_task(_events(scene.client(), 1, last))
        await asyncio.sleep(0.2)
        made = await asyncio.to_thread(scene.engine.submit, signed(Put(key=b"late", value=b"1")))
        [(_, event)] = await waiting
        assert [event] == made.events
        return event

    assert run(inside()).attributes["key"] == b"late"


def _entries(change: Callable[[Entries], Entries]) -> Bend:
    return of(Entries, change)


def _without_an_event(said: Entries) -> Entries:
    [at, *_] = [at for at, told in enumerate(said.told) if told.events]
    return replace(said, told=[replace(told, events=[]) if at == n else told for n, told in enumerate(said.told)])


NO_EVENTS: dict[str, Bend] = {
    "an event less": _entries(_without_an_event),
    "the first leaf less": _entries(lambda said: replace(said, start=said.start + 1, told=said.told[1:])),
    "the last leaf less": _entries(lambda said: replace(said, told=said.told[:-1])),
    "nothing told": _entries(lambda said: replace(said, told=[], beside=[])),
    "nothing told, and all is said to be over": _entries(
        lambda said: replace(said, start=said.start, told=[], beside=[], through=said.log.height)
    ),
    "nothing told, at its end": _entries(lambda said: replace(said, start=said.end, told=[], beside=[])),
    "the last block told for later ones": _entries(lambda said: replace(said, through=2**40)),
    "no block looked at": _entries(lambda said: replace(said, through=0, told=[], beside=[])),
    "an event that was not": _entries(
        lambda said: replace(said, told=[replace(told, events=[_false_event(told.tx)]) for told in said.told])
    ),
}


@pytest.mark.promise("P4")
@pytest.mark.parametrize("lie", NO_EVENTS.values(), ids=NO_EVENTS)
def test_a_lie_about_what_was_told_is_found(scene: Scene, lie: Bend) -> None:
    rows = list(scene.engine.subscribe())
    error = caught(_events(scene.client(entries=lie), len(rows) - 1, rows[0][0]))
    assert isinstance(error, Tampered), error


@pytest.mark.promise("P4")
def test_leaves_that_another_answer_held_back_are_missed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answer is cut short, and says so; the second goes on behind what it left out."""
    rows = list(scene.engine.subscribe())
    monkeypatch.setattr(kept, "MAX_ENTRIES", 1)

    def skip(body: bytes) -> bytes:
        said = codec.decode_as(body, Entries)
        return codec.encode(replace(said, through=said.through + 1)) if said.through + 1 < said.log.height else body

    error = caught(_events(scene.client(entries=skip), len(rows) - 1, rows[0][0]))
    assert isinstance(error, Tampered), error


async def _one_answer(client: LedgerClient, cursor: str) -> Any:
    return await client._entered(Cursor.read(cursor), await client.newest())


@pytest.mark.promise("P4")
def test_an_answer_that_says_that_all_is_told_has_told_all(scene: Scene) -> None:
    first = next(iter(scene.engine.subscribe()))[0]
    nothing = _entries(lambda said: replace(said, told=[], beside=[], through=said.log.height))
    assert caught(_one_answer(scene.client(entries=nothing), first)).code == "light.16"


@pytest.mark.promise("P4")
def test_an_answer_never_goes_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    last = list(scene.engine.subscribe())[-1][0]
    monkeypatch.setattr(kept, "MAX_ENTRIES", 1)
    height = Cursor.read(last).height
    scene.engine.wait(height + 2, PATIENT_S)

    def earlier(body: bytes) -> bytes:
        said = scene.engine.entries(scene.txs[0].height, codec.decode_as(body, Entries).log.height)
        return codec.encode(replace(said, through=height))

    assert caught(_one_answer(scene.client(entries=earlier), last)).code == "light.16"


def test_a_node_that_stands_still_is_noticed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "BEAT_S", 0.05)
    client = scene.client(events=lambda chunk: b"id: 1.0.0\n\n" if chunk.startswith(b"id") else chunk)

    async def inside() -> None:
        async for _ in client.events():
            client._max_age_s = -(10**6)

    assert caught(asyncio.wait_for(inside(), PATIENT_S)).code == "client.06"


def test_who_is_told_without_a_pause_hears_of_it(scene: Scene) -> None:
    """No line of the stream without an event: block follows on block."""
    last = list(scene.engine.subscribe())[-1][0]
    client = scene.client(events=lambda chunk: chunk if b"data: " in chunk else b"")

    async def inside() -> bytes:
        waiting = asyncio.create_task(_events(client, 1, last))
        number = 0
        while not waiting.done():
            await asyncio.to_thread(scene.engine.submit, signed(Put(key=b"%d." % number, value=b"1")))
            number += 1
        return (await waiting)[0][1].attributes["key"]  # type: ignore[no-any-return]

    assert run(asyncio.wait_for(inside(), PATIENT_S)) == b"0."


def test_a_cursor_is_used_as_it_was_given(scene: Scene) -> None:
    for verify in (True, False):
        assert caught(_events(scene.client(), 1, "1.2", verify=verify)).code == "consensus.05"


@pytest.mark.promise("P4")
def test_nothing_is_verified_without_something_to_trust(scene: Scene) -> None:
    client = LedgerClient(cast("Node", Direct(scene.engine, {})))
    for asked in (client.status(), client.outcome(CID(scene.txs[0].tx)), client.blocks(1)):
        assert caught(asked).code == "client.07"
    assert run(client.status(verify=False)).height
    assert run(client.outcome(CID(scene.txs[0].tx), verify=False)) == scene.txs[0]
    assert run(client.blocks(1, verify=False))[0] == scene.engine.block(1)
