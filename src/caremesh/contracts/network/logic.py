"""How the network is run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from caremesh.contracts.network import errors, messages
from caremesh.contracts.network.queries import brake
from caremesh.contracts.network.state import AUTHORITIES, BRAKE, PARAMS, BrakeState
from caremesh.errors import Refused
from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Signer
from caremesh.types import DAY_S, Did, Multikey, Seconds

MAX_BRAKE_S: Final[Seconds] = 7 * DAY_S


class Needs(Protocol):
    """What this contract needs of others."""

    def is_current_key(self, reader: Reader, did: Did, key: Multikey, /) -> bool:
        """Whether a key acts for a DID now."""
        ...


def is_quorum(reader: Reader, signers: Sequence[Signer], needs: Needs) -> bool:
    """Whether enough authorities have signed, each under its current key, each counted once."""
    authorities = AUTHORITIES.get(reader)
    if authorities is None:
        return False
    signed = {
        signer.did
        for signer in signers
        if signer.did in authorities.dids and needs.is_current_key(reader, signer.did, signer.key)
    }
    return len(signed) >= authorities.quorum


def set_params(ctx: Context, msg: messages.SetParams, needs: Needs) -> None:
    """The authorities change the parameters."""
    if not is_quorum(ctx.state, ctx.signers, needs):
        raise Refused(errors.NO_QUORUM)
    check_params(msg.params)

    PARAMS.put(ctx.state, msg.params)
    ctx.emit("network/params-set")


def check_params(params: messages.Params) -> None:
    """Ranges within which the network works at all. Raises Refused network.02."""
    if not (
        60 <= params.tx_ttl_s <= DAY_S
        and params.quota > 0
        and params.quota_window_s > 0
        and 1 <= params.kept_heights <= params.retain_blocks
        and 60 <= params.receipt_life_s <= DAY_S
        and params.audit_years >= 3  # EHDS Art. 9 asks for three years
        and 10 <= params.max_age_s <= 3_600
        and params.deposit_ttl_s >= 600
        and params.batch_min >= 1
    ):
        raise Refused(errors.BAD_PARAMS)


def pull_brake(ctx: Context, msg: messages.Brake, needs: Needs) -> None:
    """The authorities stop the network, for a reason; it ends by itself."""
    if not is_quorum(ctx.state, ctx.signers, needs):
        raise Refused(errors.NO_QUORUM)
    if not ctx.time < msg.until <= ctx.time + MAX_BRAKE_S:
        raise Refused(errors.BRAKE_TOO_LONG)

    BRAKE.put(ctx.state, BrakeState(msg.scope, msg.reason, msg.until))
    ctx.emit("network/brake-on", scope=msg.scope, until=msg.until)


def end_brake(ctx: Context, msg: messages.EndBrake, needs: Needs) -> None:
    """The authorities let the network go on."""
    del msg
    if not is_quorum(ctx.state, ctx.signers, needs):
        raise Refused(errors.NO_QUORUM)
    if brake(ctx.state, ctx.time) is None:
        raise Refused(errors.BRAKE_NOT_ON)

    BRAKE.delete(ctx.state)
    ctx.emit("network/brake-off")
