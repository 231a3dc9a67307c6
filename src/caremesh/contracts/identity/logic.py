"""Who acts under a lasting name, and with which key."""

from __future__ import annotations

from typing import Protocol

import msgspec

from caremesh.contracts.identity import errors
from caremesh.contracts.identity.messages import (
    CancelRecovery,
    Deactivate,
    FinishRecovery,
    Kind,
    Recover,
    Register,
    Rotate,
    SetGuardians,
)
from caremesh.contracts.identity.queries import guardian_commitment, is_current_key
from caremesh.contracts.identity.state import (
    GUARDIANS,
    IDENTITIES,
    OWNERS,
    RECOVERIES,
    Guardians,
    Identity,
    Recovery,
)
from caremesh.crypto import signatures
from caremesh.errors import Refused
from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader, View
from caremesh.types import Did, Height, Multikey, Seconds


class Needs(Protocol):
    """What this contract needs of others."""

    def recovery_wait_s(self, reader: Reader, /) -> Seconds:
        """How long the current key may stop a recovery."""
        ...

    def is_stream_key(self, reader: Reader, key: Multikey, /) -> bool:
        """Whether a key serves, or has served, a stream."""
        ...


def register(ctx: Context, msg: Register, needs: Needs) -> None:
    """The first key of a DID signs for it; the sponsor is the enrolling member."""
    if msg.kind == "member":
        raise Refused(errors.WRONG_KIND)
    if not ctx.signed_by(msg.key, msg.did):
        raise Refused(errors.WRONG_SIGNER)
    first = (msg.did, msg.key, msg.kind)
    enrol(ctx.state, *first, chain=ctx.chain, enrolled_by=ctx.sponsor, height=ctx.height, needs=needs)

    ctx.emit("identity/registered", did=msg.did, kind=msg.kind)


def rotate(ctx: Context, msg: Rotate, needs: Needs) -> None:
    """Old and new key both sign, so that nobody can be given a key that is not theirs."""
    identity = _active(ctx.state, msg.did)
    if not ctx.signed_by(identity.key, msg.did) or not ctx.signed_by(msg.key, msg.did):
        raise Refused(errors.WRONG_SIGNER)
    _check_new(ctx.state, msg.key, needs)

    OWNERS.put(ctx.state, msg.did, msg.key)
    _take_over(ctx, identity, msg.key)


def deactivate(ctx: Context, msg: Deactivate) -> None:
    """A DID ends by its own key, but not under the feet of a member: that leaves the mesh."""
    identity = _active(ctx.state, msg.did)
    if identity.kind == "member":
        raise Refused(errors.WRONG_KIND)
    if not ctx.signed_by(identity.key, msg.did):
        raise Refused(errors.WRONG_SIGNER)

    IDENTITIES.put(ctx.state, msgspec.structs.replace(identity, active=False), msg.did.encode())
    RECOVERIES.delete(ctx.state, msg.did.encode())
    ctx.emit("identity/deactivated", did=msg.did)


def set_guardians(ctx: Context, msg: SetGuardians) -> None:
    """The owner of a DID says, without naming them, who together may replace its key."""
    identity = _active(ctx.state, msg.did)
    if not ctx.signed_by(identity.key, msg.did):
        raise Refused(errors.WRONG_SIGNER)
    if msg.commitments != sorted(set(msg.commitments)):
        raise Refused(errors.BAD_GUARDIANS)
    if not min(1, len(msg.commitments)) <= msg.threshold <= len(msg.commitments):
        raise Refused(errors.BAD_GUARDIANS)

    if msg.commitments:
        GUARDIANS.put(ctx.state, Guardians(commitments=msg.commitments, threshold=msg.threshold), msg.did.encode())
    else:
        GUARDIANS.delete(ctx.state, msg.did.encode())
    ctx.emit("identity/guardians-set", did=msg.did)


