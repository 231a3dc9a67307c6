"""Rules about kinds of records, for wallet and gateway. Nothing of this touches the ledger, which knows no category.

The engine is the same, the vocabulary is not: here, and only here, a policy sees a category. A wallet asks before it
makes a grant, a gateway before it opens or passes on; each has the sets of the places concerned, as files.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Final

import msgspec

from caremesh.contracts.policy.engine import ParsedSet, Question, Rules
from caremesh.contracts.policy.request import Decision
from caremesh.contracts.policy.schema import actions, enumerated
from caremesh.contracts.policy.vocabulary import ACTIONS, APPROVALS, MEMBER_ROLES, PURPOSES
from caremesh.types import Code, CountryCode

__all__ = ["CATEGORIES", "RULES", "SHIPPED", "CategoryRequest", "CategorySet", "CategoryTest", "decide", "shipped"]

CATEGORIES: Final = (
    "allergies",
    "care-plans",
    "claims",
    "conditions",
    "demographics",
    "devices-wearables",
    "documents",
    "encounters",
    "genetics",
    "hiv",
    "imaging",
    "immunizations",
    "laboratory",
    "medications",
    "mental-health",
    "procedures",
    "reproductive-health",
    "substance-use",
    "unclassified",
    "violence-abuse",
    "vital-signs",
)

_ATTRIBUTES: Final[dict[str, str]] = {
    "category": "Category",
    "psychotherapy_notes": "Bool",
    "originator": "Bool",
    "purpose": "Purpose",
    "member_roles": "Set<MemberRole>",
    "approvals": "Set<Approval>",
    "explicit": "Bool",
    "break_glass": "Bool",
    "licensed": "Bool",
}

RULES: Final = Rules(
    "\n".join(
        (
            "entity Requester;",
            "entity Stream;",
            "entity Purpose in [Purpose];",
            enumerated("Category", CATEGORIES),
            enumerated("MemberRole", MEMBER_ROLES),
            enumerated("Approval", APPROVALS),
            actions("access", "", _ATTRIBUTES),
        )
    ),
    dict.fromkeys(ACTIONS, _ATTRIBUTES),
    {
        "Purpose": PURPOSES,
        "Category": dict.fromkeys(CATEGORIES),
        "MemberRole": dict.fromkeys(MEMBER_ROLES),
        "Approval": dict.fromkeys(APPROVALS),
    },
)


class CategoryRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """May records of this kind be opened, or granted, for this?"""

    action: Code
    category: Code
    psychotherapy_notes: bool
    """Notes of a mental health professional kept apart from the record (45 CFR 164.501)."""
    originator: bool
    """The member that asks wrote these records itself."""
    purpose: Code
    member_roles: list[Code]
    approvals: list[Code]
    source_jurisdiction: CountryCode
    grantee_jurisdiction: CountryCode
    explicit: bool
    break_glass: bool
    licensed: bool


class CategoryTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For one policy: what differs from the base request in one that it decides and in one that it leaves alone."""

    policy: Code
    flips: dict[str, bool | str | list[str]]
    leaves: dict[str, bool | str | list[str]]


class _Beside(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    title: str
    jurisdictions: list[CountryCode]
    request: CategoryRequest
    tests: list[CategoryTest]


class CategorySet(msgspec.Struct, frozen=True):
    """A set with the places where it applies (none: everywhere) and its tests."""

    name: str
    jurisdictions: list[CountryCode]
    parsed: ParsedSet
    request: CategoryRequest
    tests: list[CategoryTest]


SHIPPED: Final = ("us-gina", "us-notes", "us-part2", "sensitive")


def shipped() -> list[CategorySet]:
    """The sets that come with the project. Raises Refused policy.03 to policy.08, policy.18 for a damaged file."""
    folder = files(__package__).joinpath("sets", "category")
    found = []
    for name in SHIPPED:
        beside = msgspec.json.decode(folder.joinpath(f"{name}.json").read_bytes(), type=_Beside)
        parsed = RULES.parse(folder.joinpath(f"{name}.cedar").read_text("utf-8"))
        found.append(CategorySet(beside.id, beside.jurisdictions, parsed, beside.request, beside.tests))
    return found


def question(request: CategoryRequest) -> Question:
    """A request as Cedar is asked it."""
    plain = msgspec.to_builtins(request)
    return Question(request.action, {name: plain[name] for name in _ATTRIBUTES})


def decide(sets: Sequence[CategorySet], request: CategoryRequest) -> Decision:
    """Every set that applies to either place is asked alone and all must permit; without a set nothing is permitted."""
    places = (request.source_jurisdiction, request.grantee_jurisdiction)
    permits: list[str] = []
    denials: list[str] = []
    for each in sets:
        if each.jurisdictions and not any(place in each.jurisdictions for place in places):
            continue
        verdict = each.parsed.evaluate(question(request))
        (permits if verdict.permit else denials).extend(f"{each.name}/{reason}" for reason in verdict.reasons)
    if not permits and not denials:
        denials.append("policy/no-set")
    return Decision(permit=not denials, policies=sorted(denials or permits))
