"""``/wallet/v1`` of a node: what a relay does for wallets, and one member's node for another's letters."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Final, TypeVar

import httpx
from msgspec import Meta, Struct

from caremesh import codec
from caremesh.client import wire
from caremesh.client.errors import CUT_SHORT, TOO_MUCH, UNREACHABLE
from caremesh.client.node import Node
from caremesh.client.signing import Identity
from caremesh.consensus.interface import Committed
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, CareMeshError, Unavailable
from caremesh.ledger.light import Answer, Crossing, LightBlock
from caremesh.ledger.transactions import Signs
from caremesh.types import Count, Did, Height, Multikey, Seconds

T = TypeVar("T")

PREFIX: Final = "/wallet/v1"
MAX_KEYS: Final = 512
MAX_IDS: Final = 100
BATCH_ANSWER_S: Final = 180.0
"""A transaction that is not urgent waits for those of others (``params.batch_wait_s``)."""

SMALL: Final = 1024
MAX_NETWORK_BYTES: Final = 16 * 2**20
LETTER_ANSWER_S: Final = 30.0


class AskProofs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of the state whose values, at one height, are to be proven."""

    height: Height
    keys: Annotated[list[Annotated[bytes, Meta(min_length=1, max_length=4096)]], Meta(min_length=1, max_length=512)]


class Waiting(Struct, frozen=True, kw_only=True):
    """One message in an inbox. ``id``: SHA-256 of it, hexadecimal; ``at``: when it came, seconds UTC."""

    id: str
    at: Seconds
    sealed: bytes

    def __repr__(self) -> str:
        return f"Waiting({self.id[:8]})"


class Page(Struct, frozen=True, kw_only=True):
    """Some messages, the oldest first; ``cursor`` asks for those after them; ``more``: whether there are any."""

    messages: list[Waiting]
    cursor: str
    more: bool


