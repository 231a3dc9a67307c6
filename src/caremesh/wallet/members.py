"""Members as a wallet looks them up: they must be there and active."""

from __future__ import annotations

from caremesh.contracts.members import queries
from caremesh.contracts.members.queries import Member
from caremesh.errors import Refused
from caremesh.ledger.state import Reader
from caremesh.types import Did
from caremesh.wallet.errors import MEMBER_INACTIVE, UNKNOWN_MEMBER


def active_member(reader: Reader, did: Did) -> Member:
    """An active member. Raises Refused wallet.13, wallet.14."""
    member = queries.member(reader, did)
    if member is None:
        raise Refused(UNKNOWN_MEMBER, did)
    if member.status != "active":
        raise Refused(MEMBER_INACTIVE, did)
    return member
