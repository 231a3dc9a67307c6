"""Messages of the network contract."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from caremesh.ledger.transactions import Message
from caremesh.types import Count, Did, Seconds

BrakeScope: TypeAlias = Literal["receipts", "all"]
"""``receipts``: no new receipts and no releases; ``all``: nothing but reads, revocations and erasures."""
Reason = Annotated[str, Meta(min_length=1, max_length=200)]


class Params(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the network. Times in seconds."""

    tx_ttl_s: Seconds = 600
    quota: Count = 10_000
    quota_window_s: Seconds = 3_600
    kept_heights: Count = 1_000
    retain_blocks: Count = 1_000_000
    receipt_life_s: Seconds = 900
    audit_years: Count = 6
    max_age_s: Seconds = 30
    deposit_ttl_s: Seconds = 86_400
    batch_min: Count = 16
    batch_wait_s: Seconds = 30


class Authorities(Struct, frozen=True, forbid_unknown_fields=True):
    """Who decides about members, regulations and the brake, and how many of them it takes."""

    dids: list[Did]
    quorum: Count


class SetParams(Message, frozen=True, kw_only=True, tag="network/set-params"):
    """Replace the parameters. Signed by a quorum of the authorities."""

    params: Params


class Brake(Message, frozen=True, kw_only=True, tag="network/brake"):
    """Stop, for a reason, until a time. Signed by a quorum of the authorities."""

    scope: BrakeScope
    reason: Reason
    until: Seconds


class EndBrake(Message, frozen=True, kw_only=True, tag="network/end-brake"):
    """Go on before the brake ends by itself. Signed by a quorum of the authorities."""
