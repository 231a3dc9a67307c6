"""What the network contract keeps: one record of each kind."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from caremesh.contracts.network.messages import Authorities, BrakeScope, Params, Validator
from caremesh.ledger.state import Table
from caremesh.types import Count, Height, Seconds


class BrakeState(Struct, frozen=True, forbid_unknown_fields=True):
    """The brake as last pulled; it is on until ``until``."""

    scope: BrakeScope
    reason: str
    until: Seconds


class ValidatorSet(Struct, frozen=True, forbid_unknown_fields=True):
    """Those who order blocks, in ascending order of keys; the engine follows it."""

    validators: list[Validator]


class Rules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The version of the rules that counts, and the one that is to follow at a height."""

    version: Count
    following: Count | None = None
    height: Height = 0


PARAMS: Final = Table(b"network/params/", Params)
AUTHORITIES: Final = Table(b"network/authorities/", Authorities)
BRAKE: Final = Table(b"network/brake/", BrakeState)
VALIDATORS: Final = Table(b"network/validators/", ValidatorSet)
RULES: Final = Table(b"network/rules/", Rules)
