"""The Cedar schema of the policy sets on the ledger: every attribute is required, every code is enumerated.

A policy that misspells an attribute, an action, a role, a basis or an approval does not validate; a request that
lacks an attribute or uses an unknown code is no request. Purposes form a hierarchy (``context.purpose in
Purpose::"TREAT"``), which Cedar's enumerated types cannot hold, so ``engine`` checks their spelling itself.

Requester and stream are nameless placeholders: a policy can tell nothing about who they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from caremesh.contracts.policy.vocabulary import (
    ACTIONS,
    APPROVALS,
    LEGAL_BASES,
    MEMBER_ROLES,
    PURPOSES,
    REQUESTER_ROLES,
)

__all__ = ["ACCESS_ATTRIBUTES", "GRANT_ATTRIBUTES", "SCHEMA", "actions", "enumerated", "purpose_entities"]

GRANT_ATTRIBUTES: Final[dict[str, str]] = {
    "purpose": "Purpose",
    "member_roles": "Set<MemberRole>",
    "source_jurisdiction": "String",
    "grantee_jurisdiction": "String",
    "explicit": "Bool",
    "entire": "Bool",
    "approvals": "Set<Approval>",
    "at": "Long",
    "starts": "Long",
    "ends": "Long",
}
"""Attribute of a grant's context → its Cedar type."""

ACCESS_ATTRIBUTES: Final[dict[str, str]] = GRANT_ATTRIBUTES | {
    "legal_basis": "Set<LegalBasis>",
    "requester_roles": "Set<RequesterRole>",
    "asserted": "Bool",
    "licensed": "Bool",
    "break_glass": "Bool",
    "restricted": "Bool",
    "objected": "Bool",
}
"""Attribute of an access's context → its Cedar type."""


def enumerated(name: str, codes: Sequence[str]) -> str:
    """Cedar text of an enumerated entity type."""
    listed = ", ".join(f'"{code}"' for code in codes)
    return f"entity {name} enum [{listed}];"


def actions(group: str, prefix: str, attributes: dict[str, str]) -> str:
    """Cedar text of the actions of a group, each asked with the same attributes."""
    names = ", ".join(f'"{prefix}{action}"' for action in ACTIONS)
    fields = ", ".join(f"{name}: {kind}" for name, kind in attributes.items())
    return (
        f'action "{group}";\naction {names} in ["{group}"] appliesTo '
        f"{{ principal: [Requester], resource: [Stream], context: {{ {fields} }} }};"
    )


SCHEMA: Final = "\n".join(
    (
        "entity Requester;",
        "entity Stream;",
        "entity Purpose in [Purpose];",
        enumerated("MemberRole", MEMBER_ROLES),
        enumerated("RequesterRole", REQUESTER_ROLES),
        enumerated("LegalBasis", LEGAL_BASES),
        enumerated("Approval", APPROVALS),
        actions("access", "", ACCESS_ATTRIBUTES),
        actions("grant", "grant-", GRANT_ATTRIBUTES),
    )
)
"""Actions are ``read``, … in the group ``access``, and ``grant-read``, … in the group ``grant``."""


def purpose_entities() -> list[dict[str, object]]:
    """The hierarchy of purposes as Cedar entities: the only entities that exist."""
    return [
        {
            "uid": {"type": "Purpose", "id": purpose},
            "attrs": {},
            "parents": [{"type": "Purpose", "id": parent} for parent in parents],
        }
        for purpose, parents in PURPOSES.items()
    ]
