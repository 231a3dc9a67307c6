"""Whether the regulations in force permit something, which they are, and what they say in words."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from caremesh import codec
from caremesh.contracts.policy.engine import LEDGER, NO_PERMIT, Handles, ParsedSet, PolicyText, Verdict, question
from caremesh.contracts.policy.errors import UNKNOWN_VERSION
from caremesh.contracts.policy.request import Decision, PolicyRequest
from caremesh.contracts.policy.state import APPROVALS, CALENDAR, TEXTS, VERSIONS, Calendar, Version, is_in_force
from caremesh.contracts.policy.vocabulary import ACTIONS, PURPOSES
from caremesh.errors import Refused
from caremesh.ledger.state import Reader
from caremesh.types import Code, Count, CountryCode, Did, Digest, Height, Seconds

__all__ = [
    "NO_SET",
    "Explanation",
    "SetAnswer",
    "action_is_known",
    "approvals",
    "by_set",
    "decide",
    "explain",
    "in_force",
    "not_understood",
    "purpose_is_known",
    "text_of",
    "versions",
]

NO_SET = "policy/no-set"
"""Cited when a place has no regulations of its own in force: where no law is known, nothing is permitted."""

_HANDLES = Handles(LEDGER)


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A cited policy in words."""

    policy: str
    """``<set>/<id>``, as in the decision."""
    effect: str
    """``permit``, ``forbid``, or ``none`` where nothing matched."""
    legal: str
    """Article or section; empty where nothing matched."""
    sentence: str


class SetAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What one set answers to a request, and by which of its policies."""

    set: str
    version: Count
    permit: bool
    reasons: list[Explanation]


def decide(reader: Reader, request: PolicyRequest) -> Decision:
    """Every set in force for the source's or the grantee's place is asked alone, and all must permit.

    Both places need a set that names them: sets that hold everywhere (house rules, roles) come on top of the law
    of a place and do not replace it. Deterministic; never raises for what is in the request.
    """
    verdicts = _verdicts(reader, request)
    if not verdicts:
        return Decision(permit=False, policies=[NO_SET])
    permits: list[str] = []
    denials: list[str] = []
    for version, verdict in verdicts:
        (permits if verdict.permit else denials).extend(f"{version.set}/{name}" for name in verdict.reasons)
    return Decision(permit=not denials, policies=sorted(denials or permits))


def by_set(reader: Reader, request: PolicyRequest) -> list[SetAnswer]:
    """What each set answers alone, in words; none where one of the places has no law. ``decide`` puts them together."""
    return [
        SetAnswer(
            set=version.set,
            version=version.version,
            permit=verdict.permit,
            reasons=explain(reader, [f"{version.set}/{name}" for name in verdict.reasons], request.height),
        )
        for version, verdict in _verdicts(reader, request)
    ]


def not_understood(request: PolicyRequest) -> list[str]:
    """The attributes whose codes are not in the vocabulary; with one of them nothing is permitted."""
    return LEDGER.unfit(question(request))


def in_force(reader: Reader, height: Height) -> list[Version]:
    """The versions that count at a height that is not past, ordered by set.

    The calendar forgets versions that are over; for the past ask ``versions``.
    """
    stored = reader.get(CALENDAR.key())
    return [] if stored is None else [each for each in _calendar(stored).versions if is_in_force(each, height)]


def versions(reader: Reader, name: str) -> list[Version]:
    """All versions that a set has had, oldest first."""
    return VERSIONS.items(reader, name.encode())


def text_of(reader: Reader, digest: Digest) -> str:
    """The text of a version. Raises Refused policy.16."""
    stored = TEXTS.get(reader, digest)
    if stored is None:
        raise Refused(UNKNOWN_VERSION)
    return stored.text


def explain(reader: Reader, policies: list[str], height: Height) -> list[Explanation]:
    """The policies that a decision at a height cites, in words. Raises Refused policy.16 for one unknown then."""
    return [_explain(reader, policy, height) for policy in policies]


def approvals(reader: Reader, member: Did, at: Seconds) -> list[Code]:
    """What competent bodies have approved of a member, as it counts at a time; sorted."""
    stored = APPROVALS.get(reader, member.encode())
    return [] if stored is None else [entry.approval for entry in stored.entries if at < entry.until]


def purpose_is_known(code: str) -> bool:
    """Whether policies can speak of a purpose."""
    return code in PURPOSES


def action_is_known(code: str) -> bool:
    """Whether policies can speak of an action."""
    return code in ACTIONS


def _verdicts(reader: Reader, request: PolicyRequest) -> list[tuple[Version, Verdict]]:
    """The answer of every set in force for either place; none when a place has no set that names it."""
    calendar = reader.get(CALENDAR.key())
    if calendar is None:
        return []
    asked = question(request)
    whole = LEDGER.is_whole(asked)
    verdicts = []
    for version in _applicable(calendar, request.height, request.source_jurisdiction, request.grantee_jurisdiction):
        parsed = _parsed(reader, version.text)
        verdicts.append((version, parsed.evaluate_whole(asked) if whole else parsed.evaluate(asked)))
    return verdicts


def _explain(reader: Reader, policy: str, height: Height) -> Explanation:
    if policy == NO_SET:
        sentence = "One of the two places has no regulations in force here, so nothing is permitted."
        return Explanation(policy=policy, effect="none", legal="", sentence=sentence)
    name, _, policy_id = policy.partition("/")
    found = [version for version in versions(reader, name) if is_in_force(version, height)]
    if not found:
        raise Refused(UNKNOWN_VERSION, policy)
    if policy_id == NO_PERMIT:
        return Explanation(policy=policy, effect="none", legal="", sentence="Nothing in this set allows it.")
    text: PolicyText | None = _parsed(reader, found[-1].text).texts.get(policy_id)
    if text is None:
        raise Refused(UNKNOWN_VERSION, policy)
    return Explanation(policy=policy, effect=text.effect, legal=text.legal, sentence=text.sentence)


def _parsed(reader: Reader, digest: Digest) -> ParsedSet:
    return _HANDLES.get(digest, lambda: text_of(reader, digest))


@lru_cache(maxsize=1_024)
def _applicable(stored: bytes, height: Height, *places: CountryCode) -> list[Version]:
    """The sets of a calendar that are asked about these places; none when a place has no set that names it."""
    sets = [each for each in _calendar(stored).versions if is_in_force(each, height)]
    if any(all(place not in version.jurisdictions for version in sets) for place in places):
        return []
    return [each for each in sets if not each.jurisdictions or any(place in each.jurisdictions for place in places)]


@lru_cache(maxsize=16)
def _calendar(stored: bytes) -> Calendar:
    return codec.decode_as(stored, Calendar)
