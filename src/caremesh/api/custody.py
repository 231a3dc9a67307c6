"""``/custody/v1``: deposits, releases, and what a custodian says under its signature of what it has and had.

What a body may do is decided by the signature inside it, as everywhere. Who may send it at all is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Final, Protocol

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.api import errors
from caremesh.api.problems import status_of
from caremesh.api.routes import MEMBERS, MIB, Answer, Call, Kind, Route, json_answer
from caremesh.api.threads import Run, in_threads
from caremesh.client import wire
from caremesh.client.custody import MAX_RELEASES
from caremesh.client.wire import AskErased, LogRoot, ReleasePart
from caremesh.errors import BadInput, CareMeshError
from caremesh.types import ConsentId, Count, Digest, StreamId

PREFIX: Final = "/custody/v1"
OWNERS: Final = frozenset[Kind]({"key", "member"})
"""Wallets, whose keys the ledger knows as those of streams at most; and members, who pass on what wallets sent them."""
MAX_SEALS: Final = 1_024
MAX_FRAGMENT_BYTES: Final = 16 * 1024
MAX_SEALS_BYTES: Final = 16 * MIB
SIGNED_AS: Final = "{} under its maker's signature (`sealing/custody.py`)"
_ID: Final = r"^[A-Za-z0-9_-]{43}$"
"""32 bytes in base64url."""


class Custodian(Protocol):
    """One custodian; the methods are those of ``custodian.custodian.Custodian``. They may block."""

    def deposit_fragment(self, sealed: bytes) -> bytes:
        """See ``Custodian``."""
        ...

    def deposit_seals(self, data: Sequence[bytes]) -> list[bytes]:
        """See ``Custodian``."""
        ...

    def deposit_reseal(self, sealed: bytes) -> bytes:
        """See ``Custodian``."""
        ...

    def release(self, data: bytes) -> list[bytes]:
        """See ``Custodian``."""
        ...

    def release_each(self, data: Sequence[bytes]) -> list[list[bytes] | CareMeshError]:
        """See ``Custodian``."""
        ...

    def seals(self, data: bytes) -> bytes:
        """See ``Custodian``."""
        ...

    def stream_log(self, data: bytes) -> bytes:
        """See ``Custodian``."""
        ...

    def confirm_destroyed(self, consent: ConsentId) -> bytes:
        """See ``Custodian``."""
        ...

    def log_root(self) -> tuple[Digest, Count]:
        """See ``Custodian``."""
        ...


ConfirmErased = Callable[[StreamId, Count], list[bytes]]
"""What a member confirms of an erased segment: as custodian, as holder of blocks, as source. May block."""


class AskedConsent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``consent``: its id, base64url."""

    consent: Annotated[str, Meta(pattern=_ID)]


def routes(custodian: Custodian, run: Run | None = None) -> list[Route]:
    """Of a member that is a custodian."""
    made = _Handlers(custodian, run or in_threads())
    return [
        Route(
            name="custody.fragment",
            method="POST",
            path=f"{PREFIX}/fragments",
            summary="Leave a fragment, sealed to this custodian",
            handler=made.fragment,
            media=wire.CBOR,
            body=SIGNED_AS.format("Sealed FragmentDeposit"),
            answer=SIGNED_AS.format("Acknowledgement"),
            callers=OWNERS,
            max_bytes=MAX_FRAGMENT_BYTES,
        ),
        Route(
            name="custody.seals",
            method="POST",
            path=f"{PREFIX}/seals",
            summary="Leave seals with their permits, all or none",
            handler=made.seals,
            media=wire.CBOR,
            body=SIGNED_AS.format("List of byte strings, each a SealDeposit"),
            answer=SIGNED_AS.format("List of byte strings, each an Acknowledgement"),
            callers=MEMBERS,
            pinned=True,
            max_bytes=MAX_SEALS_BYTES,
        ),
        Route(
            name="custody.reseal",
            method="POST",
            path=f"{PREFIX}/reseals",
            summary="Leave a seal that the stream's owner made anew",
            handler=made.reseal,
            media=wire.CBOR,
            body=SIGNED_AS.format("Sealed ResealDeposit"),
            answer=SIGNED_AS.format("Acknowledgement"),
            callers=OWNERS,
        ),
        Route(
            name="custody.release",
            method="POST",
            path=f"{PREFIX}/releases",
            summary="Re-encrypt what a receipt is for",
            handler=made.release,
            media=wire.CBOR,
            body=SIGNED_AS.format("ReleaseRequest"),
            answer=SIGNED_AS.format("List of byte strings, each a Release"),
            callers=MEMBERS,
            pinned=True,
            once=True,
        ),
        Route(
            name="custody.releases",
            method="POST",
            path=f"{PREFIX}/release-batches",
            summary="Re-encrypt what several receipts are for, each granted or refused by itself",
            handler=made.releases,
            media=wire.CBOR,
            body=SIGNED_AS.format("List of byte strings, each a ReleaseRequest"),
            answer=SIGNED_AS.format("List of parts in the order asked: `problem`, JSON, or `releases`, each a Release"),
            callers=MEMBERS,
            pinned=True,
            once=True,
            counts=how_many,
        ),
        Route(
            name="custody.own-seals",
            method="POST",
            path=f"{PREFIX}/own-seals",
            summary="The seals of a stream, to its own key or a fellow custodian",
            handler=made.own_seals,
            media=wire.CBOR,
            body=SIGNED_AS.format("StreamRequest"),
            answer=SIGNED_AS.format("SealAnswer"),
            callers=OWNERS,
        ),
        Route(
            name="custody.own-log",
            method="POST",
            path=f"{PREFIX}/own-logs",
            summary="What was released of a stream, to its own key",
            handler=made.own_log,
            media=wire.CBOR,
            body=SIGNED_AS.format("StreamRequest"),
            answer=SIGNED_AS.format("LogAnswer"),
            callers=OWNERS,
        ),
        Route(
            name="custody.destruction",
            method="GET",
            path=f"{PREFIX}/destructions/{{consent}}",
            summary="That no fragment is left of a consent that is over",
            handler=made.destruction,
            asked=AskedConsent,
            answer=SIGNED_AS.format("DestroyConfirmation"),
        ),
        Route(
            name="custody.log",
            method="GET",
            path=f"{PREFIX}/log",
            summary="The root over all release logs, as it would be anchored now",
            handler=made.log,
            callers=MEMBERS,
            answer_media=wire.JSON,
            answer=LogRoot,
        ),
    ]