class Kept(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a wallet has kept, so that its relay may destroy it: ids of messages."""

    ids: Annotated[list[Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]], Meta(max_length=MAX_IDS)]


def nobody() -> Identity:
    """A key made for one request: it proves nothing, and ties the request to no other."""
    return Identity.of_key(SigningKey.generate())


class WalletClient:
    """One node, for wallets and for other members' nodes. Of one event loop.

    All methods raise what the node's problem names, and what ``Node.call`` raises. A wallet gives its ``Node`` the
    function ``nobody``: each request is signed by a key of its own, but where a key is given here.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    async def network_file(self) -> bytes:
        """Genesis document and founding validators, unverified: compare its hash."""
        return (await self._node.call("GET", f"{PREFIX}/network")).body

    async def light_block(self, height: Height | None = None) -> LightBlock:
        """A signed header, unverified. Raises BadInput ledger.11."""
        query: dict[str, str | int] = {} if height is None else {"height": height}
        answer = await self._node.call("GET", "/ledger/v1/light-blocks", query=query)
        return _read(answer.body, LightBlock)

    async def crossing(self) -> Crossing | None:
        """What leads to the ledger's second chain, unverified; None where the node knows of none."""
        try:
            answer = await self._node.call("GET", "/ledger/v1/crossing")
        except BadInput:
            return None
        return _read(answer.body, Crossing)

    async def proofs(self, keys: Sequence[bytes], height: Height) -> list[Answer]:
        """Each key with its proof, unverified. Raises BadInput ledger.11."""
        asked = codec.encode(AskProofs(height=height, keys=list(keys)))
        answer = await self._node.call("POST", f"{PREFIX}/proofs", asked, safe=True)
        return [_read(each, Answer) for each in _read(answer.body, list[bytes])]

    async def sponsor(self, tx_bytes: bytes, key: Signs) -> bytes:
        """The member's signature over a subject's transaction. ``key``: the subject's."""
        identity = Identity.of_key(key)
        return (await self._node.call("POST", f"{PREFIX}/sponsored", tx_bytes, safe=True, identity=identity)).body

    async def submit(self, raw: bytes) -> Committed:
        """Put a signed transaction into a block at once."""
        answer = await self._node.call("POST", "/ledger/v1/transactions", raw, safe=True)
        return _read(answer.body, Committed)

    async def submit_batched(self, raw: bytes, act: Identity) -> Committed:
        """Put a signed transaction into a block among those of others. ``act``: one throw-away key for one act."""
        answer = await self._node.call(
            "POST", f"{PREFIX}/transactions", raw, safe=True, identity=act, answer_s=BATCH_ANSWER_S
        )
        return _read(answer.body, Committed)

    async def letter(self, member: Did, sealed: bytes) -> bytes:
        """Carry a letter to a member; its sealed reply."""
        return (
            await self._node.call(
                "POST",
                f"{PREFIX}/letters/{member}",
                sealed,
                media=wire.OCTETS,
                safe=True,
                answer_s=LETTER_ANSWER_S,
            )
        ).body

    async def leave(self, channel_key: Multikey, sealed: bytes) -> None:
        """Leave a message for who holds a channel key; only a member's node may."""
        path = f"{PREFIX}/inboxes/{wire.text_of(channel_key)}"
        await self._node.call("POST", path, sealed, media=wire.OCTETS, safe=True)

    async def messages(self, channel: Signs, after: str = "") -> Page:
        """What waits for who holds this channel key."""
        query: dict[str, str | int] = {"after": after} if after else {}
        answer = await self._node.call("GET", f"{PREFIX}/inbox", query=query, identity=Identity.of_key(channel))
        return _read(answer.body, Page)

    async def acknowledge(self, channel: Signs, ids: Sequence[str]) -> Count:
        """Let the relay destroy what the wallet has kept; how many there were."""
        answer = await self._node.call(
            "POST",
            f"{PREFIX}/inbox/kept",
            codec.encode(Kept(ids=list(ids))),
            safe=True,
            identity=Identity.of_key(channel),
        )
        return _read(answer.body, int)

    async def notices(self, channel: Signs, cursor: str = "") -> AsyncGenerator[str]:
        """A cursor whenever something came for a channel key after ``cursor``; ends when the node ends the stream."""
        headers = {"last-event-id": cursor} if cursor else None
        chunks = self._node.chunks(f"{PREFIX}/notices", headers=headers, identity=Identity.of_key(channel))
        left = b""
        async with aclosing(chunks):
            async for chunk in chunks:
                *lines, left = (left + chunk).split(b"\n")
                if len(left) > SMALL:
                    raise BadInput(wire.NOT_UNDERSTOOD)
                for line in lines:
                    if line.startswith(b"id: "):
                        yield line.removeprefix(b"id: ").decode("ascii", "replace")

    async def put_index(self, data: bytes) -> None:
        """See ``IndexKeeper.put``."""
        await self._node.call("PUT", f"{PREFIX}/indexes", data, safe=True)

    async def get_index(self, locator: Multikey) -> bytes | None:
        """See ``IndexKeeper.get``."""
        path = f"{PREFIX}/indexes/{wire.text_of(locator)}"
        try:
            return (await self._node.call("GET", path)).body
        except BadInput as error:
            if error.code == "api.18":
                return None
            raise


def _read(data: bytes, kind: type[T]) -> T:
    """Raises BadInput client.01."""
    try:
        return codec.decode_as(data, kind)
    except CareMeshError as error:
        raise BadInput(wire.NOT_UNDERSTOOD) from error


async def fetch_network_file(url: str) -> bytes:
    """The network file of a node whose key is not known yet: what counts is its hash, which the caller compares.

    Raises Unavailable client.02, client.04, client.09; BadInput client.01.
    """
    try:
        async with (
            httpx.AsyncClient(verify=False, trust_env=False, timeout=LETTER_ANSWER_S) as http,  # noqa: S501 - see above
            http.stream("GET", f"{url}{PREFIX}/network") as got,
        ):
            body = bytearray()
            async for chunk in got.aiter_raw():
                body += chunk
                if len(body) > MAX_NETWORK_BYTES:
                    raise Unavailable(TOO_MUCH, url)
    except httpx.RemoteProtocolError as error:
        raise Unavailable(CUT_SHORT, url) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(UNREACHABLE, url) from error
    if got.status_code != 200:
        raise wire.refused(bytes(body), got.status_code, url)
    return bytes(body)
