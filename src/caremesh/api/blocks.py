"""``/blocks``: members bring, fetch and give up blocks; wallets do by links that a member has made.

A block that is damaged here is answered for as one that is not here, and looked at by the check in the background: who
asks goes to the next holder. Nothing is fetched from others to answer a request; they would ask back in circles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal, Protocol

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.api.capabilities import Capabilities
from caremesh.api.errors import BAD_QUERY, NOT_ALLOWED
from caremesh.api.routes import ANYONE, KIB, MEMBERS, MIB, Answer, Call, Kind, Route, json_answer
from caremesh.api.threads import Run, in_threads
from caremesh.blobs.accounts import Place
from caremesh.blobs.holding import wallets
from caremesh.blobs.interface import NOT_HELD, BlockStore, CheckedBlocks
from caremesh.blobs.links import LIFE_S, MAX_LIFE_S, BlockLink
from caremesh.blobs.peers import MAX_PUT_BYTES, Brought
from caremesh.client import wire
from caremesh.codec import CID, parse_cid
from caremesh.contracts.streams import queries as streams
from caremesh.errors import BadInput, Refused, Tampered, Unavailable
from caremesh.ledger.state import Reader
from caremesh.types import Did, Seconds, StreamId

PREFIX: Final = "/blocks"
MAX_NAMES: Final = 1_000
OWNERS: Final = frozenset[Kind]({"key"})
_STREAM: Final = r"^[A-Za-z0-9_-]{43}$"
_CID: Final = r"^b[a-z2-7]{58}$"


class Holder(Protocol):
    """A member's blocks. The methods are those of ``blobs.holding.Holder``; they may block."""

    @property
    def store(self) -> BlockStore:
        """All of them."""
        ...

    def put_many(self, member: Did, held: Mapping[StreamId, Mapping[CID, bytes]]) -> list[Place]:
        """See ``Holder``."""
        ...

    def give_up(self, member: Did, stream: StreamId, cid: CID) -> None:
        """See ``Holder``."""
        ...


class AskedBlock(Struct, frozen=True, kw_only=True):
    """``cid``: base32; ``stream``: base64url, where one is meant."""

    cid: Annotated[str, Meta(pattern=_CID)]
    stream: Annotated[str, Meta(pattern=_STREAM)] | None = None


class AskedNames(Struct, frozen=True, kw_only=True):
    """``after``: the last name of the page before."""

    after: Annotated[str, Meta(pattern=_CID)] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_NAMES)] = 100


class Names(Struct, frozen=True, kw_only=True):
    """A page of names. ``next``: what to ask for after it; absent on the last one."""

    names: list[str]
    next: str | None = None


class Held(Struct, frozen=True, kw_only=True):
    """For which streams a block is held (base64url), and whether its bytes are here; they are not read."""

    streams: list[str]
    here: bool


