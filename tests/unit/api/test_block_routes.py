"""``/blocks`` over a real server: who may bring, fetch and give up which blocks, and how damage and quotas are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from caremesh import codec
from caremesh.blobs import interface
from caremesh.blobs.links import BlockLink
from caremesh.blobs.peers import MAX_PUT_BYTES, Brought, PeerBlocks
from caremesh.client.blocking import Portal
from caremesh.client.blocks import BlocksClient, RemoteBlocks
from caremesh.client.node import Node
from caremesh.codec import CID
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, CareMeshError, Refused, StorageFailed, Tampered, Unavailable
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from tests.support.block_node import BlockNode, block_node
from tests.support.case import Case
from tests.support.holders import every, segment

pytestmark = pytest.mark.slow
T = TypeVar("T")
ONE, TWO = bytes([1]) * 32, bytes([2]) * 32
DATA = b"ciphertext"
NAME = codec.cid_of_raw(DATA)
PAIR = {codec.cid_of_raw(b"a"): b"a", codec.cid_of_raw(b"b"): b"b"}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("blocks") / "mesh", SettableClock()) as made:
        yield made


@pytest.fixture
def served(mesh: LocalMesh, tmp_path: Path) -> Iterator[BlockNode]:
    with block_node(mesh, "payer", tmp_path, quota_bytes=10_000_000) as running:
        yield running


def ask(node: Node, work: Callable[[BlocksClient], Awaitable[T]]) -> T:
    async def run() -> T:
        async with node:
            return await work(BlocksClient(node))

    return asyncio.run(run())


def code(node: Node, work: Callable[[BlocksClient], Awaitable[Any]]) -> str:
    with pytest.raises(CareMeshError) as caught:
        ask(node, work)
    return caught.value.code


def rows(stream: bytes, blocks: dict[CID, bytes]) -> list[Brought]:
    return [Brought(stream, cid, data) for cid, data in blocks.items()]


def link(served: BlockNode, **changes: Any) -> str:
    said = {"stream": ONE, "action": "get", "cids": [NAME], "until": served.mesh.clock() + 60} | changes
    return served.may.make(BlockLink(member=served.home.did, **said))


def test_a_member_brings_fetches_and_gives_up(served: BlockNode) -> None:
    assert ask(served.as_member("hospital"), lambda c: c.bring(rows(ONE, PAIR))) == [True, True]
    assert (
        ask(served.as_member("practice"), lambda c: c.bring(rows(ONE, PAIR) + rows(TWO, PAIR)))
        == [False] * 2 + [True] * 2
    )
    first = next(iter(PAIR))
    assert ask(served.as_member("practice"), lambda c: c.get(first)) == PAIR[first]
    assert ask(served.as_member("practice"), lambda c: c.streams_of(first)) == [ONE, TWO]
    assert code(served.as_member("practice"), lambda c: c.delete(ONE, first)) == "blobs.07"
    ask(served.as_member("hospital"), lambda c: c.delete(ONE, first))
    ask(served.as_member("practice"), lambda c: c.delete(TWO, first))
    assert code(served.as_member("hospital"), lambda c: c.get(first)) == "blobs.02"
    assert not ask(served.as_member("hospital"), lambda c: c.has(first))
    assert served.accounts.used_bytes(served.mesh.member("hospital").home.did) == 1


def test_a_block_whose_signed_digest_is_its_name_is_hashed_once(
    served: BlockNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(interface, "check_block", lambda *_: pytest.fail("hashed again"))
        ask(served.as_member("hospital"), lambda c: c.put(ONE, NAME, DATA))
    assert ask(served.as_member("hospital"), lambda c: c.get(NAME)) == DATA


@pytest.mark.promise("P6")
def test_wrong_bytes_and_too_many_are_refused(served: BlockNode) -> None:
    assert code(served.as_member("hospital"), lambda c: c.put(ONE, NAME, b"other")) == "blobs.01"
    assert (
        code(served.as_member("hospital"), lambda c: c.bring([*rows(ONE, PAIR), Brought(ONE, NAME, b"?")]))
        == "blobs.01"
    )
    assert served.store.names(None, 9) == []
    big = {codec.cid_of_raw(bytes([i]) * 1_000_000): bytes([i]) * 1_000_000 for i in range(11)}
    some = dict(list(big.items())[:6])
    ask(served.as_member("hospital"), lambda c: c.bring(rows(ONE, some)))
    assert code(served.as_member("hospital"), lambda c: c.bring(rows(TWO, some))) == "blobs.05"
    assert len(served.store.names(None, 99)) == 6
    too_long = bytes(2**20 + 1)
    assert code(served.as_member("hospital"), lambda c: c.put(ONE, codec.cid_of_raw(too_long), too_long)) == "api.11"
    assert code(
        served.as_member("hospital"), lambda c: c.bring([Brought(ONE, codec.cid_of_raw(too_long), too_long)])
    ) == "blobs.03"  # fmt: skip


@pytest.mark.promise("P6")
def test_a_damaged_block_is_answered_for_as_missing_and_looked_at(served: BlockNode) -> None:
    served.store.put(ONE, NAME, DATA)
    served.store._data[NAME] = b"damaged"  # type: ignore[attr-defined]
    assert code(served.as_member("hospital"), lambda c: c.get(NAME)) == "blobs.02"
    assert served.suspected == [NAME]
    status = httpx.get(f"{served.plain_url}/blocks/{NAME.encode()}", params={"link": link(served)}).status_code
    assert status == 404


@pytest.mark.promise("P2")
def test_nobody_else_fetches_or_brings_without_a_link(served: BlockNode) -> None:
    served.store.put(ONE, NAME, DATA)
    key = SigningKey.generate()
    assert code(served.as_key(key), lambda c: c.get(NAME)) == "api.05"
    assert code(served.as_key(key), lambda c: c.put(ONE, NAME, DATA)) == "api.05"
    for method, path in (
        ("GET", f"/blocks/{NAME.encode()}"),
        ("HEAD", f"/blocks/{NAME.encode()}"),
        ("GET", f"/ipfs/{NAME.encode()}?format=raw"),
        ("HEAD", f"/ipfs/{NAME.encode()}?format=car"),
    ):
        assert httpx.request(method, served.plain_url + path).status_code == 403
    for work in (
        lambda c: c.bring(rows(ONE, PAIR)),
        lambda c: c.delete(ONE, NAME),
        lambda c: c.streams_of(NAME),
        lambda c: c.names(None, 9),
    ):
        assert code(served.as_key(key), work) == "api.05"
    assert served.store.names(None, 9) == [NAME]


@pytest.mark.promise("P2")
def test_a_link_lets_its_holder_do_what_it_says(served: BlockNode) -> None:
    served.store.put(ONE, NAME, DATA)
    other = codec.cid_of_raw(b"other")
    served.store.put(ONE, other, b"other")
    mine = link(served)
    assert ask(served.as_key(), lambda c: c.get(NAME, mine)) == DATA
    address = f"{served.plain_url}/blocks/{NAME.encode()}"
    assert httpx.get(address, params={"link": mine}).content == DATA
    assert httpx.get(address, headers={"authorization": f"bearer {mine}"}).content == DATA
    head = httpx.head(address, params={"link": mine})
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(DATA)))
    assert code(served.as_key(), lambda c: c.get(other, mine)) == "blobs.12"
    assert code(served.as_key(), lambda c: c.put(ONE, NAME, DATA, mine)) == "blobs.12"
    assert code(served.as_key(), lambda c: c.get(NAME, mine[:-4] + "AAAA")) == "blobs.10"
    assert code(served.as_key(), lambda c: c.get(NAME, "not base64!")) == "blobs.10"
    assert code(served.as_key(), lambda c: c.get(NAME, link(served, until=served.mesh.clock()))) == "blobs.11"
    putting = link(served, action="put", cids=[codec.cid_of_raw(b"new")])
    assert code(served.as_key(), lambda c: c.put(TWO, codec.cid_of_raw(b"new"), b"new", putting)) == "api.05"
    ask(served.as_key(), lambda c: c.put(ONE, codec.cid_of_raw(b"new"), b"new", putting))
    ask(served.as_key(), lambda c: c.put(ONE, codec.cid_of_raw(b"new"), b"new", putting))
    assert served.store.streams_of(codec.cid_of_raw(b"new")) == [ONE]
    assert served.accounts.used_bytes(f"{served.home.did}#wallets") == 3


def test_the_owner_of_a_stream_gets_a_link_and_nobody_else(served: BlockNode, mesh: LocalMesh, tmp_path: Path) -> None:
    case = Case(mesh, tmp_path)
    mesh.member("hospital").source(mesh).import_bundle(json.dumps(case.condition(1)).encode())
    sealed = segment(case.stream)
    served.holder.put_many(served.home.did, {case.stream: every(sealed)})
    key = case.located.keys.signing(0)
    made = ask(served.as_key(key), lambda c: c.link(case.stream, "get", [sealed.descriptor_cid]))
    for cid, data in every(sealed).items():
        assert ask(served.as_key(), lambda c, cid=cid: c.get(cid, made)) == data  # type: ignore[misc]
    assert code(served.as_key(), lambda c: c.link(case.stream, "get", [NAME])) == "api.05"
    assert code(served.as_key(key), lambda c: c.link(ONE, "get", [NAME])) == "api.05"
    assert code(served.as_member("hospital"), lambda c: c.link(case.stream, "get", [NAME])) == "api.05"
    assert code(served.as_key(key), lambda c: c.link(case.stream, "get", [NAME], 3_601)) == "api.17"


def test_names_come_page_by_page(served: BlockNode) -> None:
    blocks = {codec.cid_of_raw(bytes([i])): bytes([i]) for i in range(5)}
    served.store.put_all(ONE, blocks)
    first = ask(served.as_member("hospital"), lambda c: c.names(None, 3))
    second = ask(served.as_member("hospital"), lambda c: c.names(first[-1], 3))
    assert (len(first), {*first, *second}) == (3, set(blocks))
    assert code(served.as_member("hospital"), lambda c: c.names(None, 1_001)) == "api.17"


@pytest.mark.parametrize(
    "path", ["bafy", "b" + "a" * 58, "..%2fsecrets", "BAFKREIGH2AKISCAILDCQABSYG3DFR6CHU3FGPREGIYMSCK7E7AQA4S52ZY"]
)
def test_what_is_no_name_is_named(served: BlockNode, path: str) -> None:
    answer = httpx.get(f"{served.plain_url}/blocks/{path}", params={"link": link(served)})
    assert answer.status_code in (400, 404)
    assert answer.json()["code"] in ("api.17", "codec.05", "api.14")


class Way:
    """A member that takes the first requests and refuses then, or lies."""

    def __init__(self, served: BlockNode, taken: int) -> None:
        self.served, self.left = served, taken
        self.deleted: list[CID] = []

    def put_blocks(self, some: list[Brought]) -> list[bool]:
        self.left -= 1
        if self.left < 0:
            raise StorageFailed(codec.BAD_CID)
        held: dict[bytes, dict[CID, bytes]] = {}
        for row in some:
            held.setdefault(row.stream, {})[row.cid] = row.data
        new = self.served.holder.put_many("did:caremesh:demo:x", held)
        return [(row.stream, row.cid) in new for row in some]

    def delete_block(self, stream: bytes, cid: CID) -> None:
        self.deleted.append(cid)
        self.served.holder.give_up("did:caremesh:demo:x", stream, cid)

    def get_block(self, _: CID) -> bytes:
        return b"something else"


@pytest.mark.promise("P5")
def test_when_one_of_several_requests_fails_the_others_are_taken_back(served: BlockNode) -> None:
    big = {codec.cid_of_raw(bytes([i]) * 900_000): bytes([i]) * 900_000 for i in range(10)}
    there = next(iter(big))
    served.holder.put_many("did:caremesh:demo:x", {ONE: {there: big[there]}})
    way = Way(served, 1)
    with pytest.raises(StorageFailed):
        PeerBlocks("did:caremesh:demo:y", lambda: way).put_many({ONE: big})  # type: ignore[arg-type, return-value]
    assert served.store.names(None, 99) == [there]
    assert sum(len(big[cid]) for cid in way.deleted) <= MAX_PUT_BYTES
    assert len(way.deleted) == 8


@pytest.mark.promise("P6")
def test_what_a_member_sends_is_checked_and_the_member_named(served: BlockNode) -> None:
    peer = PeerBlocks("did:caremesh:demo:y", lambda: Way(served, 0))  # type: ignore[arg-type, return-value]
    with pytest.raises(Tampered, match=rf"blobs\.01.*{NAME.encode()} at did:caremesh:demo:y"):
        peer.get(NAME)


def test_blocks_come_back_whole_from_a_large_put(served: BlockNode) -> None:
    big = {codec.cid_of_raw(bytes([i]) * 1_000_000): bytes([i]) * 1_000_000 for i in range(9)}
    with Portal() as portal:
        node = portal.node(lambda: served.as_member("hospital"))
        peer = PeerBlocks(served.home.did, lambda: RemoteBlocks(portal, BlocksClient(node)))
        peer.put_all(ONE, big)
        assert {cid: peer.get(cid) for cid in big} == big
        with pytest.raises(Refused, match=r"blobs\.05"):
            peer.put_all(TWO, big)
        assert {stream for cid in big for stream in peer.streams_of(cid)} == {ONE}


def test_an_answer_about_other_blocks_is_not_believed(served: BlockNode, monkeypatch: pytest.MonkeyPatch) -> None:
    async def bring(*_: Any) -> list[bool]:
        return [True]

    monkeypatch.setattr(BlocksClient, "bring", bring)
    with Portal() as portal:
        node = portal.node(lambda: served.as_member("hospital"))
        with pytest.raises(BadInput, match=r"client\.01"):
            RemoteBlocks(portal, BlocksClient(node)).put_blocks(rows(ONE, PAIR))
        monkeypatch.setattr("caremesh.client.blocks.MAX_BLOCK_BYTES", 3)
        served.store.put(ONE, NAME, DATA)
        with pytest.raises(Unavailable, match=r"client\.04"):
            RemoteBlocks(portal, BlocksClient(node)).get_block(NAME)
