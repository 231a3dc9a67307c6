"""Small laws, each written twice: in Cedar for the ledger, and as a Python condition for the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from caremesh.contracts.policy.acceptance import Changes, PolicyTest
from caremesh.contracts.policy.messages import PolicySet
from caremesh.contracts.policy.request import AccessRequest, GrantRequest
from tests.support.models.facts import LawVersion

Asked = Mapping[str, Any]
_BASE: dict[str, Any] = {
    "height": 0,
    "at": 0,
    "action": "read",
    "purpose": "TREAT",
    "member_roles": ["provider"],
    "source_jurisdiction": "US",
    "grantee_jurisdiction": "US",
    "explicit": True,
    "entire": True,
    "approvals": [],
    "starts": 0,
    "ends": 86_400,
}
GRANT = GrantRequest(**_BASE)
ACCESS = AccessRequest(
    **_BASE,
    legal_basis=[],
    requester_roles=["physician"],
    asserted=False,
    licensed=True,
    break_glass=False,
    restricted=False,
    objected=False,
)


class Rule(NamedTuple):
    """One policy. ``holds``: when it applies to what is asked; ``flips`` and ``leaves``: its tests."""

    effect: str
    ask: str
    cedar: str
    holds: Callable[[Asked], bool]
    flips: Changes
    leaves: Changes


RULES: dict[str, Rule] = {
    "grants": Rule(
        "permit", "grant", 'context.purpose != Purpose::"HMARKT"',
        lambda asked: asked["purpose"] != "HMARKT", {}, {"purpose": "HMARKT"},
    ),
    "accesses": Rule(
        "permit", "access", 'context.purpose != Purpose::"HMARKT"',
        lambda asked: asked["purpose"] != "HMARKT", {}, {"purpose": "HMARKT"},
    ),
    "no-payment": Rule(
        "forbid", "grant", 'context.purpose == Purpose::"HPAYMT"',
        lambda asked: asked["purpose"] == "HPAYMT", {"purpose": "HPAYMT"}, {},
    ),
    "express": Rule(
        "forbid", "grant", "!context.explicit", lambda asked: not asked["explicit"], {"explicit": False}, {},
    ),
    "signed": Rule(
        "forbid", "access", "context.asserted", lambda asked: asked["asserted"], {"asserted": True}, {},
    ),
    "no-glass": Rule(
        "forbid", "access", "context.break_glass", lambda asked: asked["break_glass"], {"break_glass": True}, {},
    ),
    "nurses-no": Rule(
        "forbid", "access", 'context.requester_roles.contains(RequesterRole::"nurse")',
        lambda asked: "nurse" in asked["requester_roles"], {"requester_roles": ["nurse"]}, {},
    ),
}  # fmt: skip

LAWS: dict[str, tuple[str, ...]] = {
    "open": ("grants", "accesses"),
    "unpaid": ("grants", "accesses", "no-payment", "nurses-no"),
    "strict": ("grants", "accesses", "express", "signed", "no-glass"),
    "shut": ("accesses", "signed"),
}
"""Texts of a set, by name: the policies in them."""

BROKEN: dict[str, set[str]] = {
    "no policy": {"policy.04", "policy.05"},
    "a misspelled attribute": {"policy.04"},
    "no sentence": {"policy.06"},
    "a policy without a test": {"policy.13"},
    "a test of nothing": {"policy.10"},
    "a test that does not flip": {"policy.11"},
    "too deep": {"policy.18"},
    "twice the same id": {"policy.07"},
}
"""What may be wrong with a set, and how it is refused."""


def policy_set(name: str, law: str, places: list[str], broken: str = "") -> PolicySet:
    """A set as it is adopted; ``broken`` names what is wrong with it."""
    ids = list(LAWS[law])
    texts = [_cedar(each) for each in ids]
    tests = [PolicyTest(each, RULES[each].ask, RULES[each].flips, RULES[each].leaves) for each in ids]  # type: ignore[arg-type]
    match broken:
        case "no policy":
            texts, tests = [], []
        case "a misspelled attribute":
            texts[0] = texts[0].replace("context.purpose", "context.porpoise")
        case "no sentence":
            texts[0] = texts[0].replace("@sentence", "@remark")
        case "a policy without a test":
            tests = tests[1:]
        case "a test of nothing":
            tests = [*tests, PolicyTest("nothing", "grant", {}, {})]
        case "a test that does not flip":
            tests[0] = PolicyTest(ids[0], tests[0].ask, {"purpose": "HMARKT"}, {"purpose": "HMARKT"})
        case "too deep":
            texts[0] = texts[0].replace("context.purpose", "(" * 9 + "context.purpose" + ")" * 9)
        case "twice the same id":
            texts = [*texts, texts[0]]
    return PolicySet(set=name, jurisdictions=places, text="\n".join(texts), access=ACCESS, grant=GRANT, tests=tests)


def verdict(law: str, ask: str, asked: Asked) -> tuple[bool, list[str]]:
    """What one set says: a prohibition wins over a permission, and silence is a denial."""
    hits = [name for name in LAWS[law] if RULES[name].ask == ask and RULES[name].holds(asked)]
    forbids = sorted(name for name in hits if RULES[name].effect == "forbid")
    permits = sorted(name for name in hits if RULES[name].effect == "permit")
    if forbids:
        return False, forbids
    return bool(permits), permits or ["no-permit"]


def _cedar(name: str) -> str:
    rule = RULES[name]
    group = f'Action::"{rule.ask}"'
    return (
        f'@id("{name}") @legal("Model {name}") @sentence("As the model says.")\n'
        f"{rule.effect} (principal, action in {group}, resource) when {{ {rule.cedar} }};"
    )


def says(laws: Mapping[str, list[LawVersion]], height: int, ask: str, asked: Asked) -> tuple[bool, list[str]]:
    """What all sets in force say together: both places need a law of their own, and every set must permit."""
    counting = [
        (name, version)
        for name, versions in sorted(laws.items())
        for version in versions
        if version.starts <= height and (version.ends is None or height < version.ends)
    ]
    places = {asked["source_jurisdiction"], asked["grantee_jurisdiction"]}
    if not places <= {place for _, version in counting for place in version.places}:
        return False, ["policy/no-set"]
    yes: list[str] = []
    no: list[str] = []
    for name, version in counting:
        if not version.places or places & set(version.places):
            permit, cited = verdict(version.law, ask, asked)
            (yes if permit else no).extend(f"{name}/{each}" for each in cited)
    return not no, sorted(no or yes)
