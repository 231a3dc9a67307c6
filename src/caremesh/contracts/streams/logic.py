"""Streams are opened by the first message that carries their write permit, and live by the newest."""

from __future__ import annotations

from typing import Protocol

import msgspec

from caremesh import codec
from caremesh.contracts.streams import errors
from caremesh.contracts.streams.messages import PERMIT_DOMAIN, Permit, RenewPermit, RevokePermit, SignedPermit
from caremesh.contracts.streams.state import STREAMS, Stream
from caremesh.crypto import signatures
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, Refused, Tampered
from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader
from caremesh.types import Did, StreamId


class Needs(Protocol):
    """What this contract needs of others."""

    def is_active_member(self, reader: Reader, did: Did, /) -> bool:
        """Whether a member may act now."""
        ...

    def is_custodian(self, reader: Reader, did: Did, /) -> bool:
        """Whether an active member has the role of custodian."""
        ...


def renew_permit(ctx: Context, msg: RenewPermit, needs: Needs) -> None:
    """A newer permit counts from now on."""
    stream = permitted(ctx, msg.permit, needs)
    ctx.emit("streams/permitted", stream=stream.id, serial=stream.serial)


def revoke_permit(ctx: Context, msg: RevokePermit, needs: Needs) -> None:
    """The subject ends the source's right to write; it holds for every permit up to the newest."""
    stream = permitted(ctx, msg.permit, needs) if msg.permit is not None else of_subject(ctx, msg.stream)
    if stream.id != msg.stream:
        raise Refused(errors.OTHER_STREAM)
    if not ctx.signed_by(stream.key):
        raise Refused(errors.WRONG_KEY)
    if not ctx.alone:
        raise Refused(errors.NOT_ALONE)
    if stream.permit_revoked:
        raise Refused(errors.PERMIT_REVOKED)

    STREAMS.put(ctx.state, msgspec.structs.replace(stream, permit_revoked=True), stream.id)
    ctx.emit("streams/permit-revoked", stream=stream.id)


def permitted(ctx: Context, signed: SignedPermit, needs: Needs) -> Stream:
    """The stream as this permit has it: opened by it, renewed by it, or held to it.

    The permit's own validity is checked here; whether it may still be written under is ``may_write``.
    """
    permit = _read(signed)
    if permit.chain != ctx.chain:
        raise Refused(errors.OTHER_CHAIN)
    if not needs.is_active_member(ctx.state, permit.source):
        raise Refused(errors.SOURCE_NOT_ACTIVE)
    stream = STREAMS.get(ctx.state, permit.stream)
    if stream is None:
        stream = _opened(ctx, permit, signed, needs)
    else:
        _check_follows(stream, permit, signed)
        if permit.serial == stream.serial:
            return stream
        stream = msgspec.structs.replace(
            stream,
            serial=permit.serial,
            permit=sha256(signed.permit),
            permit_until=permit.until,
            segments_left=permit.max_segments,
            permit_revoked=False,
        )
    STREAMS.put(ctx.state, stream, stream.id)
    return stream


def write(ctx: Context, stream: Stream, source: Did) -> None:
    """Use up one segment of the newest permit. Raises Refused when it does not let this source write now."""
    if stream.closed:
        raise Refused(errors.CLOSED)
    if stream.source != source:
        raise Refused(errors.OTHER_STREAM)
    if stream.permit_revoked:
        raise Refused(errors.PERMIT_REVOKED)
    if stream.permit_until <= ctx.time:
        raise Refused(errors.PERMIT_EXPIRED)
    if not stream.segments_left:
        raise Refused(errors.PERMIT_EXHAUSTED)

    STREAMS.put(ctx.state, msgspec.structs.replace(stream, segments_left=stream.segments_left - 1), stream.id)


def of_subject(ctx: Context, stream_id: StreamId) -> Stream:
    """An open stream. Raises Refused streams.12."""
    stream = STREAMS.get(ctx.state, stream_id)
    if stream is None:
        raise Refused(errors.NO_SUCH_STREAM)
    return stream


def _opened(ctx: Context, permit: Permit, signed: SignedPermit, needs: Needs) -> Stream:
    """A stream's first permit: its id is the hash of the key that signs, so nobody else can open it."""
    signatures.check_key(permit.key)
    if permit.rotation or permit.stream != signatures.stream_of(permit.key):
        raise Refused(errors.NOT_SELF_CERTIFYING)
    if permit.reading_key[0] not in (2, 3):
        raise Refused(errors.BAD_READING_KEY)
    custodians = permit.custodians
    if (
        custodians != sorted(set(custodians))
        or not 1 <= permit.threshold <= len(custodians)
        or not all(needs.is_custodian(ctx.state, custodian) for custodian in custodians)
    ):
        raise Refused(errors.BAD_CUSTODIANS)
    ctx.emit("streams/opened", stream=permit.stream)
    return Stream(
        id=permit.stream,
        key=permit.key,
        rotation=permit.rotation,
        source=permit.source,
        epoch=permit.epoch,
        reading_key=permit.reading_key,
        custodians=custodians,
        threshold=permit.threshold,
        serial=permit.serial,
        permit=sha256(signed.permit),
        permit_until=permit.until,
        segments_left=permit.max_segments,
        permit_revoked=False,
        opened=ctx.height,
        closed=False,
    )


def _check_follows(stream: Stream, permit: Permit, signed: SignedPermit) -> None:
    """A permit of an open stream: signed by the current key, of the current epoch, and not older than the newest."""
    if stream.closed:
        raise Refused(errors.CLOSED)
    if permit.key != stream.key or permit.rotation != stream.rotation:
        raise Refused(errors.WRONG_KEY)
    if permit.epoch != stream.epoch:
        raise Refused(errors.OLD_EPOCH)
    if permit.serial < stream.serial:
        raise Refused(errors.OLD_SERIAL)
    if permit.serial == stream.serial and sha256(signed.permit) != stream.permit:
        raise Refused(errors.SERIAL_REUSED)
    if permit.source != stream.source or permit.reading_key != stream.reading_key:
        raise Refused(errors.OTHER_STREAM)
    if permit.custodians != stream.custodians or permit.threshold != stream.threshold:
        raise Refused(errors.OTHER_CUSTODIANS)


def _read(signed: SignedPermit) -> Permit:
    try:
        permit = codec.decode_as(signed.permit, Permit)
    except BadInput as error:
        raise Refused(errors.BAD_PERMIT) from error
    try:
        signatures.verify(permit.key, PERMIT_DOMAIN + signed.permit, signed.signature)
    except Tampered as error:
        raise Refused(errors.WRONG_KEY) from error
    return permit
