"""What is in a stream: registered by its source, erased by its subject."""

from __future__ import annotations

from typing import Protocol

import msgspec

from caremesh.contracts.records import errors
from caremesh.contracts.records.messages import Erase, Register, Retract
from caremesh.contracts.records.state import SEGMENTS, TAKEN, Segment, tombstone
from caremesh.errors import Refused
from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader
from caremesh.types import Count, Did, Multikey, SignedPermit, StreamId

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

    def write(self, ctx: Context, stream: StreamId, source: Did, /) -> None:
        """Use up one segment of the stream's permit. Raises Refused."""
        ...


def register(ctx: Context, msg: Register, needs: Needs) -> None:
    """The source, who sponsors, puts a segment into a stream that lets it."""
    stream = needs.permitted(ctx, msg.permit) if msg.permit is not None else needs.stream(ctx.state, msg.stream)
    if stream is None:
        raise Refused(errors.NO_PERMIT)
    if stream.id != msg.stream:
        raise Refused(errors.OTHER_STREAM)
    if ctx.sponsor != stream.source:
        raise Refused(errors.WRONG_SIGNER)
    if not msg.descriptor.is_cidv1_dag_cbor_sha256_32():
        raise Refused(errors.BAD_DESCRIPTOR)
    if msg.size_class > _MAX_SIZE_CLASS:
        raise Refused(errors.BAD_SIZE_CLASS)
    marks = [tombstone(msg.stream, bytes(msg.descriptor)), tombstone(msg.stream, msg.seal)]
    if any(TAKEN.get(ctx.state, msg.stream, mark) is not None for mark in marks):
        raise Refused(errors.DUPLICATE)
    needs.write(ctx, msg.stream, ctx.sponsor)

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


def retract(ctx: Context, msg: Retract, needs: Needs) -> None:
    """The source says that a segment was entered in error; it stays readable to those who may, marked so."""
    stream = needs.stream(ctx.state, msg.stream)
    segment = _segment(ctx.state, msg.stream, msg.segment)
    if stream is None or ctx.sponsor != stream.source:
        raise Refused(errors.WRONG_SIGNER)

    SEGMENTS.put(ctx.state, msg.segment, msgspec.structs.replace(segment, status="retracted"), msg.stream)
    ctx.emit("records/retracted", stream=msg.stream, segment=msg.segment)


def erase(ctx: Context, msg: Erase, needs: Needs) -> None:
    """Descriptor and seal leave the state; tombstones, which do not give them away, stay."""
    stream = needs.stream(ctx.state, msg.stream)
    segment = _segment(ctx.state, msg.stream, msg.segment)
    if stream is None:
        raise Refused(errors.UNKNOWN_SEGMENT)
    by_subject = ctx.signed_by(stream.key)
    if not by_subject and ctx.sponsor != stream.source:
        raise Refused(errors.WRONG_SIGNER)
    if by_subject and not ctx.alone:
        raise Refused(errors.NOT_ALONE)
    if not by_subject and msg.duty is None:
        raise Refused(errors.NO_LEGAL_DUTY)

    erased = msgspec.structs.replace(segment, status="erased", descriptor=None, seal=None)
    SEGMENTS.put(ctx.state, msg.segment, erased, msg.stream)
    ctx.emit("records/erased", stream=msg.stream, segment=msg.segment)


def _segment(reader: Reader, stream: StreamId, index: Count) -> Segment:
    segment = SEGMENTS.get(reader, index, stream)
    if segment is None:
        raise Refused(errors.UNKNOWN_SEGMENT)
    if segment.status == "erased":
        raise Refused(errors.ALREADY_ERASED)
    return segment
