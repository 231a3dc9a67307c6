"""What a route is: who may ask what, in which shape, and up to which size. Everything else is made from this table:
the guard of each route, the OpenAPI document, the table of callers that tests try.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from caremesh.api.errors import BAD_QUERY
from caremesh.client import wire
from caremesh.errors import BadInput
from caremesh.types import Did, Multikey

T = TypeVar("T")
Kind: TypeAlias = Literal["anyone", "key", "practitioner", "member"]
"""Who calls: nobody in particular (not signed); whoever has a key; a practitioner; a member's node."""
Method: TypeAlias = Literal["GET", "HEAD", "POST", "PUT", "DELETE"]
CERTIFICATE: Final = "caremesh.certificate"
"""Among the extensions of an ASGI scope: the caller's certificate (DER), if it showed one."""
ENDING: Final = "caremesh.ending"
"""In the state of an ASGI scope: an ``asyncio.Event`` that is set when the process ends."""
KIB: Final = 1024
MIB: Final = 1024 * KIB
ANYONE: Final = frozenset[Kind]({"anyone", "key", "practitioner", "member"})
SIGNED: Final = frozenset[Kind]({"key", "practitioner", "member"})
MEMBERS: Final = frozenset[Kind]({"member"})


class Caller(Struct, frozen=True):
    """Who asks, as the guard found it. ``name``: the DID or ``did:key``; empty for anyone."""

    kind: Kind
    name: str
    key: Multikey = b""

    @property
    def did(self) -> Did:
        """The caller's DID on the ledger."""
        return self.name

    def __repr__(self) -> str:
        return f"Caller({self.kind})"


class Call(Struct, frozen=True):
    """A request that passed the guard. ``headers``: names in lower case; ``sha256``: of a signed body."""

    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    sha256: bytes | None = None

    def asked(self, kind: type[T]) -> T:
        """Path and query as a structure. Raises BadInput api.17, whose place is the name of the parameter."""
        try:
            return msgspec.convert({**self.query, **self.path}, kind, strict=False)
        except msgspec.ValidationError as error:
            raise BadInput(BAD_QUERY, _field(error)) from error

    def bytes_of(self, name: str, text: str) -> bytes:
        """The bytes of a parameter in base64url. Raises BadInput api.17."""
        try:
            return wire.bytes_of(text)
        except BadInput as error:
            raise BadInput(BAD_QUERY, name) from error

    def json(self, kind: type[T]) -> T:
        """The body as a structure. Raises BadInput api.17."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except msgspec.MsgspecError as error:
            raise BadInput(BAD_QUERY, "body") from error

    def __repr__(self) -> str:
        return f"Call({self.caller.kind})"


class Answer(Struct, frozen=True):
    """What goes back: bytes, or ``stream``, chunk by chunk."""

    body: bytes = b""
    media: str = wire.CBOR
    status: int = 200
    headers: Mapping[str, str] = {}
    stream: AsyncIterator[bytes] | None = None


Handler: TypeAlias = Callable[[Call], Awaitable[Answer]]


class Route(Struct, frozen=True, kw_only=True):
    """One operation. ``name``: ``room.what``, the operation's id and its label in logs and metrics.

    ``pinned``: only a node may ask, with certificate and signature of one and the same member. ``asked``: the structure
    of path and query. ``body``, ``answer``: what they are in words or as a structure (JSON). ``once``: with an
    idempotency key, the same request again gets the same answer. ``streams``: the answer does not end by itself.
    ``counts``: for how many requests a body counts, where it may hold several.
    """

    name: str
    method: Method
    path: str
    summary: str
    handler: Handler
    callers: frozenset[Kind] = SIGNED
    pinned: bool = False
    asked: type[Struct] | None = None
    media: str = ""
    body: type[Struct] | str = ""
    answer_media: str = wire.CBOR
    answer: type[Struct] | str = ""
    max_bytes: int = MIB
    once: bool = False
    streams: bool = False
    counts: Callable[[bytes], int] | None = None
    status: int = 200


def json_answer(value: Struct, status: int = 200) -> Answer:
    """A structure as JSON."""
    return Answer(wire.to_json(value), wire.JSON, status)


def _field(error: msgspec.ValidationError) -> str:
    """The name of a parameter, never its value."""
    _, _, path = str(error).partition(" - at `$.")
    return path.rstrip("`")
