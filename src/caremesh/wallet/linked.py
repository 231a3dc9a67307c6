"""Blocks at one member for who owns their stream: by links that the member gives for a request of the stream's key.

A link is for the very blocks that are meant; it lasts for some minutes, and a member that says that one has expired is
asked for another, once. A member that did not answer, or gave no link, is not asked again within the same act.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from caremesh.blobs.errors import LINK_EXPIRED
from caremesh.blobs.links import Action
from caremesh.client.blocks import BlocksClient
from caremesh.client.errors import UNREACHABLE
from caremesh.codec import CID
from caremesh.errors import CareMeshError, Refused, Unavailable
from caremesh.ledger.transactions import Signs
from caremesh.types import StreamId

T = TypeVar("T")

PER_LINK: Final = 64


class Ask(Protocol):
    """The way to one member's node. Raises what it names, Unavailable client.NN."""

    def __call__(self, work: Callable[[BlocksClient], Awaitable[T]], /) -> T:
        """What comes of the work."""


class LinkedBlocks:
    """Certain blocks of one stream at one member. See ``blobs.interface.Way``."""

    def __init__(self, ask: Ask, stream: StreamId, key: Signs, cids: Sequence[CID]) -> None:
        """``key``: the stream's current one; ``cids``: all that this act will ask for."""
        self._ask = ask
        self._stream = stream
        self._key = key
        self._pieces = [list(cids[start : start + PER_LINK]) for start in range(0, len(cids), PER_LINK)]
        self._links: dict[tuple[Action, CID], str] = {}
        self._gone: CareMeshError | None = None

    def put_many(self, held: Mapping[bytes, Mapping[CID, bytes]]) -> None:
        """See ``BlockStore``, for this stream. What was brought before an error is collected: nothing names it."""
        for cid, data in held[self._stream].items():

            async def put(client: BlocksClient, link: str, cid: CID = cid, data: bytes = data) -> None:
                await client.put(self._stream, cid, data, link)

            self._linked("put", cid, put)

    def get(self, cid: CID) -> bytes:
        """See ``BlockStore``; not yet checked."""
        return self._linked("get", cid, lambda client, link: client.get(cid, link))

    def _linked(self, action: Action, cid: CID, work: Callable[[BlocksClient, str], Awaitable[T]]) -> T:
        try:
            link = self._link(action, cid)
            return self._once(lambda client: work(client, link))
        except Refused as error:
            if error.code != LINK_EXPIRED.code:
                raise
        self._links.clear()
        anew = self._link(action, cid)
        return self._once(lambda client: work(client, anew))

    def _link(self, action: Action, cid: CID) -> str:
        if (action, cid) not in self._links:
            piece = next((piece for piece in self._pieces if cid in piece), [cid])
            try:
                link = self._once(lambda client: client.link(self._stream, action, piece, key=self._key))
            except CareMeshError as error:
                self._gone = error
                raise
            self._links.update(dict.fromkeys(((action, each) for each in piece), link))
        return self._links[action, cid]

    def _once(self, work: Callable[[BlocksClient], Awaitable[T]]) -> T:
        if self._gone is not None:
            raise self._gone
        try:
            return self._ask(work)
        except Unavailable as error:
            if error.code == UNREACHABLE.code:
                self._gone = error
            raise
