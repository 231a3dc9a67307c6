"""What is in a stream: registered by its source, erased by its subject."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from caremesh.contracts.records import errors
from caremesh.contracts.records.messages import Attest, Erase, Register, Reseal, Retract, Supersede
from caremesh.contracts.records.queries import attestations
from caremesh.contracts.records.state import ATTESTATIONS, SEGMENTS, TAKEN, Attestation, Segment, tombstone
from caremesh.errors import Refused
from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader
from caremesh.types import Count, Did, Digest, Multikey, Seconds, SignedPermit, StreamId

_MAX_SIZE_CLASS = 63


class StreamLike(Protocol):
    """What this contract needs to know of a stream."""

    @property
    def id(self) -> StreamId: ...
    @property
    def key(self) -> Multikey: ...
    @property
    def source(self) -> Did: ...
    @property
    def epoch(self) -> Count: ...


class Needs(Protocol):
    """What this contract needs of others."""

    def permitted(self, ctx: Context, permit: SignedPermit, /) -> StreamLike:
        """The stream of a valid permit, opened or renewed by it. Raises Refused."""
        ...

    def stream(self, reader: Reader, stream: StreamId, /) -> StreamLike | None:
        """An open stream, or None."""
        ...

    def write(self, ctx: Context, stream: StreamId, /) -> None:
        """Use up one segment of the stream's permit. Raises Refused."""
        ...

    def signed_for(self, ctx: Context, stream: StreamId, power: Literal["erase"], /) -> bool:
        """Whether the stream's key, or a controller's with this power, signed."""
        ...

    def may_read(self, reader: Reader, stream: StreamId, segment: Count, member: Did, at: Seconds, /) -> bool:
        """Whether a member has an active consent that covers a segment."""
        ...


def register(ctx: Context, msg: Register, needs: Needs) -> None:
    """The source, who sponsors, puts a segment into a stream that lets it."""
    _enter(ctx, msg, needs)


def supersede(ctx: Context, msg: Supersede, needs: Needs) -> None:
    """The source corrects a segment: the new one comes in like any other, and the old one points to it."""
    old = _current(ctx.state, msg.stream, msg.segment)
    index = _enter(ctx, msg, needs)

    replaced = msgspec.structs.replace(old, status="superseded", successor=index)
    SEGMENTS.put(ctx.state, msg.segment, replaced, msg.stream)
    ctx.emit("records/superseded", stream=msg.stream, segment=msg.segment, successor=index)


def retract(ctx: Context, msg: Retract) -> None:
    """The source says that a segment was entered in error; it stays readable to those who may, marked so."""
    segment = _current(ctx.state, msg.stream, msg.segment)
    if ctx.sponsor != segment.source:
        raise Refused(errors.WRONG_SIGNER)
    _check_alone(ctx)

    SEGMENTS.put(ctx.state, msg.segment, msgspec.structs.replace(segment, status="retracted"), msg.stream)
    ctx.emit("records/retracted", stream=msg.stream, segment=msg.segment)


def reseal(ctx: Context, msg: Reseal, needs: Needs) -> None:
    """The subject replaces descriptor and seal at once; number and height of the segment stay, its epoch is today's."""
    stream = needs.stream(ctx.state, msg.stream)
    if stream is None:
        raise Refused(errors.UNKNOWN_SEGMENT)
    segment = _segment(ctx.state, msg.stream, msg.segment)
    if not ctx.signed_by(stream.key):
        raise Refused(errors.WRONG_SIGNER)
    _check_alone(ctx)
    marks = _marks(ctx, msg)

    sealed = msgspec.structs.replace(
        segment,
        epoch=stream.epoch,
        size_class=msg.size_class,
        descriptor=msg.descriptor,
        seal=msg.seal,
        version=segment.version + 1,
    )
    SEGMENTS.put(ctx.state, msg.segment, sealed, msg.stream)
    for mark in marks:
        TAKEN.put(ctx.state, msg.segment, msg.stream, mark)
    ctx.emit("records/resealed", stream=msg.stream, segment=msg.segment, version=sealed.version)


