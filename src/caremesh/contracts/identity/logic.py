"""Who acts under a lasting name, and with which key."""

from __future__ import annotations

import msgspec

from caremesh.contracts.identity import errors
from caremesh.contracts.identity.messages import Deactivate, Kind, Register, Rotate
from caremesh.contracts.identity.state import IDENTITIES, OWNERS, Identity
from caremesh.crypto import signatures
from caremesh.errors import Refused
from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader, View
from caremesh.types import Did, Height, Multikey


def register(ctx: Context, msg: Register) -> None:
    """The first key of a DID signs for it; the sponsor is the enrolling member."""
    if msg.kind == "member":
        raise Refused(errors.WRONG_KIND)
    if not ctx.signed_by(msg.key, msg.did):
        raise Refused(errors.WRONG_SIGNER)
    enrol(ctx.state, msg.did, msg.key, msg.kind, enrolled_by=ctx.sponsor, height=ctx.height)

    ctx.emit("identity/registered", did=msg.did, kind=msg.kind)


def rotate(ctx: Context, msg: Rotate) -> None:
    """Old and new key both sign, so that nobody can be given a key that is not theirs."""
    identity = _active(ctx.state, msg.did)
    if not ctx.signed_by(identity.key, msg.did) or not ctx.signed_by(msg.key, msg.did):
        raise Refused(errors.WRONG_SIGNER)
    signatures.check_key(msg.key)
    if OWNERS.get(ctx.state, msg.key) is not None:
        raise Refused(errors.KEY_REUSED)

    OWNERS.put(ctx.state, msg.did, msg.key)
    changed = msgspec.structs.replace(identity, key=msg.key, rotation=identity.rotation + 1)
    IDENTITIES.put(ctx.state, changed, msg.did.encode())
    ctx.emit("identity/rotated", did=msg.did, rotation=changed.rotation)


def deactivate(ctx: Context, msg: Deactivate) -> None:
    """A DID ends by its own key."""
    identity = _active(ctx.state, msg.did)
    if not ctx.signed_by(identity.key, msg.did):
        raise Refused(errors.WRONG_SIGNER)

    IDENTITIES.put(ctx.state, msgspec.structs.replace(identity, active=False), msg.did.encode())
    ctx.emit("identity/deactivated", did=msg.did)


def enrol(state: View, did: Did, key: Multikey, kind: Kind, *, enrolled_by: Did, height: Height) -> None:
    """Write a new DID; used here, by the admission of members, and at genesis."""
    signatures.check_key(key)
    if IDENTITIES.get(state, did.encode()) is not None:
        raise Refused(errors.ALREADY_REGISTERED)
    if OWNERS.get(state, key) is not None:
        raise Refused(errors.KEY_REUSED)
    if did != signatures.did_of(did.split(":")[2], key):
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
