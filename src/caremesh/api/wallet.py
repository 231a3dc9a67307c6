"""``/wallet/v1``: what any member does for any wallet. It learns for which member a letter is, for which key a message
waits, which keys of the ledger are asked for together; nothing of what anything says.

A wallet signs as the key that it proves to hold: the channel's for its inbox, the stream's for sponsoring; for the rest
a key made for the request.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Annotated, Final, Protocol, TypeVar

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.api import errors
from caremesh.api.routes import ANYONE, MEMBERS, MIB, Answer, Call, Kind, Route
from caremesh.api.threads import Run, in_threads
from caremesh.client import wire
from caremesh.client.wallet import PREFIX, AskProofs, Kept, Page
from caremesh.consensus.interface import Committed
from caremesh.errors import BadInput, CareMeshError, ErrorCode, Refused
from caremesh.ledger import light
from caremesh.types import Count, Did, Height, Multikey

T = TypeVar("T")

KEYS: Final = frozenset[Kind]({"key"})
CARRIED: Final = frozenset[Kind]({"key", "member"})
MAX_LETTER_BYTES: Final = MIB + 4096
MAX_MESSAGE_BYTES: Final = 64 * 1024
MAX_INDEX_BYTES: Final = 5 * MIB
MAX_PROOFS_BYTES: Final = 256 * 1024
TURN_S: Final = 2.0
"""How long a notice waits before the stream shows a sign of life."""
_KEY: Final = r"^[A-Za-z0-9_-]{46}$"
"""34 bytes in base64url."""
_CURSOR: Final = r"^[0-9a-f.]{0,100}$"

NO_CHAIN = ErrorCode("api.60", "This letter is for another member than the one that it was carried to.")


class Relay(Protocol):
    """One member in the service of wallets. Methods may block, and raise CareMeshError."""

    @property
    def did(self) -> Did:
        """The member that answers."""

    def network_file(self) -> bytes:
        """Genesis document and founding validators, as ``node.founding`` writes them."""

    def query(self, key: bytes, height: Height | None = None) -> light.Answer:
        """See ``Engine.query``."""

    def sponsor(self, tx_bytes: bytes, caller: Multikey) -> bytes:
        """See ``Sponsoring.sponsor``."""

    def submit_batched(self, subject: bytes, raw: bytes) -> Committed:
        """See ``Outbox``. ``subject``: what tells this member's subjects apart; it goes nowhere."""

    def receive(self, sealed: bytes) -> bytes:
        """See ``Letters.receive``."""

    def carry(self, member: Did, sealed: bytes) -> bytes:
        """Carry a letter to another member's node, and its reply back."""

    def leave(self, channel_key: Multikey, sealed: bytes, sender: Did) -> object:
        """See ``Inbox.leave``."""

    def waiting(self, channel_key: Multikey, after: str) -> Page:
        """See ``Inbox.waiting``."""

    def acknowledge(self, channel_key: Multikey, ids: Sequence[str]) -> Count:
        """See ``Inbox.acknowledge``."""

    def wait(self, channel_key: Multikey, after: str, timeout_s: float) -> str:
        """See ``Inbox.wait``."""

    def put_index(self, data: bytes) -> None:
        """See ``IndexKeeper.put``."""

    def get_index(self, locator: Multikey) -> bytes | None:
        """See ``IndexKeeper.get``."""


