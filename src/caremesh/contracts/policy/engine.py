"""Cedar, made to fail closed and to answer alike in every process.

Rules, each for a trap of the engine:
- how deep a text nests is bounded before it is parsed, then the set is validated strictly against the schema;
- Cedar skips a policy that errors, a ``forbid`` too: permitted is *allowed and no error at all*;
- a question is checked to be whole at every decision: a missing or surplus attribute, a wrong type or an unknown
  code is never a permit; Cedar is then shown only the attributes that a set names (less to parse, same answer);
- Cedar names policies by position: sets are loaded keyed by ``@id``, and reasons are sorted;
- what Cedar says about an error never reaches a result.

Parsed sets are kept in memory by the SHA-256 of their text, and so are a set's latest answers. Both are memos of pure
functions: they change how long an answer takes, never the answer.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import cedarpy
import msgspec

from caremesh.contracts.policy.errors import (
    BAD_ANNOTATION,
    DUPLICATE_ID,
    EMPTY_SET,
    NOT_VALID,
    TOO_LARGE,
    UNKNOWN_PURPOSE,
)
from caremesh.contracts.policy.request import GrantRequest, PolicyRequest
from caremesh.contracts.policy.schema import ACCESS_ATTRIBUTES, GRANT_ATTRIBUTES, SCHEMA, purpose_entities
from caremesh.contracts.policy.shape import check_shape
from caremesh.contracts.policy.vocabulary import (
    ACTIONS,
    APPROVALS,
    LEGAL_BASES,
    MEMBER_ROLES,
    PURPOSES,
    REQUESTER_ROLES,
)
from caremesh.errors import Refused

__all__ = [
    "LEDGER",
    "MAX_POLICIES",
    "MAX_TEXT_BYTES",
    "NO_PERMIT",
    "Handles",
    "ParsedSet",
    "PolicyText",
    "Question",
    "Rules",
    "Verdict",
    "question",
]

MAX_TEXT_BYTES: Final = 49_152
MAX_POLICIES: Final = 128
MAX_REMEMBERED: Final = 512
NO_PERMIT: Final = "no-permit"

_ANNOTATIONS: Final = {"id", "legal", "sentence"}
_PLAIN: Final[Mapping[str, type]] = {"String": str, "Bool": bool, "Long": int}
_ID: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")


class PolicyText(NamedTuple):
    """What people read about a policy."""

    effect: str
    """``permit`` or ``forbid``."""
    legal: str
    sentence: str


class Verdict(NamedTuple):
    """One set's answer: whether it permits, and the ids of the policies that decided, sorted (never empty)."""

    permit: bool
    reasons: tuple[str, ...]


class Question(NamedTuple):
    """A request in Cedar's terms; ``attributes`` are the context."""

    action: str
    attributes: Mapping[str, Any]


_Kind: TypeAlias = tuple[type | None, bool, Mapping[str, object]]
"""(plain type, whether it is a set of codes, the codes that exist)"""


