"""Messages of the policy contract, and the policy set that they and the genesis document carry."""

from __future__ import annotations

from typing import Annotated

import msgspec

from caremesh.contracts.policy.acceptance import PolicyTest
from caremesh.contracts.policy.request import AccessRequest, GrantRequest
from caremesh.ledger.transactions import Message
from caremesh.types import Code, CountryCode, Did, Height, Seconds

__all__ = ["Adopt", "Approve", "PolicySet", "PolicySetId", "Retire", "Withdraw"]

PolicySetId = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
"""The lasting name of a set, for example ``gdpr``; its versions follow one another under it."""


class PolicySet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version of a policy set with everything that shows what it does."""

    set: PolicySetId
    jurisdictions: list[CountryCode]
    """Where it applies, in alphabetical order; none means everywhere."""
    text: str
    """Cedar policies, at most 48 KiB, each with ``@id``, ``@legal`` and ``@sentence``."""
    access: AccessRequest
    grant: GrantRequest
    """The base requests that the tests change."""
    tests: Annotated[list[PolicyTest], msgspec.Meta(max_length=256)]


class Adopt(Message, frozen=True, tag="policy/adopt"):
    """From a later block on, this text is the law under this name. Signed by a quorum of the authorities."""

    rules: PolicySet
    effective: Height


class Retire(Message, frozen=True, tag="policy/retire"):
    """From a later block on, there is no law under this name. Signed by a quorum of the authorities."""

    set: PolicySetId
    effective: Height


class Approve(Message, frozen=True, kw_only=True, tag="policy/approve"):
    """What a competent body has approved of a member counts until a day; sent again, that day changes.

    Signed by a quorum of the authorities.
    """

    member: Did
    approval: Code
    """One of ``vocabulary.APPROVALS``."""
    until: Seconds
    """A whole day; the first second after."""


class Withdraw(Message, frozen=True, kw_only=True, tag="policy/withdraw"):
    """An approval of a member no longer counts. Signed by a quorum of the authorities."""

    member: Did
    approval: Code