def erase(ctx: Context, msg: Erase, needs: Needs) -> None:
    """Descriptor and seal leave the state; tombstones, which do not give them away, stay."""
    segment = _segment(ctx.state, msg.stream, msg.segment)
    by_subject = needs.signed_for(ctx, msg.stream, "erase")
    if not by_subject and ctx.sponsor != segment.source:
        raise Refused(errors.WRONG_SIGNER)
    _check_alone(ctx)
    if not by_subject and msg.duty is None:
        raise Refused(errors.NO_LEGAL_DUTY)

    duty = None if by_subject else msg.duty
    erased = msgspec.structs.replace(segment, status="erased", duty=duty, descriptor=None, seal=None)
    SEGMENTS.put(ctx.state, msg.segment, erased, msg.stream)
    ctx.emit("records/erased", stream=msg.stream, segment=msg.segment)


def attest(ctx: Context, msg: Attest, needs: Needs) -> None:
    """A member that may read the segment says that it has verified it."""
    segment = _segment(ctx.state, msg.stream, msg.segment)
    if ctx.sponsor == segment.source or not needs.may_read(ctx.state, msg.stream, msg.segment, ctx.sponsor, ctx.time):
        raise Refused(errors.MAY_NOT_READ)
    _check_alone(ctx)
    if any(
        (entry.member, entry.version) == (ctx.sponsor, segment.version)
        for entry in attestations(ctx.state, msg.stream, msg.segment)
    ):
        raise Refused(errors.ALREADY_ATTESTED)

    entry = Attestation(member=ctx.sponsor, version=segment.version, height=ctx.height)
    ATTESTATIONS.append(ctx.state, entry, msg.stream, msg.segment.to_bytes(8))
    ctx.emit("records/attested", stream=msg.stream, segment=msg.segment, member=ctx.sponsor)


def _enter(ctx: Context, msg: Register | Supersede, needs: Needs) -> Count:
    """A new segment at the end of its stream; its number."""
    stream = needs.permitted(ctx, msg.permit) if msg.permit is not None else needs.stream(ctx.state, msg.stream)
    if stream is None:
        raise Refused(errors.NO_PERMIT)
    if stream.id != msg.stream:
        raise Refused(errors.OTHER_STREAM)
    if ctx.sponsor != stream.source:
        raise Refused(errors.WRONG_SIGNER)
    _check_alone(ctx)
    marks = _marks(ctx, msg)
    needs.write(ctx, msg.stream)

    segment = Segment(
        source=ctx.sponsor,
        epoch=stream.epoch,
        registered=ctx.height,
        size_class=msg.size_class,
        status="current",
        descriptor=msg.descriptor,
        seal=msg.seal,
    )
    index = SEGMENTS.append(ctx.state, segment, msg.stream)
    for mark in marks:
        TAKEN.put(ctx.state, index, msg.stream, mark)
    ctx.emit("records/registered", stream=msg.stream, segment=index)
    return index


def _check_alone(ctx: Context) -> None:
    """Two streams in one transaction would look like those of one person."""
    if not ctx.alone:
        raise Refused(errors.NOT_ALONE)


def _marks(ctx: Context, msg: Register | Supersede | Reseal) -> list[Digest]:
    """The tombstone hashes of a descriptor and a seal that are well-formed and new to the stream."""
    if not msg.descriptor.is_cidv1_dag_cbor_sha256_32():
        raise Refused(errors.BAD_DESCRIPTOR)
    if msg.size_class > _MAX_SIZE_CLASS:
        raise Refused(errors.BAD_SIZE_CLASS)
    marks = [tombstone(msg.stream, bytes(msg.descriptor)), tombstone(msg.stream, msg.seal)]
    if any(TAKEN.get(ctx.state, msg.stream, mark) is not None for mark in marks):
        raise Refused(errors.DUPLICATE)
    return marks


def _current(reader: Reader, stream: StreamId, index: Count) -> Segment:
    segment = _segment(reader, stream, index)
    if segment.status != "current":
        raise Refused(errors.NOT_CURRENT)
    return segment


def _segment(reader: Reader, stream: StreamId, index: Count) -> Segment:
    segment = SEGMENTS.get(reader, index, stream)
    if segment is None:
        raise Refused(errors.UNKNOWN_SEGMENT)
    if segment.status == "erased":
        raise Refused(errors.ALREADY_ERASED)
    return segment