class AskLink(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a link is wanted for: by the stream's current key. ``seconds``: how long it holds."""

    stream: Annotated[str, Meta(pattern=_STREAM)]
    action: Literal["get", "put"]
    cids: Annotated[list[Annotated[str, Meta(pattern=_CID)]], Meta(min_length=1, max_length=64)]
    seconds: Annotated[int, Meta(ge=1, le=MAX_LIFE_S)] = LIFE_S


class Link(Struct, frozen=True, kw_only=True):
    """A link, for the parameter ``link`` or for ``Authorization: Bearer``. ``until``: seconds UTC."""

    link: str
    until: Seconds


class Ports(Struct, frozen=True, kw_only=True):
    """What the routes stand on. ``suspect``: told of a block that is not as it should be."""

    holder: Holder
    may: Capabilities
    reader: Callable[[], Reader]
    clock: Callable[[], Seconds]
    suspect: Callable[[CID], None]


def routes(ports: Ports, run: Run | None = None) -> list[Route]:
    """Of a member that holds blocks."""
    made = _Handlers(ports, run or in_threads())
    one = f"{PREFIX}/{{cid}}"
    return [
        Route(
            name="blocks.names",
            method="GET",
            path=PREFIX,
            summary="The names of what is held here, page by page",
            handler=made.names,
            asked=AskedNames,
            callers=MEMBERS,
            answer_media=wire.JSON,
            answer=Names,
        ),
        Route(
            name="blocks.bring",
            method="POST",
            path=PREFIX,
            summary="Hold blocks for streams, durably, all or none; the same ones again change nothing",
            handler=made.bring,
            callers=MEMBERS,
            media=wire.CBOR,
            body="List of [stream, CID, block] (`blobs/peers.py`)",
            answer="List of booleans: which were not held before",
            max_bytes=MAX_PUT_BYTES + MIB,
        ),
        Route(
            name="blocks.link",
            method="POST",
            path=f"{PREFIX}/links",
            summary="A link by which blocks of one stream may be fetched or brought, for the stream's current key",
            handler=made.link,
            callers=OWNERS,
            media=wire.JSON,
            body=AskLink,
            answer_media=wire.JSON,
            answer=Link,
            max_bytes=16 * KIB,
        ),
        Route(
            name="blocks.put",
            method="PUT",
            path=one,
            summary="Hold one block for a stream, durably",
            handler=made.put,
            asked=AskedBlock,
            callers=ANYONE,
            media=wire.RAW,
            body="The block",
            status=204,
            max_bytes=MIB,
        ),
        Route(
            name="blocks.get",
            method="GET",
            path=one,
            summary="One block",
            handler=made.get,
            asked=AskedBlock,
            callers=ANYONE,
            answer_media=wire.RAW,
            answer="The block",
        ),
        Route(
            name="blocks.has",
            method="HEAD",
            path=one,
            summary="Whether a block is here",
            handler=made.has,
            asked=AskedBlock,
            callers=ANYONE,
            answer_media=wire.RAW,
        ),
        Route(
            name="blocks.delete",
            method="DELETE",
            path=one,
            summary="Give up a block that the caller brought, unless the ledger names it",
            handler=made.delete,
            asked=AskedBlock,
            callers=MEMBERS,
            status=204,
        ),
        Route(
            name="blocks.streams",
            method="GET",
            path=f"{one}/streams",
            summary="For which streams a block is held here",
            handler=made.streams,
            asked=AskedBlock,
            callers=MEMBERS,
            answer_media=wire.JSON,
            answer=Held,
        ),
    ]


class _Handlers:
    def __init__(self, ports: Ports, run: Run) -> None:
        self._ports = ports
        self._holder = ports.holder
        self._run = run

    async def names(self, call: Call) -> Answer:
        asked = call.asked(AskedNames)
        after = None if asked.after is None else parse_cid(asked.after)
        found = await self._run(lambda: self._holder.store.names(after, asked.limit))
        names = [cid.encode() for cid in found]
        return json_answer(Names(names=names, next=names[-1] if len(names) == asked.limit else None))

    async def bring(self, call: Call) -> Answer:
        rows = codec.decode_as(call.body, list[Brought])
        held: dict[StreamId, dict[CID, bytes]] = {}
        for row in rows:
            held.setdefault(row.stream, {})[row.cid] = row.data
        added = set(await self._run(lambda: self._holder.put_many(call.caller.did, held)))
        return Answer(codec.encode([(row.stream, row.cid) in added for row in rows]))

    async def link(self, call: Call) -> Answer:
        asked, ports = call.json(AskLink), self._ports
        stream = wire.bytes_of(asked.stream)
        known = await self._run(lambda: streams.stream(ports.reader(), stream))
        if known is None or known.key != call.caller.key:
            raise Refused(NOT_ALLOWED, "blocks.link")
        until = ports.clock() + asked.seconds
        cids = [parse_cid(cid) for cid in asked.cids]
        link = BlockLink(member=ports.may.did, stream=stream, action=asked.action, cids=cids, until=until)
        return json_answer(Link(link=ports.may.make(link), until=until), 201)

    async def put(self, call: Call) -> Answer:
        cid, stream = self._named(call)
        if stream is None:
            raise BadInput(BAD_QUERY, "stream")
        await self._run(lambda: self._put(call, stream, cid))
        return Answer(status=204, media="")

    def _put(self, call: Call, stream: StreamId, cid: CID) -> None:
        brought_by = call.caller.did
        if call.caller.kind != "member":
            link = self._ports.may.check(self._ports.may.of(call), "put", cid)
            if link.stream != stream:
                raise Refused(NOT_ALLOWED, "stream")
            brought_by = wallets(self._ports.may.did)
        self._holder.put_many(brought_by, {stream: CheckedBlocks.by_hash(cid, call.body, call.sha256)})

    async def get(self, call: Call) -> Answer:
        cid, _ = self._named(call)
        return Answer(await self._run(lambda: self._get(call, cid)), wire.RAW)

    def _get(self, call: Call, cid: CID) -> bytes:
        self._ports.may.check_get(call, self._ports.may.of(call), cid)
        return read(self._ports, cid)

    async def has(self, call: Call) -> Answer:
        cid, _ = self._named(call)
        data = await self._run(lambda: self._get(call, cid))
        return Answer(media=wire.RAW, headers={"content-length": str(len(data))})

    async def delete(self, call: Call) -> Answer:
        cid, stream = self._named(call)
        if stream is None:
            raise BadInput(BAD_QUERY, "stream")
        await self._run(lambda: self._holder.give_up(call.caller.did, stream, cid))
        return Answer(status=204, media="")

    async def streams(self, call: Call) -> Answer:
        cid, _ = self._named(call)
        store = self._holder.store
        found, here = await self._run(lambda: (store.streams_of(cid), store.has(cid)))
        return json_answer(Held(streams=[wire.text_of(stream) for stream in found], here=here))

    def _named(self, call: Call) -> tuple[CID, StreamId | None]:
        asked = call.asked(AskedBlock)
        return parse_cid(asked.cid), None if asked.stream is None else wire.bytes_of(asked.stream)


def read(ports: Ports, cid: CID) -> bytes:
    """A block of this member's own. One that is damaged is not here: raises Unavailable blobs.02."""
    try:
        return ports.holder.store.get(cid)
    except (Tampered, Unavailable) as error:
        ports.suspect(cid)
        raise Unavailable(NOT_HELD, cid.encode()) from error
