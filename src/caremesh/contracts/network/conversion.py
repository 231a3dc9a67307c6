"""From one who orders blocks to several who do it together: decided for a height, done by the engines (ADR 0120)."""

from __future__ import annotations

from caremesh.contracts.network import errors, messages
from caremesh.contracts.network.logic import Needs, is_quorum
from caremesh.contracts.network.state import CONVERSION, Conversion
from caremesh.contracts.network.validators import put_validators
from caremesh.errors import Refused
from caremesh.ledger.machine import Context
from caremesh.ledger.succession import SUCCESSION


def convert(ctx: Context, msg: messages.Convert, needs: Needs) -> None:
    """The authorities set the last block that one key orders, and who order those after it."""
    if not is_quorum(ctx.state, ctx.signers, needs):
        raise Refused(errors.NO_QUORUM)
    if SUCCESSION.get(ctx.state) is not None:
        raise Refused(errors.CONVERTED)
    if msg.height <= ctx.height:
        raise Refused(errors.TOO_EARLY)
    put_validators(ctx.state, msg.validators, needs)

    CONVERSION.put(ctx.state, Conversion(msg.height, msg.peers))
    ctx.emit("network/conversion-set", height=msg.height, count=len(msg.validators))


def cancel(ctx: Context, msg: messages.CancelConvert, needs: Needs) -> None:
    """The authorities call it off: one key goes on ordering. Who was named stays named, and is not asked."""
    del msg
    if not is_quorum(ctx.state, ctx.signers, needs):
        raise Refused(errors.NO_QUORUM)
    if SUCCESSION.get(ctx.state) is not None:
        raise Refused(errors.CONVERTED)
    if CONVERSION.get(ctx.state) is None:
        raise Refused(errors.NO_CONVERSION)

    CONVERSION.delete(ctx.state)
    ctx.emit("network/conversion-cancelled")
