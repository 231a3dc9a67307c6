"""Blocks by links, as one act of a wallet asks one member for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest

from caremesh import codec
from caremesh.blobs.errors import BAD_LINK, LINK_EXPIRED
from caremesh.client.errors import NOT_THE_NODE, UNREACHABLE
from caremesh.codec import CID
from caremesh.crypto.keys import SigningKey
from caremesh.errors import CareMeshError, ErrorCode, Refused, Unavailable
from caremesh.wallet.linked import PER_LINK, LinkedBlocks

T = TypeVar("T")
STREAM, KEY = bytes(32), SigningKey.generate()
DATA = {codec.cid_of_raw(bytes([number])): bytes([number]) for number in range(PER_LINK + 1)}


class Client:
    """A node that keeps a list of what it is asked."""

    def __init__(self, *refusals: CareMeshError) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.refusals = list(refusals)

    async def link(self, stream: bytes, action: str, cids: Sequence[CID], *, key: SigningKey) -> str:
        assert (stream, key) == (STREAM, KEY)
        self.asked.append((f"link to {action}", list(cids)))
        return f"link {len(self.asked)}"

    async def get(self, cid: CID, link: str) -> bytes:
        self.asked.append((link, cid))
        if self.refusals:
            raise self.refusals.pop(0)
        return DATA[cid]

    async def put(self, stream: bytes, cid: CID, data: bytes, link: str) -> None:
        assert (stream, data) == (STREAM, DATA[cid])
        self.asked.append((link, cid))

    def __call__(self, work: Callable[[Any], Awaitable[T]]) -> T:
        async def run() -> T:
            return await work(self)

        return asyncio.run(run())


def blocks(client: Client) -> LinkedBlocks:
    return LinkedBlocks(client, STREAM, KEY, list(DATA))


def test_one_link_for_many_blocks_and_each_action() -> None:
    client, cids = Client(), list(DATA)
    linked = blocks(client)
    assert [linked.get(cid) for cid in cids] == list(DATA.values())
    assert client.asked[0] == ("link to get", cids[:PER_LINK])
    assert client.asked[-2:] == [("link to get", cids[PER_LINK:]), (f"link {PER_LINK + 2}", cids[-1])]
    client.asked.clear()
    linked.put_many({STREAM: {cids[0]: DATA[cids[0]], cids[1]: DATA[cids[1]]}})
    assert client.asked == [("link to put", cids[:PER_LINK]), ("link 1", cids[0]), ("link 1", cids[1])]


def test_a_block_that_was_not_named_at_first_gets_a_link_of_its_own() -> None:
    client, cid = Client(), next(iter(DATA))
    assert LinkedBlocks(client, STREAM, KEY, []).get(cid) == DATA[cid]
    assert client.asked[0] == ("link to get", [cid])


def test_an_expired_link_is_replaced_once() -> None:
    client, cid = Client(Refused(LINK_EXPIRED)), next(iter(DATA))
    assert blocks(client).get(cid) == DATA[cid]
    assert [what for what, _ in client.asked] == ["link to get", "link 1", "link to get", "link 3"]
    client = Client(Refused(LINK_EXPIRED), Refused(LINK_EXPIRED))
    with pytest.raises(Refused, match=r"blobs\.11"):
        blocks(client).get(cid)
    client = Client(Refused(BAD_LINK))
    with pytest.raises(Refused, match=r"blobs\.10"):
        blocks(client).get(cid)
    assert len(client.asked) == 2


def test_a_member_that_gives_no_link_is_not_asked_for_one_again() -> None:
    class Unwilling(Client):
        async def link(self, *_: Any, **__: Any) -> str:
            self.asked.append(("link", None))
            raise Refused(BAD_LINK)

    client = Unwilling()
    linked = blocks(client)
    for cid in DATA:
        with pytest.raises(Refused, match=r"blobs\.10"):
            linked.get(cid)
    assert len(client.asked) == 1


@pytest.mark.parametrize(("met", "asked"), [(UNREACHABLE, 2), (NOT_THE_NODE, 3)])
@pytest.mark.promise("P10")
def test_a_member_that_did_not_answer_is_not_waited_for_again(met: ErrorCode, asked: int) -> None:
    client, (first, second, *_) = Client(Unavailable(met), Unavailable(met)), DATA
    linked = blocks(client)
    for cid in (first, second):
        with pytest.raises(Unavailable, match=met.code):
            linked.get(cid)
    assert len(client.asked) == asked
