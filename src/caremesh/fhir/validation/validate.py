"""The one entry: bytes or parsed JSON in, an outcome out, in bounded time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import msgspec

from caremesh.errors import BadInput
from caremesh.fhir import errors
from caremesh.fhir.validation import dispatch
from caremesh.fhir.validation.checks import Context, Problem, Problems, put
from caremesh.fhir.validation.outcome import Issue, Outcome
from caremesh.fhir.validation.packages import Definitions
from caremesh.fhir.validation.profiles import LAYER, Profiles
from caremesh.fhir.validation.text import MAX_BYTES, parse
from caremesh.fhir.validation.words import words


def validate(
    resource: bytes | dict[str, Any],
    *,
    profiles: Profiles | None = None,
    max_bytes: int = MAX_BYTES,
    compact: bytes | None = None,
) -> Outcome:
    """Every issue of one resource (a Bundle is one), as far as the layers go.

    ``resource``: JSON as UTF-8, or the same parsed (then keys given twice are past noticing). ``profiles``: what is
    installed of what resources declare in meta.profile. ``compact``: what ``resource`` is as text, where the caller has
    it. Raises nothing for what is wrong with the resource: that is
    the outcome, with ``fatal`` for what is not JSON at all.
    """
    try:
        text, parsed = _both(resource, max_bytes, compact)
    except BadInput as error:
        return Outcome(issues=[_fatal(error)])
    context = Context(parsed, under=b'"_' in text or b"\\u005" in text, text=text)
    try:
        return _outcome(parsed, dispatch.inner(parsed, context), profiles or _own())
    except RecursionError:
        return _outcome({}, put(None, "", "too-deep"), _own())


def _both(resource: bytes | dict[str, Any], max_bytes: int, compact: bytes | None) -> tuple[bytes, dict[str, Any]]:
    """The text and what it says. Raises BadInput as ``parse`` does."""
    if not isinstance(resource, dict):
        return resource, parse(resource, max_bytes=max_bytes)
    if compact is not None:
        return compact, resource
    try:
        return msgspec.json.encode(resource), resource
    except RecursionError as error:
        raise BadInput(errors.TOO_DEEP) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(errors.NOT_JSON) from error


def _outcome(resource: dict[str, Any], problems: Problems | None, profiles: Profiles) -> Outcome:
    name = resource.get("resourceType")
    start = name if isinstance(name, str) and name in dispatch.types() else ""
    issues = [_issue(start, one, "") for one in problems or ()]
    not_checked: list[str] = []
    if not any(one.layer == dispatch.SHAPE or one.rule in _NO_PROFILE for one in issues):
        for where, declaring in _declaring(resource):
            found, unknown = profiles.check(declaring)
            issues += [_issue(f"{start}{where}", one, LAYER) for one in found]
            not_checked += unknown
    return Outcome(issues=issues, not_checked=list(dict.fromkeys(not_checked)))


_NO_PROFILE: Final = frozenset({"type", "too-deep"})
"""After these nobody knows what a profile would be asked about."""


@cache
def _own() -> Profiles:
    return Profiles(Definitions())


def _declaring(resource: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The resource and those in its entries, that declare a profile, and where they are."""
    if resource.get("meta", {}).get("profile"):
        yield "", resource
    for index, entry in enumerate(
        resource["entry"] if resource.get("resourceType") == "Bundle" and "entry" in resource else ()
    ):
        if "resource" in entry and entry["resource"].get("meta", {}).get("profile"):
            yield f".entry[{index}].resource", entry["resource"]


def _issue(start: str, one: Problem, layer: str) -> Issue:
    known, text = words(one.rule, one.detail)
    return Issue(
        severity=known.severity,
        code=known.code,
        expression=f"{start}.{one.path}" if one.path else start,
        diagnostics=text,
        rule=one.rule,
        layer=layer or (dispatch.SHAPE if one.rule.startswith(dispatch.SHAPE) else "rules"),
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