class Rules:
    """A schema and its vocabulary: what a family of policy sets may speak of.

    The ledger has one (``LEDGER``); wallet and gateway have another, about categories.
    """

    def __init__(
        self, schema: str, actions: Mapping[str, Mapping[str, str]], codes: Mapping[str, Mapping[str, object]]
    ) -> None:
        """``actions``: action → attribute → Cedar type; ``codes``: entity type → the codes that exist."""
        self._schema = cedarpy.Schema.from_str(schema)
        self._entities = cedarpy.Entities.from_json_str(json.dumps(purpose_entities()), self._schema)
        self._actions = actions
        self._codes = codes
        self._kinds = {
            action: {name: self._kind(kind) for name, kind in attributes.items()}
            for action, attributes in actions.items()
        }
        """Action → attribute → (plain type, whether it is a set, codes that exist)."""

    def _kind(self, kind: str) -> _Kind:
        """A Cedar type of the schema, taken apart."""
        if kind in _PLAIN:
            return _PLAIN[kind], False, {}
        many = kind.startswith("Set<")
        return None, many, self._codes[kind[4:-1] if many else kind]

    def parse(self, text: str) -> ParsedSet:
        """A policy set from its text, or why it may not be one. Raises Refused policy.03 to policy.08, policy.18."""
        if len(text.encode()) > MAX_TEXT_BYTES:
            raise Refused(TOO_LARGE)
        check_shape(text)
        if not cedarpy.validate_policies(text, self._schema).validation_passed:
            raise Refused(NOT_VALID)
        document = json.loads(cedarpy.policies_to_json_str(text))
        found = list(document["staticPolicies"].values())
        if document["templates"] or document["templateLinks"] or not 0 < len(found) <= MAX_POLICIES:
            raise Refused(EMPTY_SET)
        policies: dict[str, Any] = {}
        for policy in found:
            name = self._check_policy(policy)
            if name in policies:
                raise Refused(DUPLICATE_ID, name)
            policies[name] = policy
        try:
            return ParsedSet(self, dict(sorted(policies.items())))
        except ValueError as error:  # what the engine can read as text it cannot always read back as JSON
            raise Refused(NOT_VALID) from error

    def _check_policy(self, policy: Mapping[str, Any]) -> str:
        """The id of a policy whose annotations are whole and whose purposes are spelled right."""
        annotations: Mapping[str, Any] = policy.get("annotations", {})
        name = str(annotations.get("id", ""))
        if not _ID.fullmatch(name) or name == NO_PERMIT:
            raise Refused(BAD_ANNOTATION, "@id")
        for annotation in sorted(_ANNOTATIONS | set(annotations)):
            if annotation not in _ANNOTATIONS or not annotations.get(annotation):
                raise Refused(BAD_ANNOTATION, f"{name} @{annotation}" if annotation in _ANNOTATIONS else name)
        for purpose in _entities(policy, "Purpose"):
            if purpose not in self._codes["Purpose"]:
                raise Refused(UNKNOWN_PURPOSE, name)
        return name

    def load(self, policies: Mapping[str, Any]) -> cedarpy.PolicySet:
        """Cedar's handle of policies keyed by their ids."""
        document = {"staticPolicies": dict(policies), "templates": {}, "templateLinks": []}
        return cedarpy.PolicySet.from_json_str(json.dumps(document))

    def is_whole(self, question: Question) -> bool:
        """Whether a question has exactly the attributes of its action, each of its type, with codes that exist."""
        kinds, given = self._kinds.get(question.action, {}), question.attributes
        if given.keys() != kinds.keys():
            return False
        return all(_fits(kinds[name], value) for name, value in given.items())

    def unfit(self, question: Question) -> list[str]:
        """The attributes of a question that are not of their type, or hold a code that does not exist; sorted."""
        kinds = self._kinds.get(question.action, {})
        return ["action"] * (not kinds) + sorted(
            name for name, value in question.attributes.items() if name in kinds and not _fits(kinds[name], value)
        )

    def shown(self, question: Question, attributes: Collection[str]) -> str:
        """Cedar's JSON of those attributes of a whole question that a set names."""
        kinds = self._actions[question.action]
        return json.dumps(
            {name: _cedar(kinds[name], value) for name, value in question.attributes.items() if name in attributes}
        )

    def evaluate(self, handle: cedarpy.PolicySet, action: str, context: str) -> Verdict:
        """What Cedar says: permitted is allowed, without any error, by a policy that it names."""
        result = cedarpy.is_authorized(
            {
                "principal": 'Requester::"requester"',
                "action": {"type": "Action", "id": action},
                "resource": 'Stream::"stream"',
                "context": context,
            },
            handle,
            self._entities,
        )
        reasons = tuple(sorted(result.diagnostics.reasons))
        permit = result.allowed and not result.diagnostics.errors and bool(reasons)
        if not permit and (result.allowed or not reasons):
            reasons = (NO_PERMIT,)
        return Verdict(permit=permit, reasons=reasons)


