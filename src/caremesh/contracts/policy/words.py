"""Decisions in plain sentences, for people."""

from __future__ import annotations

from collections.abc import Sequence

from caremesh.contracts.policy.queries import Explanation
from caremesh.contracts.policy.request import Decision

__all__ = ["in_words"]


def in_words(decision: Decision, explanations: Sequence[Explanation]) -> list[str]:
    """The answer and, a line each, what decided and by which article."""
    lines = ["Permitted. Every set in force allows it:" if decision.permit else "Denied. What stands against it:"]
    for each in explanations:
        legal = f" [{each.legal}]" if each.legal else ""
        lines.append(f"{each.policy}: {each.sentence}{legal}")
    return lines
