"""``/ledger/v1``: submit, look up, prove, follow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Annotated, Any, Final, Literal, Protocol, TypeAlias

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.api import errors
from caremesh.api.heights import Heights, Waits
from caremesh.api.routes import MEMBERS, MIB, Answer, Call, Route, json_answer
from caremesh.api.threads import Run, in_threads
from caremesh.client import events, wire
from caremesh.client.wire import NodeStatus
from caremesh.consensus.interface import Committed, Cursor, Status
from caremesh.errors import BadInput, Refused
from caremesh.ledger import light
from caremesh.ledger.admission import EXPIRED
from caremesh.ledger.application import Event
from caremesh.ledger.blocks import Block
from caremesh.ledger.inclusion import Entries, Inclusion
from caremesh.ledger.light import Crossing
from caremesh.ledger.replays import REPLAYED
from caremesh.ledger.transactions import tx_id
from caremesh.types import Did, Height

PREFIX: Final = "/ledger/v1"
MAYBE_ALREADY: Final = frozenset({EXPIRED.code, REPLAYED.code})
"""The transaction may be in a block: then the answer is what became of it."""
MAX_BLOCKS: Final = 256
MAX_BLOCKS_BYTES: Final = 8 * MIB
MAX_WAIT_S: Final = 60
BEAT_S: Final = 15.0
"""Between two signs of life of a stream in which nothing happens."""
_EVENTS_AT_ONCE: Final = 500
Cometbft: TypeAlias = Callable[[str, Mapping[str, str]], bytes]
"""(path, parameters) → what CometBFT's RPC answers; see ``consensus.cometbft.joining.Fetch``."""
_BYTES: Final = r"^[A-Za-z0-9_-]*$"


class Ledger(Waits, Protocol):
    """The ledger as a node offers it: answers from its own copy, submissions to whoever orders them.

    The methods are those of ``consensus.interface.Engine``.
    """

    def submit(self, raw: bytes) -> Committed:
        """See ``Engine``."""
        ...

    def outcome(self, tx_id: bytes) -> Committed | None:
        """See ``Engine``."""
        ...

    def inclusion(self, tx_id: bytes, height: Height | None = None) -> Inclusion | None:
        """See ``Engine``."""
        ...

    def entries(self, start: Height, height: Height | None = None) -> Entries:
        """See ``Engine``."""
        ...

    def query(self, key: bytes, height: Height | None = None) -> light.Answer:
        """See ``Engine``."""
        ...

    def light_block(self, height: Height | None = None) -> light.LightBlock:
        """See ``Engine``."""
        ...

    def blocks(self, start: Height) -> Iterator[Block]:
        """See ``Engine``."""
        ...

    def subscribe(self, cursor: str = "") -> Iterator[tuple[str, Event]]:
        """See ``Engine``."""
        ...

    def status(self) -> Status:
        """See ``Engine``."""
        ...


class AskedTransaction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``id``: the CID of the transaction, base32."""

    id: Annotated[str, Meta(max_length=80)]


class AskedInclusion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``id``: as of ``AskedTransaction``; ``height``: whose state proves it, the newest by default."""

    id: Annotated[str, Meta(max_length=80)]
    height: Height | None = None


