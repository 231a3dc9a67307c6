"""``/ledger/v1`` of a node. What it says of the state is believed when it is proven under a header that enough known
validators have signed; the node itself is believed nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Final, TypeVar

from anyio import from_thread, to_thread
from msgspec.structs import replace

from caremesh import codec
from caremesh.client import errors, events, wire
from caremesh.client.node import Node
from caremesh.client.wire import NodeStatus
from caremesh.codec import CID
from caremesh.consensus.interface import Committed, Cursor
from caremesh.errors import BadInput, CareMeshError, Refused, Tampered
from caremesh.ledger.application import Event, Result
from caremesh.ledger.blocks import Block, BlockHeader
from caremesh.ledger.inclusion import NOT_IT, Entries, Inclusion, check_block, check_entries, check_inclusion
from caremesh.ledger.light import OTHER_HEIGHT, Answer, Crossing, LightBlock, LightClient, check_answer
from caremesh.types import Height, Seconds

T = TypeVar("T")
PREFIX: Final = "/ledger/v1"
MAX_AGE_S: Final[Seconds] = 60
"""How old the newest header may be before a node is held to be behind."""
_KEPT_HEADERS: Final = 64
_PAUSE_S: Final = 0.5
_LONGEST: Final = 20
"""No height has more digits."""


class LedgerClient:
    """The ledger at one node. Of one event loop."""

    def __init__(self, node: Node, light: LightClient | None = None, max_age_s: Seconds = MAX_AGE_S) -> None:
        """``light``: what is trusted already; without it every question must be told not to verify.

        Headers that are older than the newest verified one are verified from what was trusted at first.
        """
        self._node = node
        self._light = light
        self._first = None if light is None else light.copy()
        self._max_age_s = max_age_s
        self._headers: OrderedDict[Height, BlockHeader] = OrderedDict()
        self._verifying = asyncio.Lock()
        self.told: Height = 0
        """The node's newest height, by its own word, when it answered with blocks last."""

    async def status(self, *, verify: bool = True) -> NodeStatus:
        """Where the ledger stands: height, time and root in the newest signed header, which is not older than
        ``max_age_s``; ``oldest`` and ``running`` are the node's word. Unverified, all of it is.

        Raises as ``query``. All of these methods raise what ``Node.call`` raises.
        """
        answer = await self._node.call("GET", f"{PREFIX}/status")
        said = wire.from_json(answer.body, NodeStatus)
        if not verify:
            return said
        header = await self.newest()
        root = header.app_hash.hex()
        same = said.height != header.height or said.time == header.time
        proven = said.height != header.proves or said.app_hash == root
        if said.chain != header.chain or said.height > header.height or not (same and proven):
            raise Tampered(OTHER_HEIGHT, f"height {said.height}")
        return replace(said, height=header.height, time=header.time, app_hash=root)

    async def submit(self, raw: bytes) -> Committed:
        """Put a signed transaction into a block. May be tried again: the same one is counted once.

        Raises what ``Engine.submit`` raises.
        """
        answer = await self._node.call("POST", f"{PREFIX}/transactions", raw, safe=True)
        return codec.decode_as(answer.body, Committed)

    async def submit_many(self, raws: Sequence[bytes]) -> list[Committed | CareMeshError]:
        """Several at once, in any order; what became of each, or why it was not taken."""
        return list(await asyncio.gather(*(self._submit_one(raw) for raw in raws)))

    async def outcome(self, tx: CID, *, verify: bool = True) -> Committed | None:
        """What became of a transaction in a kept block; None when the node knows of none, which is its word alone.

        Verified, it is height, code and events, under the newest header; the sentence of a refusal, which no header
        holds, is left out. Raises as ``query``, and Tampered light.16, light.18, history.01.
        """
        said = await self._told(f"{PREFIX}/transactions/{tx.encode()}", Committed)
        if said is None or not verify:
            return said
        header = await self.newest()
        if header.proves < said.height:
            raise Refused(errors.BEHIND, f"height {header.height}")
        path = f"{PREFIX}/transactions/{tx.encode()}/proof"
        found = await self._told(path, Inclusion, height=header.proves)
        if found is None:
            raise Tampered(NOT_IT)
        check_inclusion(found, bytes(tx), await self._own(found.height), header)
        if (said.tx, said.height, said.code, said.events) != (bytes(tx), found.height, found.code, found.events):
            raise Tampered(NOT_IT)
        return Committed(said.tx, found.height, Result(code=found.code), found.events)

    async def light_block(self, height: Height | None = None) -> LightBlock:
        """A signed header, unverified. Raises BadInput ledger.11."""
        answer = await self._node.call("GET", f"{PREFIX}/light-blocks", query=_given(height=height))
        return codec.decode_as(answer.body, LightBlock)

    async def crossing(self) -> Crossing | None:
        """What leads to the ledger's second chain, unverified; None where the node knows of none."""
        try:
            answer = await self._node.call("GET", f"{PREFIX}/crossing")
        except BadInput:
            return None
        return codec.decode_as(answer.body, Crossing)

    async def query(self, key: bytes, height: Height | None = None, *, verify: bool = True) -> bytes | None:
        """A key's value, None when it is absent. ``height``: the newest by default, and then not older than
        ``max_age_s``.

        Raises Tampered proof.01, light.NN, Refused light.NN, client.06; BadInput ledger.11.
        """
        if not verify:
            return (await self.answer(key, height)).proof.value
        if self._light is None:
            raise Refused(errors.NOTHING_TRUSTED)
        header = await (self.newest() if height is None else self.header(height))
        return check_answer(header, await self.answer(key, header.proves))

    async def newest(self) -> BlockHeader:
        """The node's newest header, verified, not older than ``max_age_s``. Raises as ``query``."""
        header = await self._verified(await self.light_block())
        if self._node.clock() - header.time > self._max_age_s:
            raise Refused(errors.BEHIND, f"height {header.height}")
        return header

    async def header(self, height: Height) -> BlockHeader:
        """A verified header under which the state of ``height`` is proven: with CometBFT that of the next block.

        Raises as ``query``.
        """
        known = self._headers.get(height)
        return await self._verified(await self._proving(height), past=True) if known is None else known

    async def _own(self, height: Height) -> BlockHeader:
        """The verified header of a block itself. Raises as ``query``."""
        proving = await self.header(height)
        if proving.height == height:
            return proving
        known = self._headers.get(height - 1)
        return await self._verified(await self._light_block_at(height), past=True) if known is None else known

    async def _verified(self, target: LightBlock, *, past: bool = False) -> BlockHeader:
        if self._light is None or self._first is None:
            raise Refused(errors.NOTHING_TRUSTED)
        light, now = self._light, self._node.clock()
        if past and target.signed.content().height < light.height:
            light = self._first.copy()

        def fetch(middle: Height) -> LightBlock:
            return from_thread.run(self.light_block, middle)

        def crossing() -> Crossing | None:
            return from_thread.run(self.crossing)

        async with self._verifying:
            proves = target.signed.content().proves
            known = self._headers.get(proves)
            if known is not None and known.hash() == target.signed.content().hash():
                return known
            header = await to_thread.run_sync(lambda: light.advance(target, fetch, now, crossing=crossing))
            self._headers[header.proves] = header
            while len(self._headers) > _KEPT_HEADERS:
                self._headers.popitem(last=False)
        return header

    async def blocks(self, start: Height, wait_s: int = 0, *, verify: bool = True) -> list[Block]:
        """Some blocks from ``start`` on, as soon as there is one; none after ``wait_s``.

        Verified, each is that of its header, and those are left out whose state no header proves yet. Who executes them
        has no need of that. Raises as ``query``, and Tampered light.17.
        """
        found = await self._blocks(start, wait_s)
        if not verify or not found:
            return found
        newest = await self.newest()
        proven: list[Block] = []
        for height, block in enumerate(found, start):
            if height > newest.proves:
                break
            check_block(block, await self._own(height), await self.header(height))
            proven.append(block)
        return proven

    async def _blocks(self, start: Height, wait_s: int) -> list[Block]:
        answer = await self._node.call(
            "GET", f"{PREFIX}/blocks", query={"start": start, "wait_s": wait_s}, answer_s=wait_s + 15.0
        )
        told = answer.headers.get(wire.HEIGHT, "")
        self.told = int(told) if told.isascii() and told.isdigit() and len(told) < _LONGEST else 0
        return [codec.decode_as(block, Block) for block in wire.each_of(answer.body)]

    async def cometbft(self, call: str, query: Mapping[str, str]) -> bytes:
        """What the node's CometBFT answers about headers, unread: see ``consensus.cometbft.joining.Fetch``."""
        return (await self._node.call("GET", f"{PREFIX}/cometbft/{call}", query=dict(query))).body

    async def events(self, cursor: str = "", *, verify: bool = True) -> AsyncIterator[tuple[str, Event]]:
        """(cursor, event) of each event after a cursor, for good: it resumes where it was when the way breaks.

        Verified, each stands in the history under the node's newest header, and none is left out after the first; what
        is the oldest that is still kept, where no cursor says from where on, is the node's word.
        Raises as ``query``, and Tampered light.16, history.01; BadInput consensus.05, ledger.11.
        """
        place = Cursor.read(cursor) if cursor else None
        while True:
            try:
                async with aclosing(self._proven(place) if verify else self._said(place)) as rows:
                    async for at, event in rows:
                        place = at
                        if event is not None:
                            yield str(at), event
            except CareMeshError as error:
                if error.code not in (errors.UNREACHABLE.code, errors.CUT_SHORT.code, "api.22"):
                    raise
            await asyncio.sleep(_PAUSE_S)

    async def _said(self, place: Cursor | None) -> AsyncGenerator[tuple[Cursor, Event | None], None]:
        """The node's stream of events, unverified; without an event when it has a new block, and now and then."""
        headers = {"last-event-id": str(place)} if place else None
        async with aclosing(self._node.chunks(f"{PREFIX}/events", headers=headers)) as chunks:
            async for cursor, event in events.read(chunks):
                yield Cursor.read(cursor), event

    async def _proven(self, place: Cursor | None) -> AsyncGenerator[tuple[Cursor, Event | None], None]:
        """What the history has told since a place; again whenever the node's stream says that there are blocks."""
        rung: Height = 0
        header = await self.newest()
        async with aclosing(self._said(Cursor.after(header.height))) as bells:
            async for bell, said in bells:
                if said is not None and bell.height == rung:
                    continue
                rung, header = bell.height, await self.newest()
                while place is None or place.height <= header.proves:
                    rows, place = await self._entered(place, header)
                    for row in rows:
                        yield row
                    yield place, None

    async def _entered(self, place: Cursor | None, header: BlockHeader) -> tuple[list[tuple[Cursor, Event]], Cursor]:
        """Some of what the history under a header has told since a place, and where that ends."""
        start = 0 if place is None else place.height
        answer = await self._node.call("GET", f"{PREFIX}/entries", query=_given(start=start, height=header.proves))
        found = codec.decode_as(answer.body, Entries)
        size, since = check_entries(found, header), place or Cursor(0, found.start, 0)
        goes_on = start <= found.through < header.proves
        is_all = found.through == header.proves and found.end == size
        if not (found.start <= since.leaf <= found.end and (goes_on or is_all)):
            raise Tampered(NOT_IT, f"entries {found.start} to {found.end}")
        return list(since.following(found.start, found.told)), Cursor(found.through + 1, found.end, 0)

    async def answer(self, key: bytes, height: Height | None) -> Answer:
        path = f"{PREFIX}/state/{wire.text_of(key)}"
        got = await self._node.call("GET", path, query=_given(height=height))
        answer = codec.decode_as(got.body, Answer)
        if answer.key != key or (height is not None and answer.height != height):
            raise Tampered(OTHER_HEIGHT, f"height {answer.height}")
        return answer

    async def _told(self, path: str, kind: type[T], **query: int) -> T | None:
        try:
            answer = await self._node.call("GET", path, query=_given(**query))
        except BadInput as error:
            if error.code == "api.18":
                return None
            raise
        return codec.decode_as(answer.body, kind)

    async def _proving(self, height: Height) -> LightBlock:
        """The light block whose header holds the root of the state of a height."""
        target = await self._light_block_at(height)
        if target.signed.content().proves == height:
            return target
        return await self._light_block_at(height + 1)

    async def _light_block_at(self, height: Height) -> LightBlock:
        found = await self.light_block(height)
        if found.signed.content().height != height:
            raise Tampered(OTHER_HEIGHT, f"height {height}")
        return found

    async def _submit_one(self, raw: bytes) -> Committed | CareMeshError:
        try:
            return await self.submit(raw)
        except CareMeshError as error:
            return error


def _given(**values: int | None) -> dict[str, str | int]:
    return {name: value for name, value in values.items() if value is not None}
