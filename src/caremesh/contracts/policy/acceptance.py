"""The tests that travel with a policy set, and the check that they pass before the set is accepted.

For each policy there is a request whose answer flips when that policy is taken out, and one that the policy has no
part in. Both are written as what differs from a base request of the set, so that a reader sees the one fact that
matters. The check is a pure function of the message: every replica comes to the same result.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal, TypeAlias

import msgspec

from caremesh import codec
from caremesh.contracts.policy.engine import LEDGER, ParsedSet, question
from caremesh.contracts.policy.errors import BAD_TEST, NOT_FLIPPED, NOT_LEFT_ALONE, UNKNOWN_POLICY, UNTESTED
from caremesh.contracts.policy.request import AccessRequest, GrantRequest, PolicyRequest
from caremesh.errors import Refused
from caremesh.types import Code

__all__ = ["Changes", "PolicyTest", "accept", "changed"]

Changes: TypeAlias = dict[str, bool | int | str | list[str]]
"""Field of the request → its value where it differs from the base."""


class PolicyTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one policy does, shown on two requests."""

    policy: Code
    ask: Literal["access", "grant"]
    """Which base request the changes apply to."""
    flips: Changes
    """The policy alone decides this request: without it the answer is the opposite."""
    leaves: Changes
    """The policy has no part in the answer to this request."""


Tests: TypeAlias = Annotated[list[PolicyTest], msgspec.Meta(max_length=256)]


def accept(text: str, access: AccessRequest, grant: GrantRequest, tests: Tests) -> None:
    """Return when the set is valid and all its tests pass. Raises Refused policy.03 to policy.13, policy.18.

    What has passed once in this process is not run again: the outcome is a function of the arguments.
    """
    _accept(text, codec.encode(_Shown(access, grant, tests)))


class _Shown(msgspec.Struct, frozen=True):
    access: AccessRequest
    grant: GrantRequest
    tests: list[PolicyTest]


@lru_cache(maxsize=32)
def _accept(text: str, encoded: bytes) -> None:
    shown = codec.decode_as(encoded, _Shown)
    access, grant, tests = shown.access, shown.grant, shown.tests
    parsed = LEDGER.parse(text)
    untested = dict.fromkeys(parsed.texts)
    for index, test in enumerate(tests):
        if test.policy not in parsed.texts:
            raise Refused(UNKNOWN_POLICY, f"test {index}")
        untested.pop(test.policy, None)
        base: PolicyRequest = access if test.ask == "access" else grant
        _check(parsed, test, changed(base, test.flips, index), changed(base, test.leaves, index))
    if untested:
        raise Refused(UNTESTED, next(iter(untested)))


def _check(parsed: ParsedSet, test: PolicyTest, flips: PolicyRequest, leaves: PolicyRequest) -> None:
    """The policy decides the one request and not the other."""
    without = parsed.without(test.policy)
    if parsed.evaluate(question(flips)).permit == without.evaluate(question(flips)).permit:
        raise Refused(NOT_FLIPPED, test.policy)
    if parsed.evaluate(question(leaves)) != without.evaluate(question(leaves)):
        raise Refused(NOT_LEFT_ALONE, test.policy)


def changed(base: PolicyRequest, changes: Changes, index: int = 0) -> PolicyRequest:
    """The base request with some fields replaced. Raises Refused policy.09 for a field or value it cannot have."""
    fields = msgspec.to_builtins(base)
    try:
        return msgspec.convert(fields | changes, type(base))
    except msgspec.ValidationError as error:
        raise Refused(BAD_TEST, f"test {index}") from error