class AskedState(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``key``: of the state, base64url; ``height``: one that is still kept, the newest by default."""

    key: Annotated[str, Meta(min_length=2, max_length=8_192, pattern=_BYTES)]
    height: Height | None = None


class AskedHeader(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``height``: the newest by default."""

    height: Height | None = None


class AskedCometbft(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``call``: of CometBFT's RPC; ``height``: the newest by default; ``page`` of ``per_page`` validators."""

    call: Literal["commit", "consensus_params", "status", "validators"]
    height: Annotated[int, Meta(ge=1, lt=2**53)] | None = None
    page: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    per_page: Annotated[int, Meta(ge=1, le=100)] | None = None


class AskedBlocks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``start``: the first height; ``wait_s``: how long to wait for it, ``limit``: how many at most."""

    start: Annotated[int, Meta(ge=1, lt=2**53)]
    wait_s: Annotated[int, Meta(ge=0, le=MAX_WAIT_S)] = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_BLOCKS)] = MAX_BLOCKS


class AskedEntries(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``start``: the first block (0: the oldest kept); ``height``: whose state proves them, the newest by default."""

    start: Height = 0
    height: Height | None = None


class AskedEvents(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``cursor``: the id of the last event that was read (as ``Last-Event-ID`` would say); from the oldest without."""

    cursor: Annotated[str, Meta(max_length=40)] = ""


def routes(
    ledger: Ledger,
    member: Did,
    run: Run | None = None,
    cometbft: Cometbft | None = None,
    crossing: Crossing | None = None,
) -> list[Route]:
    """``member``: whose node this is. ``cometbft``: what its CometBFT answers about headers, where it has one.

    ``crossing``: where another chain followed the first.
    """
    made = _Handlers(ledger, member, run or in_threads(), cometbft, crossing)
    return [
        Route(
            name="ledger.status",
            method="GET",
            path=f"{PREFIX}/status",
            summary="Where this member's copy of the ledger stands",
            handler=made.status,
            answer_media=wire.JSON,
            answer=NodeStatus,
        ),
        Route(
            name="ledger.submit",
            method="POST",
            path=f"{PREFIX}/transactions",
            summary="Put a signed transaction into a block; the same one again gets the same answer",
            handler=made.submit,
            media=wire.CBOR,
            body="Signed transaction (`ledger/transactions.py`)",
            answer="Committed (`consensus/interface.py`): height, result and events, once the block is durable",
        ),
        Route(
            name="ledger.transaction",
            method="GET",
            path=f"{PREFIX}/transactions/{{id}}",
            summary="What became of a transaction in a kept block",
            handler=made.transaction,
            asked=AskedTransaction,
            answer="Committed (`consensus/interface.py`)",
        ),
        Route(
            name="ledger.inclusion",
            method="GET",
            path=f"{PREFIX}/transactions/{{id}}/proof",
            summary="The proof that a kept block holds a transaction, and what became of it",
            handler=made.inclusion,
            asked=AskedInclusion,
            answer="Inclusion (`ledger/inclusion.py`)",
        ),
        Route(
            name="ledger.state",
            method="GET",
            path=f"{PREFIX}/state/{{key}}",
            summary="A key's value, or its absence, with a proof against the header of its height",
            handler=made.state,
            asked=AskedState,
            answer="Answer (`ledger/light.py`)",
        ),
        Route(
            name="ledger.header",
            method="GET",
            path=f"{PREFIX}/light-blocks",
            summary="A signed header with the validators that signed it",
            handler=made.header,
            asked=AskedHeader,
            answer="LightBlock (`ledger/light.py`)",
        ),
        Route(
            name="ledger.crossing",
            method="GET",
            path=f"{PREFIX}/crossing",
            summary="What leads from the ledger's first chain to the next, where one followed",
            handler=made.crossing,
            answer="Crossing (`ledger/light.py`)",
        ),
        Route(
            name="ledger.blocks",
            method="GET",
            path=f"{PREFIX}/blocks",
            summary="Blocks from a height on, as soon as there is one; none when the wait is over",
            handler=made.blocks,
            callers=MEMBERS,
            pinned=True,
            asked=AskedBlocks,
            answer="List of byte strings, each a Block (`ledger/blocks.py`)",
        ),
        Route(
            name="ledger.entries",
            method="GET",
            path=f"{PREFIX}/entries",
            summary="What blocks from a height on entered into the history: ids, codes and events, with a proof",
            handler=made.entries,
            callers=MEMBERS,
            pinned=True,
            asked=AskedEntries,
            answer="Entries (`ledger/inclusion.py`)",
        ),
        Route(
            name="ledger.cometbft",
            method="GET",
            path=f"{PREFIX}/cometbft/{{call}}",
            summary="What this member's CometBFT answers about headers, for who joins by a snapshot",
            handler=made.cometbft,
            callers=MEMBERS,
            pinned=True,
            asked=AskedCometbft,
            answer_media=wire.JSON,
            answer="CometBFT's own JSON-RPC answer, unread; a refusal is one, too",
        ),
        Route(
            name="ledger.events",
            method="GET",
            path=f"{PREFIX}/events",
            summary="Events, each once and in order, as server-sent events that resume by their ids",
            handler=made.events,
            callers=MEMBERS,
            pinned=True,
            asked=AskedEvents,
            answer_media=wire.EVENTS,
            answer="Events in DAG-JSON: type, height, tx, attributes",
            streams=True,
        ),
    ]


class _Handlers:
    def __init__(
        self, ledger: Ledger, member: Did, run: Run, cometbft: Cometbft | None, crossing: Crossing | None
    ) -> None:
        self._crossing = crossing
        self._cometbft = cometbft
        self._ledger = ledger
        self._member = member
        self._run = run
        self._heights = Heights(ledger, run)

    async def status(self, _: Call) -> Answer:
        now = await self._run(self._ledger.status)
        return json_answer(
            NodeStatus(
                chain=now.chain,
                member=self._member,
                height=now.height,
                time=now.time,
                app_hash=now.app_hash.hex(),
                oldest=now.oldest,
                running=now.running,
            )
        )

    async def submit(self, call: Call) -> Answer:
        return Answer(codec.encode(await self._run(lambda: self._submit(call.body))))

    async def transaction(self, call: Call) -> Answer:
        wanted = bytes(codec.parse_cid(call.asked(AskedTransaction).id))
        known = await self._run(lambda: self._ledger.outcome(wanted))
        if known is None:
            raise BadInput(errors.NOT_THERE, "transaction")
        return Answer(codec.encode(known))

    async def inclusion(self, call: Call) -> Answer:
        asked = call.asked(AskedInclusion)
        wanted = bytes(codec.parse_cid(asked.id))
        found = await self._run(lambda: self._ledger.inclusion(wanted, asked.height))
        if found is None:
            raise BadInput(errors.NOT_THERE, "transaction")
        return Answer(codec.encode(found))

    async def state(self, call: Call) -> Answer:
        asked = call.asked(AskedState)
        key = call.bytes_of("key", asked.key)
        return Answer(codec.encode(await self._run(lambda: self._ledger.query(key, asked.height))))

    async def header(self, call: Call) -> Answer:
        height = call.asked(AskedHeader).height
        return Answer(codec.encode(await self._run(lambda: self._ledger.light_block(height))))

    async def crossing(self, _: Call) -> Answer:
        if self._crossing is None:
            raise BadInput(errors.NOT_THERE, "crossing")
        return Answer(codec.encode(self._crossing))

    async def blocks(self, call: Call) -> Answer:
        asked = call.asked(AskedBlocks)
        here = not asked.wait_s or await self._heights.reached(asked.start, asked.wait_s)
        rows, newest = await self._run(lambda: (self._blocks(asked) if here else [], self._ledger.status().height))
        return Answer(wire.several(rows), headers={wire.HEIGHT: str(newest)})

    async def cometbft(self, call: Call) -> Answer:
        asked = call.asked(AskedCometbft)
        given = {"height": asked.height, "page": asked.page, "per_page": asked.per_page}
        query = {name: str(value) for name, value in given.items() if value is not None}
        ask = self._cometbft
        if ask is None:
            raise BadInput(errors.NOT_THERE, "cometbft")
        return Answer(await self._run(lambda: ask(f"/{asked.call}", query)), wire.JSON)

    async def entries(self, call: Call) -> Answer:
        asked = call.asked(AskedEntries)
        return Answer(codec.encode(await self._run(lambda: self._ledger.entries(asked.start, asked.height))))

    async def events(self, call: Call) -> Answer:
        cursor = call.headers.get("last-event-id") or call.asked(AskedEvents).cursor
        first = await self._run(partial(self._events, cursor))  # so that a wrong cursor is a problem, not a stream
        return Answer(media=wire.EVENTS, stream=self._stream(cursor, first))

    def _submit(self, raw: bytes) -> Committed:
        try:
            return self._ledger.submit(raw)
        except Refused as error:
            if error.code in MAYBE_ALREADY and (known := self._ledger.outcome(_id(raw))) is not None:
                return known
            raise

    def _blocks(self, asked: AskedBlocks) -> list[bytes]:
        if asked.start > self._ledger.status().height:
            return []
        found: list[bytes] = []
        size = 0
        for block in islice(self._ledger.blocks(asked.start), asked.limit):
            found.append(codec.encode(block))
            size += len(found[-1])
            if size > MAX_BLOCKS_BYTES:
                break
        return found

    def _events(self, cursor: str) -> list[tuple[str, Event]]:
        return list(islice(self._ledger.subscribe(cursor), _EVENTS_AT_ONCE))

    async def _stream(self, cursor: str, rows: list[tuple[str, Event]]) -> AsyncIterator[bytes]:
        yield b": caremesh\n\n"
        while True:
            for at, event in rows:
                yield events.spell(at, event)
                cursor = at
            seen = (await self._run(self._ledger.status)).height
            rows = await self._run(partial(self._events, cursor))
            if rows:
                continue
            place = Cursor.read(cursor) if cursor else Cursor(0, 0, 0)
            if place.height <= seen:
                cursor = str(place._replace(height=seen + 1))  # nothing up to here: who resumes need not look again
            yield b"id: %b\n\n" % cursor.encode()
            await self._heights.reached(seen + 1, BEAT_S)
            rows = await self._run(partial(self._events, cursor))


def _id(raw: bytes) -> bytes:
    """The id of a signed transaction that was read before."""
    parts: Any = codec.decode(raw)
    return bytes(tx_id(parts[0]))
