"""Decisions in plain sentences, for people."""

from __future__ import annotations

from collections.abc import Sequence

from caremesh.contracts.policy.queries import Explanation, SetAnswer
from caremesh.contracts.policy.request import Decision

__all__ = ["in_words", "set_in_words"]


def in_words(decision: Decision, explanations: Sequence[Explanation]) -> list[str]:
    """The answer and, a line each, what decided and by which article."""
    lines = ["Permitted. Every set in force allows it:" if decision.permit else "Denied. What stands against it:"]
    return [*lines, *map(_line, explanations)]


def set_in_words(answer: SetAnswer) -> list[str]:
    """What one set answers, and, a line each, by which of its policies."""
    verb = "permits" if answer.permit else "does not permit"
    return [f"{answer.set} (version {answer.version}) {verb} it:", *map(_line, answer.reasons)]


def _line(each: Explanation) -> str:
    legal = f" [{each.legal}]" if each.legal else ""
    return f"{each.policy}: {each.sentence}{legal}"