class ParsedSet:
    """A validated policy set: its texts for people, its handle for decisions."""

    def __init__(self, rules: Rules, policies: dict[str, Any]) -> None:
        self._rules = rules
        self._policies = policies
        self._handle = rules.load(policies)
        self._attributes = dict.fromkeys(_found(policies, "attr"))
        self._remembered: OrderedDict[tuple[object, ...], Verdict] = OrderedDict()
        self.texts: dict[str, PolicyText] = {
            name: PolicyText(policy["effect"], policy["annotations"]["legal"], policy["annotations"]["sentence"])
            for name, policy in policies.items()
        }
        """Policy id → text, in the order of ids."""

    def evaluate(self, question: Question) -> Verdict:
        """The set's answer. Never raises for what is in the question."""
        if not self._rules.is_whole(question):
            return Verdict(permit=False, reasons=(NO_PERMIT,))
        return self.evaluate_whole(question)

    def evaluate_whole(self, question: Question) -> Verdict:
        """The set's answer to a question that ``Rules.is_whole``.

        The same question gets the same answer, so the last ``MAX_REMEMBERED`` answers are kept: what is asked is
        mostly the same few combinations of roles, purposes and places.
        """
        given = question.attributes
        values = [given[name] for name in self._attributes if name in given]
        key = (question.action, *[tuple(value) if type(value) is list else value for value in values])
        verdict = self._remembered.pop(key, None)
        if verdict is None:
            context = self._rules.shown(question, self._attributes)
            verdict = self._rules.evaluate(self._handle, question.action, context)
        self._remembered[key] = verdict
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return verdict

    def without(self, name: str) -> ParsedSet:
        """The set with one policy taken out (it may become empty, and then permits nothing)."""
        return ParsedSet(self._rules, {key: value for key, value in self._policies.items() if key != name})


class Handles:
    """Parsed sets by the digest of their text; the least recently used go first."""

    def __init__(self, rules: Rules, limit: int = 64) -> None:
        self._rules = rules
        self._limit = limit
        self._parsed: OrderedDict[bytes, ParsedSet] = OrderedDict()

    def get(self, digest: bytes, text: Callable[[], str]) -> ParsedSet:
        """The parsed set of this digest; ``text`` is asked only when it is not yet known."""
        known = self._parsed.pop(digest, None)
        if known is None:
            known = self._rules.parse(text())
        self._parsed[digest] = known
        while len(self._parsed) > self._limit:
            self._parsed.popitem(last=False)
        return known


def question(request: PolicyRequest) -> Question:
    """A request as Cedar is asked it: everything but the height, codes as entities."""
    plain = msgspec.to_builtins(request)
    if isinstance(request, GrantRequest):
        return Question(f"grant-{request.action}", {name: plain[name] for name in GRANT_ATTRIBUTES})
    return Question(request.action, {name: plain[name] for name in ACCESS_ATTRIBUTES})


def _fits(kind: _Kind, value: object) -> bool:
    """Whether a value is of a Cedar type of the schema, with codes that exist."""
    plain, many, codes = kind
    if plain is not None:
        return type(value) is plain
    if many:
        return isinstance(value, list) and all(isinstance(code, str) and code in codes for code in value)
    return isinstance(value, str) and value in codes


def _cedar(kind: str, value: Any) -> Any:
    """A value in Cedar's JSON: codes are references to entities."""
    if kind in _PLAIN:
        return value
    if isinstance(value, list):
        return [{"__entity": {"type": kind[4:-1], "id": code}} for code in value]
    return {"__entity": {"type": kind, "id": value}}


def _found(node: Any, key: str) -> list[str]:
    """The strings under a key anywhere in a policy's JSON, in order of appearance."""
    if isinstance(node, list):
        return [found for item in node for found in _found(item, key)]
    if not isinstance(node, dict):
        return []
    here = [node[key]] if isinstance(node.get(key), str) else []
    return here + [found for item in node.values() for found in _found(item, key)]


def _entities(node: Any, kind: str) -> list[str]:
    """The ids of the entities of a type that a policy's JSON names, in order of appearance."""
    if isinstance(node, list):
        return [found for item in node for found in _entities(item, kind)]
    if not isinstance(node, dict):
        return []
    if node.get("type") == kind and isinstance(node.get("id"), str):
        return [node["id"]]
    return [found for item in node.values() for found in _entities(item, kind)]


LEDGER: Final = Rules(
    SCHEMA,
    dict.fromkeys(ACTIONS, ACCESS_ATTRIBUTES) | {f"grant-{action}": GRANT_ATTRIBUTES for action in ACTIONS},
    {
        "Purpose": PURPOSES,
        "MemberRole": dict.fromkeys(MEMBER_ROLES),
        "RequesterRole": dict.fromkeys(REQUESTER_ROLES),
        "LegalBasis": dict.fromkeys(LEGAL_BASES),
        "Approval": dict.fromkeys(APPROVALS),
    },
)
"""What policy sets on the ledger may speak of."""