def recover(ctx: Context, msg: Recover, needs: Needs) -> None:
    """Enough guardians say that the key is lost and which one takes its place; its owner may still object."""
    _active(ctx.state, msg.did)
    if RECOVERIES.get(ctx.state, msg.did.encode()) is not None:
        raise Refused(errors.RECOVERY_WAITING)
    if not ctx.signed_by(msg.key, msg.did):
        raise Refused(errors.WRONG_SIGNER)
    _check_new(ctx.state, msg.key, needs)
    named = GUARDIANS.get(ctx.state, msg.did.encode())
    if named is None:
        raise Refused(errors.THRESHOLD_NOT_MET)
    agreed = {
        proof.guardian
        for proof in msg.guardians
        if guardian_commitment(proof.guardian, proof.salt) in named.commitments
        and any(
            signer.did == proof.guardian and is_current_key(ctx.state, proof.guardian, signer.key)
            for signer in ctx.signers
        )
    }
    if len(agreed) < named.threshold:
        raise Refused(errors.THRESHOLD_NOT_MET)

    ready = ctx.time + needs.recovery_wait_s(ctx.state)
    OWNERS.put(ctx.state, msg.did, msg.key)
    RECOVERIES.put(ctx.state, Recovery(key=msg.key, ready=ready), msg.did.encode())
    ctx.emit("identity/recovery-begun", did=msg.did, ready=ready)


def cancel_recovery(ctx: Context, msg: CancelRecovery) -> None:
    """The current key objects: it is not lost."""
    identity = _active(ctx.state, msg.did)
    if not ctx.signed_by(identity.key, msg.did):
        raise Refused(errors.WRONG_SIGNER)
    _recovery(ctx.state, msg.did)

    RECOVERIES.delete(ctx.state, msg.did.encode())
    ctx.emit("identity/recovery-cancelled", did=msg.did)


def finish_recovery(ctx: Context, msg: FinishRecovery) -> None:
    """Nobody objected: the new key takes over."""
    identity = _active(ctx.state, msg.did)
    recovery = _recovery(ctx.state, msg.did)
    if not ctx.signed_by(recovery.key, msg.did):
        raise Refused(errors.WRONG_SIGNER)
    if ctx.time < recovery.ready:
        raise Refused(errors.WAITING_PERIOD)

    _take_over(ctx, identity, recovery.key)


def enrol(
    state: View,
    did: Did,
    key: Multikey,
    kind: Kind,
    *,
    chain: str,
    enrolled_by: Did,
    height: Height,
    needs: Needs,
) -> None:
    """Write a new DID; used here, by the admission of members, and at genesis. Raises Refused."""
    if IDENTITIES.get(state, did.encode()) is not None:
        raise Refused(errors.ALREADY_REGISTERED)
    _check_new(state, key, needs)
    if did != signatures.did_of(chain, key):
        raise Refused(errors.DID_MISMATCH)

    identity = Identity(
        did=did, key=key, rotation=0, kind=kind, enrolled_by=enrolled_by, registered=height, active=True
    )
    IDENTITIES.put(state, identity, did.encode())
    OWNERS.put(state, did, key)


def _active(reader: Reader, did: Did) -> Identity:
    identity = IDENTITIES.get(reader, did.encode())
    if identity is None:
        raise Refused(errors.NOT_REGISTERED)
    if not identity.active:
        raise Refused(errors.DEACTIVATED)
    return identity


def _recovery(reader: Reader, did: Did) -> Recovery:
    recovery = RECOVERIES.get(reader, did.encode())
    if recovery is None:
        raise Refused(errors.NO_RECOVERY)
    return recovery


def _check_new(reader: Reader, key: Multikey, needs: Needs) -> None:
    """A key that is sound and that nobody has had."""
    signatures.check_key(key)
    if OWNERS.get(reader, key) is not None or needs.is_stream_key(reader, key):
        raise Refused(errors.KEY_REUSED)


def _take_over(ctx: Context, identity: Identity, key: Multikey) -> None:
    """The key acts for the DID from now on; a recovery that waits is over."""
    changed = msgspec.structs.replace(identity, key=key, rotation=identity.rotation + 1)
    IDENTITIES.put(ctx.state, changed, identity.did.encode())
    RECOVERIES.delete(ctx.state, identity.did.encode())
    ctx.emit("identity/rotated", did=identity.did, rotation=changed.rotation)
