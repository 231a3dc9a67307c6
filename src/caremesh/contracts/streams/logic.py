"""Streams are opened by the first message that carries their write permit, and live by the newest."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from caremesh import codec
from caremesh.contracts.streams import errors
from caremesh.contracts.streams.messages import (
    PERMIT_DOMAIN,
    AddController,
    Close,
    NewEpoch,
    Permit,
    Power,
    RemoveController,
    RenewPermit,
    RevokePermit,
    RotateKey,
    SetCustodians,
    SignedPermit,
)
from caremesh.contracts.streams.queries import controllers, may_sign, of_key
from caremesh.contracts.streams.state import (
    CONTROLLERS,
    KEYS,
    READING_KEYS,
    STREAMS,
    Controller,
    Controllers,
    Stream,
)
from caremesh.crypto import signatures
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, Refused, Tampered
from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader
from caremesh.types import DAY_S, Count, Did, Multikey, Seconds, StreamId

MAX_CONTROLLER_S: Final[Seconds] = 366 * DAY_S
MAX_CONTROLLERS: Final = 8


class Needs(Protocol):
    """What this contract needs of others."""

    def is_active_member(self, reader: Reader, did: Did, /) -> bool:
        """Whether a member may act now."""
        ...

    def is_custodian(self, reader: Reader, did: Did, /) -> bool:
        """Whether an active member has the role of custodian."""
        ...

    def is_grantee(self, reader: Reader, stream: StreamId, did: Did, at: Seconds, /) -> bool:
        """Whether a member has a consent of a stream that is active at a time, or begins later."""
        ...

    def is_known_key(self, reader: Reader, key: Multikey, /) -> bool:
        """Whether a key is, or was, that of a DID."""
        ...


def renew_permit(ctx: Context, msg: RenewPermit, needs: Needs) -> None:
    """A newer permit counts from now on."""
    if not ctx.alone:
        raise Refused(errors.NOT_ALONE)
    stream = permitted(ctx, msg.permit, needs)
    ctx.emit("streams/permitted", stream=stream.id, serial=stream.serial)


def revoke_permit(ctx: Context, msg: RevokePermit, needs: Needs) -> None:
    """The subject ends the source's right to write; it holds for every permit up to the newest."""
    permit = msg.permit
    stream = of_subject(ctx, msg.stream) if permit is None else permitted(ctx, permit, needs, revoking=True)
    if stream.id != msg.stream:
        raise Refused(errors.OTHER_STREAM)
    if not signed_for(ctx, stream, "revoke"):
        raise Refused(errors.WRONG_KEY)
    if not ctx.alone:
        raise Refused(errors.NOT_ALONE)
    if stream.permit_revoked:
        raise Refused(errors.PERMIT_REVOKED)

    STREAMS.put(ctx.state, msgspec.structs.replace(stream, permit_revoked=True), stream.id)
    ctx.emit("streams/permit-revoked", stream=stream.id)


def rotate_key(ctx: Context, msg: RotateKey, needs: Needs) -> None:
    """Old and new key both sign. Permits by the old key end: whoever stole it writes no more."""
    stream = _own(ctx, msg.stream)
    if not ctx.signed_by(msg.key):
        raise Refused(errors.WRONG_KEY)
    _check_new(ctx, msg.key, needs)

    KEYS.put(ctx.state, stream.id, msg.key)
    changed = msgspec.structs.replace(stream, key=msg.key, rotation=stream.rotation + 1, permit_revoked=True)
    _put(ctx, changed, msg.permit, needs)
    ctx.emit("streams/key-rotated", stream=stream.id, rotation=changed.rotation)


def new_epoch(ctx: Context, msg: NewEpoch, needs: Needs) -> None:
    """A new reading key. Permits of the old epoch end, so that nothing is sealed to the old key any more."""
    stream = _own(ctx, msg.stream)
    if msg.reading_key[0] not in (2, 3):
        raise Refused(errors.BAD_READING_KEY)
    known = READING_KEYS.get(ctx.state, stream.id, msg.reading_key) is not None
    if known or msg.reading_key == stream.reading_key:
        raise Refused(errors.SAME_KEY)

    READING_KEYS.put(ctx.state, stream.epoch, stream.id, stream.reading_key)
    changed = msgspec.structs.replace(stream, epoch=stream.epoch + 1, reading_key=msg.reading_key, permit_revoked=True)
    _put(ctx, changed, msg.permit, needs)
    ctx.emit("streams/epoch-begun", stream=stream.id, epoch=changed.epoch)


