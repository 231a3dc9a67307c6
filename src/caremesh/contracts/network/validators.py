"""Who orders blocks: named by the authorities, each with a key that its member replaces, and none that signs twice.

The engine follows this set from the second block after a change on, and cannot follow it to nobody: what would leave
none is not done, and said. A validator is known by the line of its keys, so that a rotation hides nothing.
"""

from __future__ import annotations

from msgspec import structs

from caremesh.contracts.network import errors, messages
from caremesh.contracts.network.logic import Needs, is_quorum
from caremesh.contracts.network.queries import validators as those_of
from caremesh.contracts.network.state import (
    EQUIVOCATIONS,
    FORMER,
    VALIDATORS,
    Equivocation,
    Former,
    ValidatorSet,
)
from caremesh.crypto import signatures
from caremesh.errors import Refused
from caremesh.ledger.blocks import Misbehaviour
from caremesh.ledger.comet import Address, address_of
from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader, View
from caremesh.types import Did, Multikey


def set_validators(ctx: Context, msg: messages.SetValidators, needs: Needs) -> None:
    """The authorities say who orders blocks."""
    if not is_quorum(ctx.state, ctx.signers, needs):
        raise Refused(errors.NO_QUORUM)
    put_validators(ctx.state, msg.validators, needs)

    ctx.emit("network/validators-set", count=len(msg.validators))


def put_validators(state: View, validators: list[messages.Validator], needs: Needs) -> None:
    """Write a set of validators; used here and at genesis, where an engine that one key orders has none.

    Raises Refused network.06, network.14, signatures.01, signatures.02.
    """
    keys = [validator.key for validator in validators]
    if keys != sorted(set(keys)) or not all(
        needs.is_active_member(state, validator.member) for validator in validators
    ):
        raise Refused(errors.BAD_VALIDATORS)
    for key in keys:
        signatures.check_key(key)
        known = FORMER.get(state, address_of(key))
        if known is not None and known.given_up:
            raise Refused(errors.VALIDATOR_KEY_USED)

    VALIDATORS.put(state, ValidatorSet(validators))


def rotate(ctx: Context, msg: messages.RotateValidator, needs: Needs) -> None:
    """A member replaces the key of its validator, which keeps its power; the new key shows that somebody has it."""
    now = those_of(ctx.state)
    if not any(each.key == msg.old and each.member == ctx.sponsor for each in now):
        raise Refused(errors.NOT_ITS_VALIDATOR)
    if not ctx.signed_by(msg.new, ctx.sponsor):
        raise Refused(errors.NEW_KEY_MISSING)
    signatures.check_key(msg.new)
    if _is_used(ctx.state, msg.new, now) or needs.is_known_key(ctx.state, msg.new):
        raise Refused(errors.VALIDATOR_KEY_USED)

    first = first_of(ctx.state, address_of(msg.old))
    FORMER.put(ctx.state, Former(first, given_up=True), address_of(msg.old))
    FORMER.put(ctx.state, Former(first, given_up=False), address_of(msg.new))
    changed = [structs.replace(each, key=msg.new) if each.key == msg.old else each for each in now]
    VALIDATORS.put(ctx.state, ValidatorSet(sorted(changed, key=lambda each: each.key)))
    ctx.emit("network/validator-rotated", member=ctx.sponsor, old=msg.old, new=msg.new)


def drop_member(ctx: Context, member: Did) -> None:
    """A member that no longer acts orders no blocks either, unless nobody would be left who does."""
    now = those_of(ctx.state)
    left = [each for each in now if each.member != member]
    if len(left) == len(now):
        return
    if not left:
        ctx.emit("network/validators-kept", member=member)
        return

    VALIDATORS.put(ctx.state, ValidatorSet(left))
    ctx.emit("network/validators-dropped", member=member, count=len(now) - len(left))


def equivocated(ctx: Context, found: Misbehaviour) -> None:
    """There is proof that a validator signed what it must not: it orders no blocks until the authorities name it again.

    Proof of what it did before it was last removed changes nothing: it is of the same time, or too late.
    """
    first = first_of(ctx.state, found.validator)
    now = those_of(ctx.state)
    guilty = [each for each in now if first_of(ctx.state, address_of(each.key)) == first]
    before = EQUIVOCATIONS.get(ctx.state, first)
    if not guilty or (before is not None and found.height <= before.removed + 1):  # the block after is its last
        return

    known = Equivocation(member=guilty[0].member, kind=found.kind, height=found.height, removed=ctx.height)
    EQUIVOCATIONS.put(ctx.state, known, first)
    left = [each for each in now if each not in guilty]
    if left:
        VALIDATORS.put(ctx.state, ValidatorSet(left))
    ctx.emit(
        "network/equivocated",
        member=known.member,
        key=guilty[0].key,
        kind=found.kind,
        at=found.height,
        removed=int(bool(left)),
    )


def first_of(reader: Reader, address: Address) -> Address:
    """The address of the first key in the line of rotations that this one is in."""
    known = FORMER.get(reader, address)
    return address if known is None else known.first


def _is_used(reader: Reader, key: Multikey, now: list[messages.Validator]) -> bool:
    """Whether a key orders blocks, has done so under a rotation, or was found to have signed twice."""
    address = address_of(key)
    return (
        any(each.key == key for each in now)
        or FORMER.get(reader, address) is not None
        or EQUIVOCATIONS.get(reader, address) is not None
    )
