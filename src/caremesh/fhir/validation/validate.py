"""The one entry: bytes or parsed JSON in, an outcome out, in bounded time and memory."""

from __future__ import annotations

from typing import Any, Final

from caremesh.errors import BadInput
from caremesh.fhir.validation import dispatch
from caremesh.fhir.validation.checks import Context, Problem, put
from caremesh.fhir.validation.outcome import Issue, Outcome
from caremesh.fhir.validation.text import MAX_BYTES, parse
from caremesh.fhir.validation.words import words

UNKNOWN_PROFILE: Final = "profiles declared in meta.profile: no package that defines them is installed"


def validate(resource: bytes | dict[str, Any], *, max_bytes: int = MAX_BYTES) -> Outcome:
    """Every issue of one resource (a Bundle is one), as far as the layers go.

    ``resource``: JSON as UTF-8, or the same parsed (then keys given twice are past noticing). Raises nothing for what
    is wrong with the resource: that is the outcome, with ``fatal`` for what is not JSON at all.
    """
    under, text = True, b""
    if not isinstance(resource, dict):
        try:
            parsed = parse(resource, max_bytes=max_bytes)
        except BadInput as error:
            return Outcome(issues=[_fatal(error)])
        under = b'"_' in resource or b"\\u005" in resource
        text, resource = resource, parsed
    context = Context(resource, under=under, text=text)
    try:
        problems = dispatch.inner(resource, context)
    except RecursionError:
        problems = put(None, "", "too-deep")
    name = resource.get("resourceType")
    start = name if isinstance(name, str) and name in dispatch.types() else ""
    meta = resource.get("meta")
    declared = isinstance(meta, dict) and bool(meta.get("profile"))
    return Outcome(
        issues=[_issue(start, one) for one in problems or ()], not_checked=[UNKNOWN_PROFILE] if declared else []
    )


def _issue(start: str, one: Problem) -> Issue:
    known, text = words(one.rule, one.detail)
    return Issue(
        severity=known.severity,
        code=known.code,
        expression=f"{start}.{one.path}" if one.path else start,
        diagnostics=text,
        rule=one.rule,
        layer="shape" if one.rule.startswith(dispatch.SHAPE) else "rules",
    )


def _fatal(error: BadInput) -> Issue:
    return Issue(
        severity="fatal",
        code="structure",
        expression="",
        diagnostics=str(error),
        rule=error.code,
        layer="json",
    )
