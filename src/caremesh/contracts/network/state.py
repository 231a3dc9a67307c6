"""What the network contract keeps: one record of each kind."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from caremesh.contracts.network.messages import Authorities, BrakeScope, Params, Peer, Validator
from caremesh.ledger.comet import Address
from caremesh.ledger.state import Table
from caremesh.types import Count, Did, Height, Seconds


class BrakeState(Struct, frozen=True, forbid_unknown_fields=True):
    """The brake as last pulled; it is on until ``until``."""

    scope: BrakeScope
    reason: str
    until: Seconds


class ValidatorSet(Struct, frozen=True, forbid_unknown_fields=True):
    """Those who order blocks, in ascending order of keys; the engine follows it."""

    validators: list[Validator]


class Former(Struct, frozen=True, forbid_unknown_fields=True):
    """A validator's key in a line of rotations."""

    first: Address
    """Of the first key in the line."""
    given_up: bool
    """Whether another took its place; then it orders no blocks again."""


class Equivocation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a validator was last found to have done, and from which block on it was to order none."""

    member: Did
    kind: Literal["two-votes", "false-header"]
    height: Height
    """The block that it voted on twice, or lied about."""
    removed: Height


class Rules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The version of the rules that counts, and the one that is to follow at a height."""

    version: Count
    following: Count | None = None
    height: Height = 0


class Conversion(Struct, frozen=True, forbid_unknown_fields=True):
    """The last block that one key orders, and where those are reached who order the next ones."""

    height: Height
    peers: list[Peer]


PARAMS: Final = Table(b"network/params/", Params)
AUTHORITIES: Final = Table(b"network/authorities/", Authorities)
BRAKE: Final = Table(b"network/brake/", BrakeState)
VALIDATORS: Final = Table(b"network/validators/", ValidatorSet)
RULES: Final = Table(b"network/rules/", Rules)
CONVERSION: Final = Table(b"network/conversion/", Conversion)
FORMER: Final = Table(b"network/former/", Former)
"""By address: every key that took part in a rotation."""
EQUIVOCATIONS: Final = Table(b"network/equivocation/", Equivocation)
"""By the address of the first key in a validator's line."""
