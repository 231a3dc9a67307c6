"""Who orders blocks, between what the ledger decides and what CometBFT is told; and what CometBFT tells of validators.

CometBFT takes changes, not sets, and stops for good at one that it cannot make: a key that is named twice, somebody
removed who is not there, nobody left, too much power. Differences of two sets whose keys are different and of which
neither is empty are none of these, as long as a set's power is below CometBFT's limit. What is told with block H
counts from block H + 2 on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from caremesh.consensus.cometbft.abci_pb2 import (
    DUPLICATE_VOTE,
    LIGHT_CLIENT_ATTACK,
    Misbehavior,
    MisbehaviorType,
    PublicKey,
    RequestFinalizeBlock,
    ValidatorUpdate,
)
from caremesh.crypto.signatures import ED25519_PREFIX
from caremesh.ledger.blocks import Misbehaviour, Validator
from caremesh.types import Multikey

_KINDS: Final[dict[MisbehaviorType, Literal["two-votes", "false-header"]]] = {
    DUPLICATE_VOTE: "two-votes",
    LIGHT_CLIENT_ATTACK: "false-header",
}


def updates(before: Sequence[Validator], after: Sequence[Validator]) -> list[ValidatorUpdate]:
    """What changes one set into the other, in ascending order of keys. Power 0: no longer in it."""
    was = {validator.key: validator.power for validator in before}
    now = {validator.key: validator.power for validator in after}
    changed = sorted(key for key in was | now if was.get(key) != now.get(key))
    return [_update(key, now.get(key, 0)) for key in changed]


def misbehaviour_in(request: RequestFinalizeBlock) -> list[Misbehaviour]:
    """What the block has proof of, in CometBFT's order. What no ledger can write down is left out, at every node."""
    found = (_misbehaviour(row) for row in request.misbehavior)
    return [each for each in found if each is not None]


def _misbehaviour(row: Misbehavior) -> Misbehaviour | None:
    said = {
        "kind": _KINDS.get(row.type),
        "validator": row.validator.address,
        "height": row.height,
        "time": row.time.seconds,
    }
    try:
        return msgspec.convert(said, Misbehaviour, builtin_types=(bytes,))
    except msgspec.ValidationError:
        return None


def _update(key: Multikey, power: int) -> ValidatorUpdate:
    return ValidatorUpdate(pub_key=PublicKey(ed25519=key.removeprefix(ED25519_PREFIX)), power=power)
