"""How the network is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

from caremesh.contracts.network import errors, messages
from caremesh.contracts.network.queries import brake, rules
from caremesh.contracts.network.state import (
    AUTHORITIES,
    BRAKE,
    PARAMS,
    RULES,
    BrakeState,
    Rules,
)
from caremesh.errors import Refused, Unavailable
from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader, View
from caremesh.ledger.transactions import Signer
from caremesh.types import DAY_S, Count, Did, Multikey, Seconds

MAX_BRAKE_S: Final[Seconds] = 7 * DAY_S
MAX_TX_BYTES: Final = 2**20
MAX_BLOCK_BYTES: Final = 2**24

Migration: TypeAlias = Callable[[View], None]
"""What turns the state of one version of the rules into that of the next."""


class Needs(Protocol):
    """What this contract needs of others."""

    def is_current_key(self, reader: Reader, did: Did, key: Multikey, /) -> bool:
        """Whether a key acts for a DID now."""
        ...

    def is_known_key(self, reader: Reader, key: Multikey, /) -> bool:
        """Whether a key is, or was, that of a DID or a stream."""
        ...

    def is_active_member(self, reader: Reader, did: Did, /) -> bool:
        """Whether a member may act now."""
        ...


def is_quorum(reader: Reader, signers: Sequence[Signer], needs: Needs) -> bool:
    """Whether enough authorities have signed, each an active member, under its current key, counted once."""
    authorities = AUTHORITIES.get(reader)
    if authorities is None:
        return False
    signed = {
        signer.did
        for signer in signers
        if signer.did in authorities.dids
        and needs.is_active_member(reader, signer.did)
        and needs.is_current_key(reader, signer.did, signer.key)
    }
    return len(signed) >= authorities.quorum


def quorum_without(reader: Reader, did: Did, needs: Needs) -> bool:
    """Whether a quorum of active authorities would be left without this member."""
    authorities = AUTHORITIES.get(reader)
    if authorities is None:
        return False
    others = [other for other in authorities.dids if other != did and needs.is_active_member(reader, other)]
    return len(others) >= authorities.quorum


def set_authorities(ctx: Context, msg: messages.SetAuthorities, needs: Needs) -> None:
    """The authorities hand over, in whole or in part."""
    if not is_quorum(ctx.state, ctx.signers, needs):
        raise Refused(errors.NO_QUORUM)
    put_authorities(ctx.state, msg.authorities, needs)

    ctx.emit("network/authorities-set", count=len(msg.authorities.dids), quorum=msg.authorities.quorum)


def put_authorities(state: View, authorities: messages.Authorities, needs: Needs) -> None:
    """Write who decides; used here and at genesis. Raises Refused network.11."""
    dids = authorities.dids
    if (
        len(set(dids)) != len(dids)
        or not 1 <= authorities.quorum <= len(dids)
        or not all(needs.is_active_member(state, did) for did in dids)
    ):
        raise Refused(errors.BAD_AUTHORITIES)

    AUTHORITIES.put(state, authorities)


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
        and params.quota >= 1
        and 1 <= params.quota_window_s <= DAY_S
        and 1 <= params.kept_heights <= params.retain_blocks
        and 60 <= params.receipt_life_s <= DAY_S
        and 16_384 <= params.max_tx_bytes <= MAX_TX_BYTES
        and params.max_tx_bytes <= params.max_block_bytes <= MAX_BLOCK_BYTES
        and 1 <= params.max_tx_messages <= 1_024
        and 3 <= params.audit_years <= 100  # EHDS Art. 9 asks for three years
        and 10 <= params.max_age_s <= 3_600
        and params.deposit_ttl_s >= 600
        and 1 <= params.replicas <= 100
        and params.batch_min >= 1
        and params.batch_wait_s < params.tx_ttl_s  # what waits for company does not expire of it
        and DAY_S <= params.recovery_wait_s <= 90 * DAY_S
        and DAY_S <= params.answer_s <= 92 * DAY_S
        and DAY_S <= params.review_s <= 92 * DAY_S
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


def upgrade(ctx: Context, msg: messages.Upgrade, needs: Needs) -> None:
    """The authorities set the height from which the next version of the rules counts."""
    if not is_quorum(ctx.state, ctx.signers, needs):
        raise Refused(errors.NO_QUORUM)
    now = rules(ctx.state)
    if msg.version != now.version + 1:
        raise Refused(errors.WRONG_VERSION)
    if msg.height <= ctx.height:
        raise Refused(errors.TOO_EARLY)

    RULES.put(ctx.state, Rules(version=now.version, following=msg.version, height=msg.height))
    ctx.emit("network/upgrade-set", version=msg.version, height=msg.height)


def cancel_upgrade(ctx: Context, msg: messages.CancelUpgrade, needs: Needs) -> None:
    """The authorities call an upgrade off."""
    del msg
    if not is_quorum(ctx.state, ctx.signers, needs):
        raise Refused(errors.NO_QUORUM)
    now = rules(ctx.state)
    if now.following is None:
        raise Refused(errors.NO_UPGRADE)

    RULES.put(ctx.state, Rules(version=now.version))
    ctx.emit("network/upgrade-cancelled", version=now.following)


def migrate(ctx: Context, migrations: Mapping[Count, Migration]) -> None:
    """Before the first message at an upgrade's height takes effect, bring the state to the new rules.

    Raises Unavailable network.10 when this software lacks them: that stops the ledger here, before anything is
    committed, rather than letting it go on under rules that no longer count.
    """
    now = rules(ctx.state)
    if now.following is None or ctx.height < now.height:
        return
    bring_to(ctx.state, migrations, now.following)
    ctx.emit("network/upgraded", version=now.following)


def bring_to(state: View, migrations: Mapping[Count, Migration], version: Count) -> None:
    """Turn the state into that of a version of the rules. Raises Unavailable network.10 when they are not here."""
    migration = migrations.get(version)
    if migration is None:
        raise Unavailable(errors.UNKNOWN_RULES, str(version))

    migration(state)
    RULES.put(state, Rules(version=version))
