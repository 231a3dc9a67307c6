"""What the network contract keeps: one record of each kind."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from caremesh.contracts.network.messages import Authorities, BrakeScope, Params
from caremesh.ledger.state import Table
from caremesh.types import Seconds


class BrakeState(Struct, frozen=True, forbid_unknown_fields=True):
    """The brake as last pulled; it is on until ``until``."""

    scope: BrakeScope
    reason: str
    until: Seconds


PARAMS: Final = Table(b"network/params/", Params)
AUTHORITIES: Final = Table(b"network/authorities/", Authorities)
BRAKE: Final = Table(b"network/brake/", BrakeState)
