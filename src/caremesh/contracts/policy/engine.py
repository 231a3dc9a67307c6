"""Cedar, made to fail closed and to answer alike in every process.

Rules, each for a trap of the engine:
- a set is validated strictly against the schema before it is ever evaluated;
- Cedar skips a policy that errors, a ``forbid`` too: permitted is *allowed and no error at all*;
- a request is checked against the schema at every decision: a missing attribute is no decision, hence no permit;
- Cedar names policies by position: sets are loaded keyed by ``@id``, and reasons are sorted;
- what Cedar says about an error never reaches a result.

Parsed sets are kept in memory by the SHA-256 of their text. That is a memo of a pure function: it changes how long
an answer takes, never the answer.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

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
from caremesh.contracts.policy.vocabulary import PURPOSES
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
NO_PERMIT: Final = "no-permit"

_ANNOTATIONS: Final = {"id", "legal", "sentence"}
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


class Rules:
    """A schema with its entities: what a family of policy sets may speak of.

    The ledger has one (``LEDGER``); wallet and gateway have another, about categories.
    """

    def __init__(self, schema: str, attributes: Mapping[str, str]) -> None:
        """``attributes`` names the Cedar type of every attribute that a question may have."""
        self._schema = cedarpy.Schema.from_str(schema)
        self._entities = cedarpy.Entities.from_json_str(json.dumps(purpose_entities()), self._schema)
        self._kinds = {
            name: kind.removeprefix("Set<").removesuffix(">")
            for name, kind in attributes.items()
            if kind not in ("String", "Bool", "Long")
        }

    def parse(self, text: str) -> ParsedSet:
        """A policy set from its text, or why it may not be one. Raises Refused policy.03 to policy.08."""
        if len(text.encode()) > MAX_TEXT_BYTES:
            raise Refused(TOO_LARGE)
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
        return ParsedSet(self, dict(sorted(policies.items())))

    def _check_policy(self, policy: Mapping[str, Any]) -> str:
        """The id of a policy whose annotations are whole and whose purposes are spelled right."""
        annotations: Mapping[str, Any] = policy.get("annotations", {})
        name = str(annotations.get("id", ""))
        if not _ID.fullmatch(name) or name == NO_PERMIT:
            raise Refused(BAD_ANNOTATION, "@id")
        for annotation in sorted(_ANNOTATIONS | set(annotations)):
            if annotation not in _ANNOTATIONS or not annotations.get(annotation):
                raise Refused(BAD_ANNOTATION, f"{name} @{annotation}" if annotation in _ANNOTATIONS else name)
        for purpose in _entity_ids(policy, "Purpose"):
            if purpose not in PURPOSES:
                raise Refused(UNKNOWN_PURPOSE, name)
        return name

    def load(self, policies: Mapping[str, Any]) -> cedarpy.PolicySet:
        """Cedar's handle of policies keyed by their ids."""
        document = {"staticPolicies": dict(policies), "templates": {}, "templateLinks": []}
        return cedarpy.PolicySet.from_json_str(json.dumps(document))

    def evaluate(self, handle: cedarpy.PolicySet, question: Question) -> Verdict:
        """One set's answer to one question. Never raises for what is in the question."""
        if question.attributes.get("purpose") not in PURPOSES:
            return Verdict(permit=False, reasons=(NO_PERMIT,))
        result = cedarpy.is_authorized(
            {
                "principal": 'Requester::"requester"',
                "action": {"type": "Action", "id": question.action},
                "resource": 'Stream::"stream"',
                "context": self._context(question.attributes),
            },
            handle,
            self._entities,
            self._schema,
        )
        reasons = tuple(sorted(result.diagnostics.reasons))
        permit = result.allowed and not result.diagnostics.errors and bool(reasons)
        if not permit and (result.allowed or not reasons):
            reasons = (NO_PERMIT,)
        return Verdict(permit=permit, reasons=reasons)

    def _context(self, attributes: Mapping[str, Any]) -> str:
        """Cedar's JSON of a context: codes become references to entities of the attribute's type."""
        context: dict[str, Any] = {}
        for name, value in attributes.items():
            kind = self._kinds.get(name)
            if kind is None:
                context[name] = value
            elif isinstance(value, list):
                context[name] = [{"type": kind, "id": code} for code in value]
            else:
                context[name] = {"type": kind, "id": value}
        return json.dumps(context)


class ParsedSet:
    """A validated policy set: its texts for people, its handle for decisions."""

    def __init__(self, rules: Rules, policies: dict[str, Any]) -> None:
        self._rules = rules
        self._policies = policies
        self._handle = rules.load(policies)
        self.texts: dict[str, PolicyText] = {
            name: PolicyText(policy["effect"], policy["annotations"]["legal"], policy["annotations"]["sentence"])
            for name, policy in policies.items()
        }
        """Policy id → text, in the order of ids."""

    def evaluate(self, question: Question) -> Verdict:
        """The set's answer."""
        return self._rules.evaluate(self._handle, question)

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


def _entity_ids(node: Any, kind: str) -> list[str]:
    """The ids of all entities of a type that a policy's JSON names, in order of appearance."""
    if isinstance(node, list):
        return [found for item in node for found in _entity_ids(item, kind)]
    if not isinstance(node, dict):
        return []
    if node.get("type") == kind and isinstance(node.get("id"), str):
        return [node["id"]]
    return [found for item in node.values() for found in _entity_ids(item, kind)]


LEDGER: Final = Rules(SCHEMA, ACCESS_ATTRIBUTES)
"""What policy sets on the ledger may speak of."""
