"""``/blocks`` of a node, for those who wait in an event loop, and for those who block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.blobs.peers import Brought
from caremesh.client import wire
from caremesh.client.blocking import Portal
from caremesh.client.errors import TOO_MUCH
from caremesh.client.node import Node
from caremesh.client.signing import Identity
from caremesh.codec import CID, parse_cid
from caremesh.errors import BadInput, Unavailable
from caremesh.ledger.transactions import Signs
from caremesh.types import Seconds, StreamId

PREFIX: Final = "/blocks"
MAX_BLOCK_BYTES: Final = 2**20


class _Names(Struct, frozen=True):
    names: list[str]


class _Held(Struct, frozen=True):
    here: bool
    streams: list[Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}$")]]


class _Link(Struct, frozen=True):
    link: str
    until: Seconds


class BlocksClient:
    """The blocks at one node. All raise what ``Node.call`` raises besides."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def get(self, cid: CID, link: str = "") -> bytes:
        """A block, not yet checked against its name. Raises Unavailable blobs.02, client.04."""
        answer = await self._node.call("GET", f"{PREFIX}/{cid.encode()}", headers=_bearer(link))
        if len(answer.body) > MAX_BLOCK_BYTES:
            raise Unavailable(TOO_MUCH, cid.encode())
        return answer.body

    async def has(self, cid: CID) -> bool:
        """Whether a block is there; it is not read."""
        return (await self._held(cid)).here

    async def put(self, stream: StreamId, cid: CID, data: bytes, link: str = "") -> None:
        """Hold one block for a stream. Raises Tampered blobs.01, Refused blobs.05, blobs.12."""
        path, query = f"{PREFIX}/{cid.encode()}", {"stream": wire.text_of(stream)}
        await self._node.call("PUT", path, data, media=wire.RAW, query=query, headers=_bearer(link), safe=True)

    async def bring(self, rows: Sequence[Brought]) -> list[bool]:
        """Hold all of them, or none; of each whether it is new there. Raises as ``put``."""
        answer = await self._node.call("POST", PREFIX, codec.encode(list(rows)), safe=True)
        return codec.decode_as(answer.body, list[bool])

    async def delete(self, stream: StreamId, cid: CID) -> None:
        """Give up what this member brought. Raises Refused blobs.06, blobs.07."""
        query = {"stream": wire.text_of(stream)}
        await self._node.call("DELETE", f"{PREFIX}/{cid.encode()}", query=query, safe=True)

    async def streams_of(self, cid: CID) -> list[StreamId]:
        """For which streams a block is held."""
        return [wire.bytes_of(text) for text in (await self._held(cid)).streams]

    async def _held(self, cid: CID) -> _Held:
        answer = await self._node.call("GET", f"{PREFIX}/{cid.encode()}/streams")
        return wire.from_json(answer.body, _Held)

    async def names(self, after: CID | None, limit: int) -> list[CID]:
        """At most so many names of what is held, from a place on."""
        query: dict[str, str | int] = {"limit": limit} | ({} if after is None else {"after": after.encode()})
        answer = await self._node.call("GET", PREFIX, query=query)
        return [parse_cid(name) for name in wire.from_json(answer.body, _Names).names]

    async def link(
        self,
        stream: StreamId,
        action: Literal["get", "put"],
        cids: Sequence[CID],
        seconds: Seconds = 300,
        *,
        key: Signs | None = None,
    ) -> str:
        """A link for at most 64 blocks of a stream. ``key``: the stream's current one, where this client signs with
        another. Raises Refused api.05.
        """
        asked = {
            "stream": wire.text_of(stream),
            "action": action,
            "cids": [cid.encode() for cid in cids],
            "seconds": seconds,
        }
        answer = await self._node.call(
            "POST",
            f"{PREFIX}/links",
            wire.to_json(asked),
            media=wire.JSON,
            safe=True,
            identity=None if key is None else Identity.of_key(key),
        )
        return wire.from_json(answer.body, _Link).link


class RemoteBlocks:
    """The same for who blocks; ``blobs.peers.PeerBlocks`` is made of it."""

    def __init__(self, portal: Portal, client: BlocksClient) -> None:
        self._portal = portal
        self._client = client

    def get_block(self, cid: CID) -> bytes:
        """See ``PeerWay``, as for all of these."""
        return self._portal.call(lambda: self._client.get(cid))

    def has_block(self, cid: CID) -> bool:
        """See ``PeerWay``."""
        return self._portal.call(lambda: self._client.has(cid))

    def put_blocks(self, rows: Sequence[Brought]) -> list[bool]:
        """See ``PeerWay``. Raises BadInput client.01 when the answer is of other blocks."""
        new = self._portal.call(lambda: self._client.bring(rows))
        if len(new) != len(rows):
            raise BadInput(wire.NOT_UNDERSTOOD)
        return new

    def delete_block(self, stream: StreamId, cid: CID) -> None:
        """See ``PeerWay``."""
        self._portal.call(lambda: self._client.delete(stream, cid))

    def streams_of_block(self, cid: CID) -> list[StreamId]:
        """See ``PeerWay``."""
        return self._portal.call(lambda: self._client.streams_of(cid))

    def block_names(self, after: CID | None, limit: int) -> list[CID]:
        """See ``PeerWay``."""
        return self._portal.call(lambda: self._client.names(after, limit))


def _bearer(link: str) -> dict[str, str]:
    return {"authorization": f"Bearer {link}"} if link else {}
