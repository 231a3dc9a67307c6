"""Whether records of a kind may be granted or opened for something: what wallet and gateway ask before the ledger."""

from __future__ import annotations

from functools import cache

from caremesh.contracts.policy import categories
from caremesh.contracts.policy.categories import CategoryRequest, CategorySet
from caremesh.contracts.policy.request import Decision
from caremesh.types import Code, CountryCode


def may_be_read(
    *,
    category: Code,
    action: Code,
    purpose: Code,
    roles: list[Code],
    approvals: list[Code],
    places: tuple[CountryCode, CountryCode],
    explicit: bool,
    originator: bool,
    licensed: bool,
) -> Decision:
    """What the shipped sets answer.

    ``roles``, ``approvals``: of the member that is to read; ``places``: the source's and its own.

    ``originator``: it wrote these records itself. Notes kept apart and emergencies have rules of their own.
    """
    request = CategoryRequest(
        action=action,
        category=category,
        psychotherapy_notes=False,
        originator=originator,
        purpose=purpose,
        member_roles=roles,
        approvals=approvals,
        source_jurisdiction=places[0],
        grantee_jurisdiction=places[1],
        explicit=explicit,
        break_glass=False,
        licensed=licensed,
    )
    return categories.decide(_sets(), request)


@cache
def _sets() -> tuple[CategorySet, ...]:
    return tuple(categories.shipped())
