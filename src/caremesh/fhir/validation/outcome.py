"""What validation answers: FHIR's OperationOutcome, with the rule and the layer of each issue beside it."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

ISSUE_SYSTEM: Final = "urn:caremesh:fhir:rule"


class Issue(Struct, frozen=True, kw_only=True):
    """One thing to say about a resource.

    ``severity`` fatal, error, warning or information; ``code`` an IssueType of R4; ``expression`` where, with the
    names of
    the JSON (``Observation.valueQuantity.unit``); ``diagnostics`` words without any value of the resource; ``rule`` a
    constraint of R4 (``obs-6``) or one of words.py; ``layer`` json, shape, rules or profile.
    """

    severity: str
    code: str
    expression: str
    diagnostics: str
    rule: str
    layer: str


class Outcome(Struct, frozen=True, kw_only=True):
    """Every issue, as met. ``not_checked``: what nobody looked at, in words (profiles, value sets)."""

    issues: list[Issue]
    not_checked: list[str] = msgspec.field(default_factory=list)

    @property
    def valid(self) -> bool:
        """True when nothing is an error."""
        return not any(issue.severity in {"fatal", "error"} for issue in self.issues)

    def as_fhir(self) -> dict[str, Any]:
        """An OperationOutcome resource. What was not checked is in it as information; all well says so."""
        issues = [
            {
                "severity": one.severity,
                "code": one.code,
                "details": {"coding": [{"system": ISSUE_SYSTEM, "code": one.rule}]},
                "diagnostics": one.diagnostics,
                **({"expression": [one.expression]} if one.expression else {}),
            }
            for one in self.issues
        ]
        issues += [
            {"severity": "information", "code": "incomplete", "diagnostics": f"Not checked: {what}"}
            for what in self.not_checked
        ]
        well = {"severity": "information", "code": "informational", "diagnostics": "No issue was found."}
        return {"resourceType": "OperationOutcome", "issue": issues or [well]}