class AskedMember(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``member``: for whom a letter is."""

    member: Did


class AskedKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``key``: a channel key or a locator, base64url."""

    key: Annotated[str, Meta(pattern=_KEY)]


class AskedAfter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``after``: the cursor of a page, or of the last notice."""

    after: Annotated[str, Meta(pattern=_CURSOR)] = ""


def routes(relay: Relay, run: Run | None = None, waiting: Run | None = None) -> list[Route]:
    """``waiting``: threads for those who wait for a notice, apart from the others."""
    made = _Handlers(relay, run or in_threads(), waiting or in_threads())
    return [*_ledger(made), *_letters(made), *_inbox(made), *_indexes(made)]


def _ledger(made: _Handlers) -> list[Route]:
    return [
        Route(
            name="wallet.network",
            method="GET",
            path=f"{PREFIX}/network",
            summary="The network's genesis document and founding validators; compare its hash with the invitation's",
            handler=made.network,
            callers=ANYONE,
            answer="Founding (`node/founding.py`)",
        ),
        Route(
            name="wallet.proofs",
            method="POST",
            path=f"{PREFIX}/proofs",
            summary="Values of several keys at one height, each with a proof",
            handler=made.proofs,
            media=wire.CBOR,
            body="AskProofs (`client/wallet.py`): height, at most 512 keys",
            answer="List of byte strings, each an Answer (`ledger/light.py`)",
            max_bytes=MAX_PROOFS_BYTES,
        ),
        Route(
            name="wallet.sponsor",
            method="POST",
            path=f"{PREFIX}/sponsored",
            summary="This member's signature over a transaction of the subject whose key signs the request",
            handler=made.sponsor,
            callers=KEYS,
            media=wire.CBOR,
            body="Transaction (`ledger/transactions.py`), not signed yet",
            answer_media=wire.OCTETS,
            answer="64 bytes",
        ),
        Route(
            name="wallet.submit",
            method="POST",
            path=f"{PREFIX}/transactions",
            summary="Put a signed transaction into a block among those of other subjects",
            handler=made.submit,
            callers=KEYS,
            media=wire.CBOR,
            body="Signed transaction (`ledger/transactions.py`)",
            answer="Committed (`consensus/interface.py`)",
        ),
    ]


def _letters(made: _Handlers) -> list[Route]:
    return [
        Route(
            name="wallet.letter",
            method="POST",
            path=f"{PREFIX}/letters/{{member}}",
            summary="Carry a sealed letter to a member; the answer is its sealed reply",
            handler=made.letter,
            callers=CARRIED,
            asked=AskedMember,
            media=wire.OCTETS,
            body="Letter (`sealing/letter.py`)",
            answer_media=wire.OCTETS,
            answer="Reply (`sealing/letter.py`)",
            max_bytes=MAX_LETTER_BYTES,
        ),
    ]


def _inbox(made: _Handlers) -> list[Route]:
    return [
        Route(
            name="wallet.leave",
            method="POST",
            path=f"{PREFIX}/inboxes/{{key}}",
            summary="Leave a sealed message for who holds a channel key",
            handler=made.leave,
            callers=MEMBERS,
            pinned=True,
            asked=AskedKey,
            media=wire.OCTETS,
            body="Sealed message (`sealing/inquiry.py`, `sealing/statement.py`)",
            max_bytes=MAX_MESSAGE_BYTES,
        ),
        Route(
            name="wallet.messages",
            method="GET",
            path=f"{PREFIX}/inbox",
            summary="What waits for the key that signs the request; nothing is taken away by it",
            handler=made.messages,
            callers=KEYS,
            asked=AskedAfter,
            answer="Page (`client/wallet.py`)",
        ),
        Route(
            name="wallet.kept",
            method="POST",
            path=f"{PREFIX}/inbox/kept",
            summary="Destroy messages that the wallet has kept",
            handler=made.kept,
            callers=KEYS,
            media=wire.CBOR,
            body="Kept (`client/wallet.py`): ids",
            answer="How many there were",
        ),
        Route(
            name="wallet.notices",
            method="GET",
            path=f"{PREFIX}/notices",
            summary="Whenever something comes for the key that signs: a cursor, as server-sent events that resume",
            handler=made.notices,
            callers=KEYS,
            asked=AskedAfter,
            answer_media=wire.EVENTS,
            answer="Events without data, whose id is a cursor of the inbox",
            streams=True,
        ),
    ]


def _indexes(made: _Handlers) -> list[Route]:
    return [
        Route(
            name="wallet.put-index",
            method="PUT",
            path=f"{PREFIX}/indexes",
            summary="Keep a newer version of a wallet's index, under its locator's signature",
            handler=made.put_index,
            media=wire.CBOR,
            body="Signed index (`wallet/index.py`)",
            max_bytes=MAX_INDEX_BYTES,
        ),
        Route(
            name="wallet.get-index",
            method="GET",
            path=f"{PREFIX}/indexes/{{key}}",
            summary="The newest version of the index with this locator",
            handler=made.get_index,
            asked=AskedKey,
            answer="Signed index (`wallet/index.py`)",
        ),
    ]


class _Handlers:
    def __init__(self, relay: Relay, run: Run, waiting: Run) -> None:
        self._relay = relay
        self._run = run
        self._waiting = waiting

    async def network(self, _: Call) -> Answer:
        return Answer(await self._run(self._relay.network_file))

    async def proofs(self, call: Call) -> Answer:
        asked = _body(call, AskProofs)
        return Answer(wire.several(await self._run(lambda: [self._proof(key, asked.height) for key in asked.keys])))

    async def sponsor(self, call: Call) -> Answer:
        return Answer(await self._run(lambda: self._relay.sponsor(call.body, call.caller.key)), wire.OCTETS)

    async def submit(self, call: Call) -> Answer:
        committed = await self._waiting(lambda: self._relay.submit_batched(call.caller.key, call.body))
        return Answer(codec.encode(committed))

    async def letter(self, call: Call) -> Answer:
        member = call.asked(AskedMember).member
        if member == self._relay.did:
            work: Callable[[], bytes] = partial(self._relay.receive, call.body)
        elif call.caller.kind == "member":
            raise Refused(NO_CHAIN, member)
        else:
            work = partial(self._relay.carry, member, call.body)
        return Answer(await self._run(work), wire.OCTETS)

    async def leave(self, call: Call) -> Answer:
        key = call.bytes_of("key", call.asked(AskedKey).key)
        await self._run(lambda: self._relay.leave(key, call.body, call.caller.did))
        return Answer(status=204)

    async def messages(self, call: Call) -> Answer:
        after = call.asked(AskedAfter).after
        return Answer(codec.encode(await self._run(lambda: self._relay.waiting(call.caller.key, after))))

    async def kept(self, call: Call) -> Answer:
        ids = _body(call, Kept).ids
        return Answer(codec.encode(await self._run(lambda: self._relay.acknowledge(call.caller.key, ids))))

    async def notices(self, call: Call) -> Answer:
        after = call.headers.get("last-event-id") or call.asked(AskedAfter).after
        if not re.fullmatch(_CURSOR, after):
            raise BadInput(errors.BAD_QUERY, "last-event-id")
        return Answer(media=wire.EVENTS, stream=self._notices(call.caller.key, after))

    async def put_index(self, call: Call) -> Answer:
        await self._run(lambda: self._relay.put_index(call.body))
        return Answer(status=204)

    async def get_index(self, call: Call) -> Answer:
        locator = call.bytes_of("key", call.asked(AskedKey).key)
        found = await self._run(lambda: self._relay.get_index(locator))
        if found is None:
            raise BadInput(errors.NOT_THERE, "index")
        return Answer(found)

    async def _notices(self, key: Multikey, after: str) -> AsyncIterator[bytes]:
        while True:
            newest = await self._waiting(partial(self._relay.wait, key, after, TURN_S))
            yield f"id: {newest}\ndata:\n\n".encode() if newest > after else b": still here\n\n"
            after = newest

    def _proof(self, key: bytes, height: Height) -> bytes:
        return codec.encode(self._relay.query(key, height))


def _body(call: Call, kind: type[T]) -> T:
    try:
        return codec.decode_as(call.body, kind)
    except CareMeshError as error:
        raise BadInput(errors.BAD_QUERY, "body") from error
