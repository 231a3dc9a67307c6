"""Messages of the network contract."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from caremesh.ledger.transactions import Message
from caremesh.types import Count, Did, Height, Multikey, Seconds

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
    max_tx_bytes: Count = 65_536
    max_tx_messages: Count = 64
    max_block_bytes: Count = 2**20
    audit_years: Count = 6
    max_age_s: Seconds = 30
    deposit_ttl_s: Seconds = 86_400
    replicas: Count = 3
    """How many members hold a segment's blocks before it is registered."""
    batch_min: Count = 16
    batch_wait_s: Seconds = 30
    recovery_wait_s: Seconds = 259_200
    """How long the current key may stop a recovery by guardians."""
    answer_s: Seconds = 2_592_000
    """Within which a member answers a dispute (GDPR Art. 12(3): one month)."""
    review_s: Seconds = 604_800
    """Within which an emergency access is reviewed."""


class Authorities(Struct, frozen=True, forbid_unknown_fields=True):
    """Who decides about members, regulations and the brake, and how many of them it takes."""

    dids: Annotated[list[Did], Meta(max_length=100)]
    quorum: Count


class Validator(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node that orders blocks. ``key``: of its engine; ``power``: its weight in votes."""

    member: Did
    key: Multikey
    power: Annotated[int, Meta(ge=1, le=2**40)]


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


class SetAuthorities(Message, frozen=True, kw_only=True, tag="network/set-authorities"):
    """Replace those who decide. Signed by a quorum of the authorities that they replace."""

    authorities: Authorities


class SetValidators(Message, frozen=True, kw_only=True, tag="network/set-validators"):
    """Replace those who order blocks. Signed by a quorum of the authorities."""

    validators: Annotated[list[Validator], Meta(min_length=1, max_length=100)]
    """In ascending order of keys."""


class RotateValidator(Message, frozen=True, kw_only=True, tag="network/rotate-validator"):
    """Replace the key of a member's own validator. Signed by the new key in the member's name, and by the member."""

    old: Multikey
    new: Multikey


class Upgrade(Message, frozen=True, kw_only=True, tag="network/upgrade"):
    """From a later block on, the next version of the rules counts. Signed by a quorum of the authorities."""

    version: Count
    height: Height


class CancelUpgrade(Message, frozen=True, kw_only=True, tag="network/cancel-upgrade"):
    """Call an upgrade off before its height. Signed by a quorum of the authorities."""


class Peer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the node of a member is reached by others that order blocks: ``id@host:port``."""

    member: Did
    address: Annotated[str, Meta(pattern=r"^[0-9a-f]{40}@[A-Za-z0-9.\[\]:_-]{1,253}:[0-9]{1,5}\Z")]


class Convert(Message, frozen=True, kw_only=True, tag="network/convert"):
    """After a later block these order blocks together, on a new chain. Signed by a quorum of the authorities."""

    height: Height
    """Of the last block that one key orders."""
    validators: Annotated[list[Validator], Meta(min_length=1, max_length=100)]
    """In ascending order of keys."""
    peers: Annotated[list[Peer], Meta(max_length=100)]


class CancelConvert(Message, frozen=True, kw_only=True, tag="network/cancel-convert"):
    """Call that off before its height. Signed by a quorum of the authorities."""