def set_custodians(ctx: Context, msg: SetCustodians, needs: Needs) -> None:
    """Other custodians from now on; who is granted the stream cannot be one. Permits of the old set end."""
    stream = _own(ctx, msg.stream)
    _check_set(msg.custodians, msg.threshold)
    _check_roles(ctx, msg.custodians, needs)
    if any(needs.is_grantee(ctx.state, stream.id, custodian, ctx.time) for custodian in msg.custodians):
        raise Refused(errors.GRANTEE_IN_SET)

    changed = msgspec.structs.replace(stream, custodians=msg.custodians, threshold=msg.threshold, permit_revoked=True)
    _put(ctx, changed, msg.permit, needs)
    ctx.emit("streams/custodians-set", stream=stream.id)


def add_controller(ctx: Context, msg: AddController, needs: Needs) -> None:
    """The subject lets another key act in its place, or renews that; nobody is given a key that is not theirs."""
    stream = _own(ctx, msg.stream)
    if msg.powers != sorted(set(msg.powers)) or not msg.powers or msg.until % DAY_S:
        raise Refused(errors.BAD_CONTROLLER)
    if not ctx.time < msg.until <= ctx.time + MAX_CONTROLLER_S:
        raise Refused(errors.BAD_CONTROLLER)
    others = [entry for entry in controllers(ctx.state, stream.id) if entry.key != msg.key]
    renewed = len(others) < len(controllers(ctx.state, stream.id))
    if not renewed:
        if not ctx.signed_by(msg.key):
            raise Refused(errors.WRONG_KEY)
        _check_new(ctx, msg.key, needs)
    if len(others) >= MAX_CONTROLLERS:
        raise Refused(errors.TOO_MANY_CONTROLLERS)

    entry = Controller(key=msg.key, powers=msg.powers, until=msg.until)
    KEYS.put(ctx.state, stream.id, msg.key)
    CONTROLLERS.put(ctx.state, Controllers(sorted([*others, entry], key=lambda each: each.key)), stream.id)
    ctx.emit("streams/controller-added", stream=stream.id)


def remove_controller(ctx: Context, msg: RemoveController) -> None:
    """The subject, or the controller itself, ends its powers; closed streams too."""
    stream = of_subject(ctx, msg.stream)
    if not ctx.signed_by(stream.key) and not ctx.signed_by(msg.key):
        raise Refused(errors.WRONG_KEY)
    if not ctx.alone:
        raise Refused(errors.NOT_ALONE)
    known = controllers(ctx.state, stream.id)
    others = [entry for entry in known if entry.key != msg.key]
    if len(others) == len(known):
        raise Refused(errors.NO_CONTROLLER)

    CONTROLLERS.put(ctx.state, Controllers(others), stream.id)
    ctx.emit("streams/controller-removed", stream=stream.id)


def close(ctx: Context, msg: Close) -> None:
    """The subject ends the stream. Revoking and erasing go on working."""
    stream = _own(ctx, msg.stream)

    STREAMS.put(ctx.state, msgspec.structs.replace(stream, closed=True), stream.id)
    ctx.emit("streams/closed", stream=stream.id)


def signed_for(ctx: Context, stream: Stream, power: Power) -> bool:
    """Whether the stream's key, or a controller's within its powers, signed."""
    return any(
        signer.did is None and may_sign(ctx.state, stream, signer.key, power, ctx.time) for signer in ctx.signers
    )


