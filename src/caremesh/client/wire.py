"""What travels between nodes besides our own signed objects: media types, header names, JSON shapes.

Bytes are base64url without padding in JSON, CIDs their base32 text. Our own signed or hashed objects travel as they
are (DAG-CBOR); several of them as one DAG-CBOR list of byte strings.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from caremesh import codec
from caremesh.client.errors import UNREACHABLE
from caremesh.codec import CID
from caremesh.errors import (
    BadInput,
    CareMeshError,
    ErrorCode,
    Locked,
    Refused,
    StorageFailed,
    Tampered,
    Unavailable,
    WrongLedger,
)
from caremesh.types import Count, Did, Height, Seconds

T = TypeVar("T")

CBOR: Final = "application/vnd.ipld.dag-cbor"
RAW: Final = "application/vnd.ipld.raw"
OCTETS: Final = "application/octet-stream"
JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
PROBLEM: Final = "application/problem+json"

TO: Final = "caremesh-to"
"""Header: the DID of the member that a request is meant for. Signed, so that no other can pass it on as its own."""
IDEMPOTENCY_KEY: Final = "idempotency-key"
HEIGHT: Final = "caremesh-height"
"""Header of an answer with blocks: the node's newest height, by its own word: how far one is behind."""

REFUSED: Final = "caremesh-refused"
"""Header of an answer with several parts: the codes of those that were refused, with commas, for whoever counts."""

KINDS: Final[dict[str, type[CareMeshError]]] = {
    kind.__name__: kind for kind in (BadInput, Refused, Tampered, StorageFailed, Locked, WrongLedger, Unavailable)
}
TYPE: Final = "urn:caremesh:error:"

TRY_AGAIN: Final = frozenset({429, 502, 503, 504})
"""Statuses of answers after which another may come."""

NOT_UNDERSTOOD = ErrorCode("client.01", "The node's answer is not what this address answers.", "Ask another node.")


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457 problem details. ``type`` ends in the stable code; ``kind`` is the class of the error tree."""

    type: Annotated[str, Meta(pattern=r"^urn:caremesh:error:[a-z][a-z0-9-]*\.[0-9]{2}$")]
    title: Annotated[str, Meta(max_length=500)]
    status: int
    detail: Annotated[str, Meta(max_length=500)] = ""
    kind: Annotated[str, Meta(max_length=32)]
    code: Annotated[str, Meta(max_length=64)]
    place: Annotated[str, Meta(max_length=500)] = ""


class NodeStatus(Struct, frozen=True, kw_only=True):
    """Where a member's copy of the ledger stands. ``oldest``: the first block that is still kept."""

    chain: str
    member: Did
    height: Height
    time: Seconds
    app_hash: str
    oldest: Height
    running: bool


class Health(Struct, frozen=True, kw_only=True):
    """Whether a process is up, or a node ready: ``checks`` names what was looked at, and whether it is well."""

    ready: bool
    checks: dict[str, bool]


class LogRoot(Struct, frozen=True, kw_only=True):
    """What a custodian would anchor now: the root over its release logs, and how many entries they have."""

    root: str
    count: Count


class AskErased(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Asks a member what it confirms of an erased segment. ``stream``: base64url."""

    stream: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}$")]
    segment: Count


class ReleasePart(Struct, frozen=True, kw_only=True):
    """What one of several requests for releases came to: signed releases, or a problem (JSON) where there are none."""

    releases: list[bytes]
    problem: bytes


def problem_of(error: CareMeshError, status: int) -> Problem:
    """An error as it travels. Its place is a name or a position, never a value (see ``errors.py``)."""
    return Problem(
        type=TYPE + error.code,
        title=error.error.sentence,
        status=status,
        detail=error.error.cure,
        kind=next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in KINDS),
        code=error.code,
        place=error.place[:500],
    )


def error_of(data: bytes) -> CareMeshError:
    """The error that a problem names. Raises BadInput client.01 when it is none."""
    try:
        problem = msgspec.json.decode(data, type=Problem)
        kind = KINDS[problem.kind]
    except (msgspec.MsgspecError, KeyError) as error:
        raise BadInput(NOT_UNDERSTOOD) from error
    if problem.type != TYPE + problem.code:
        raise BadInput(NOT_UNDERSTOOD)
    return kind(ErrorCode(problem.code, problem.title, problem.detail), problem.place)


def refused(data: bytes, status: int, place: str = "") -> CareMeshError:
    """The error of an answer with a status of 400 or more. ``place``: who answered.

    Unavailable client.02 where a server that ends, or one before it, has answered in the node's place.
    Raises BadInput client.01 when it is no problem otherwise.
    """
    try:
        return error_of(data)
    except BadInput:
        if status in TRY_AGAIN or status >= 500:
            return Unavailable(UNREACHABLE, f"{place} {status}".strip())
        raise


def to_json(value: Any) -> bytes:
    """JSON of a structure."""
    return msgspec.json.encode(value, enc_hook=_spell)


def from_json(data: bytes, kind: type[T]) -> T:
    """A structure from JSON. Raises BadInput client.01."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise BadInput(NOT_UNDERSTOOD) from error


def text_of(data: bytes) -> str:
    """Bytes as base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def bytes_of(text: str) -> bytes:
    """The bytes of their one base64url text. Raises BadInput client.01."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error) as error:
        raise BadInput(NOT_UNDERSTOOD) from error
    if text_of(data) != text:
        raise BadInput(NOT_UNDERSTOOD)
    return data


def several(items: list[bytes]) -> bytes:
    """Several objects as one."""
    return codec.encode(items)


def each_of(data: bytes) -> list[bytes]:
    """The objects in one. Raises BadInput codec.01 to codec.04."""
    return codec.decode_as(data, list[bytes])


def _spell(value: Any) -> Any:
    if isinstance(value, CID):
        return value.encode()
    raise NotImplementedError