def erasure_routes(confirm: ConfirmErased, run: Run | None = None) -> list[Route]:
    """Of every member: what it confirms of an erased segment."""
    in_thread = run or in_threads(8)

    async def erasure(call: Call) -> Answer:
        asked = call.json(AskErased)
        stream = call.bytes_of("stream", asked.stream)
        return Answer(wire.several(await in_thread(lambda: confirm(stream, asked.segment))))

    return [
        Route(
            name="custody.erasure",
            method="POST",
            path=f"{PREFIX}/erasures",
            summary="That nothing is left here of an erased segment: seals, blocks and keys",
            handler=erasure,
            media=wire.JSON,
            body=AskErased,
            answer="List of byte strings, each an ErasureConfirmation under the member's signature",
            max_bytes=1_024,
        )
    ]


def how_many(body: bytes) -> int:
    """For how many releases a body asks: each counts as a request. Raises BadInput api.17, codec.NN."""
    found = len(wire.each_of(body))
    if not 1 <= found <= MAX_RELEASES:
        raise BadInput(errors.BAD_QUERY, f"1 to {MAX_RELEASES} requests")
    return found


def _part(found: list[bytes] | CareMeshError) -> ReleasePart:
    if isinstance(found, CareMeshError):
        return ReleasePart(releases=[], problem=wire.to_json(wire.problem_of(found, status_of(found))))
    return ReleasePart(releases=found, problem=b"")


class _Handlers:
    def __init__(self, custodian: Custodian, run: Run) -> None:
        self._custodian = custodian
        self._run = run

    async def fragment(self, call: Call) -> Answer:
        return Answer(await self._run(lambda: self._custodian.deposit_fragment(call.body)))

    async def seals(self, call: Call) -> Answer:
        given = wire.each_of(call.body)
        if not 1 <= len(given) <= MAX_SEALS:
            raise BadInput(errors.BAD_QUERY, f"1 to {MAX_SEALS} seals")
        return Answer(wire.several(await self._run(lambda: self._custodian.deposit_seals(given))))

    async def reseal(self, call: Call) -> Answer:
        return Answer(await self._run(lambda: self._custodian.deposit_reseal(call.body)))

    async def release(self, call: Call) -> Answer:
        return Answer(wire.several(await self._run(lambda: self._custodian.release(call.body))))

    async def releases(self, call: Call) -> Answer:
        how_many(call.body)
        found = await self._run(lambda: self._custodian.release_each(wire.each_of(call.body)))
        refused = ",".join(each.code for each in found if isinstance(each, CareMeshError))
        headers = {wire.REFUSED: refused} if refused else {}
        return Answer(codec.encode([_part(each) for each in found]), headers=headers)

    async def own_seals(self, call: Call) -> Answer:
        return Answer(await self._run(lambda: self._custodian.seals(call.body)))

    async def own_log(self, call: Call) -> Answer:
        return Answer(await self._run(lambda: self._custodian.stream_log(call.body)))

    async def destruction(self, call: Call) -> Answer:
        consent = call.bytes_of("consent", call.asked(AskedConsent).consent)
        return Answer(await self._run(lambda: self._custodian.confirm_destroyed(consent)))

    async def log(self, _: Call) -> Answer:
        root, count = await self._run(self._custodian.log_root)
        return json_answer(LogRoot(root=root.hex(), count=count))