def permitted(ctx: Context, signed: SignedPermit, needs: Needs, *, revoking: bool = False) -> Stream:
    """The stream as this permit has it: opened by it, renewed by it, or held to it.

    The permit's own validity is checked here; whether it may still be written under is ``write``. A permit that is
    only to be revoked (``revoking``) may name a source or custodians that may not act now: that must not hold it up.
    """
    permit = _read(signed)
    if permit.chain != ctx.chain:
        raise Refused(errors.OTHER_CHAIN)
    if not revoking and not needs.is_active_member(ctx.state, permit.source):
        raise Refused(errors.SOURCE_NOT_ACTIVE)
    stream = STREAMS.get(ctx.state, permit.stream)
    if stream is None:
        _check_terms(permit)
        stream = _opened(ctx, permit, signed, needs, revoking=revoking)
    else:
        _check_follows(stream, permit, signed)
        if permit.serial == stream.serial:
            return stream
        _check_terms(permit)
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


def write(ctx: Context, stream: Stream) -> None:
    """Use up one segment of the newest permit. Raises Refused when it does not let its source write now."""
    if stream.closed:
        raise Refused(errors.CLOSED)
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


def _opened(ctx: Context, permit: Permit, signed: SignedPermit, needs: Needs, *, revoking: bool) -> Stream:
    """A stream's first permit: its id is the hash of the key that signs, so nobody else can open it."""
    if permit.rotation or permit.stream != signatures.stream_of(permit.key):
        raise Refused(errors.NOT_SELF_CERTIFYING)
    if permit.epoch:  # epochs are counted: one that began at the last number could have no next
        raise Refused(errors.OLD_EPOCH)
    if permit.reading_key[0] not in (2, 3):
        raise Refused(errors.BAD_READING_KEY)
    _check_new(ctx, permit.key, needs)
    _check_set(permit.custodians, permit.threshold)
    if not revoking:
        _check_roles(ctx, permit.custodians, needs)

    ctx.emit("streams/opened", stream=permit.stream)
    return Stream(
        id=permit.stream,
        key=permit.key,
        rotation=permit.rotation,
        source=permit.source,
        epoch=permit.epoch,
        reading_key=permit.reading_key,
        custodians=permit.custodians,
        threshold=permit.threshold,
        serial=permit.serial,
        permit=sha256(signed.permit),
        permit_until=permit.until,
        segments_left=permit.max_segments,
        permit_revoked=False,
        opened=ctx.height,
        closed=False,
    )


def _own(ctx: Context, stream_id: StreamId) -> Stream:
    """An open stream whose own key signed, alone, and that is not closed."""
    stream = of_subject(ctx, stream_id)
    if not ctx.signed_by(stream.key):
        raise Refused(errors.WRONG_KEY)
    if not ctx.alone:
        raise Refused(errors.NOT_ALONE)
    if stream.closed:
        raise Refused(errors.CLOSED)
    return stream


def _put(ctx: Context, stream: Stream, permit: SignedPermit | None, needs: Needs) -> None:
    """Write a changed stream, and let the permit that came along follow at once."""
    STREAMS.put(ctx.state, stream, stream.id)
    if permit is not None and permitted(ctx, permit, needs).id != stream.id:
        raise Refused(errors.OTHER_STREAM)


def _check_new(ctx: Context, key: Multikey, needs: Needs) -> None:
    """A key that is sound and serves nothing else: one key in two streams would tie them together."""
    signatures.check_key(key)
    if of_key(ctx.state, key) is not None or needs.is_known_key(ctx.state, key):
        raise Refused(errors.KEY_REUSED)


def _check_set(custodians: list[Did], threshold: Count) -> None:
    """Sorted, so that their order says nothing; and as many of them must agree as there are, at most."""
    if custodians != sorted(set(custodians)) or not 1 <= threshold <= len(custodians):
        raise Refused(errors.BAD_CUSTODIANS)


def _check_roles(ctx: Context, custodians: list[Did], needs: Needs) -> None:
    if not all(needs.is_custodian(ctx.state, custodian) for custodian in custodians):
        raise Refused(errors.BAD_CUSTODIANS)


def _check_terms(permit: Permit) -> None:
    """Streams enrolled in the same minute, for about as many segments, must not be known by it."""
    if permit.until % DAY_S or permit.max_segments.bit_count() != 1:
        raise Refused(errors.BAD_TERMS)


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
