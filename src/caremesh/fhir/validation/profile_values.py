"""Values against patterns, value sets and what tells slices apart. None: that cannot be said here."""

from __future__ import annotations

from typing import Any, Final

from caremesh.fhir import definitions
from caremesh.fhir.validation.packages import Definitions
from caremesh.fhir.validation.profile_tree import Node

_SHORT: Final = "http://hl7.org/fhir/ValueSet/"


def matches_pattern(value: Any, pattern: Any) -> bool:
    """True when everything of the pattern is in the value (R4, ElementDefinition, pattern[x])."""
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(
            key in value and matches_pattern(value[key], held) for key, held in pattern.items()
        )
    if isinstance(pattern, list):
        return isinstance(value, list) and all(any(matches_pattern(one, held) for one in value) for held in pattern)
    return bool(value == pattern)


class Terminology:
    """Value sets of R4 and of the installed packages, as far as they can be enumerated."""

    def __init__(self, held: Definitions) -> None:
        self._held = held
        self._known: dict[str, dict[str, set[str]] | None] = {}

    def within(self, url: str, value: Any) -> bool | None:
        """Whether a code, Coding, CodeableConcept or Quantity is of a value set; None when it cannot be said."""
        codes = self._expanded(url.partition("|")[0], 0)
        if codes is None:
            return None
        if isinstance(value, str):
            return any(value in some for some in codes.values())
        if not isinstance(value, dict):
            return None
        if "coding" in value:
            return any(one.get("code") in codes.get(one.get("system", ""), ()) for one in value["coding"])
        return value.get("code") in codes.get(value.get("system", ""), ())

    def _expanded(self, url: str, depth: int) -> dict[str, set[str]] | None:
        if url not in self._known:
            self._known[url] = self._expand(url, depth)
        return self._known[url]

    def _expand(self, url: str, depth: int) -> dict[str, set[str]] | None:  # noqa: PLR0911 - each a way not to know
        shipped = definitions.terminology()["sets"].get(url.removeprefix(_SHORT))
        if shipped is not None:
            return {system: set(some) for system, some in shipped.items()}
        compose = self._held.value_sets.get(url, {}).get("compose")
        if compose is None or "exclude" in compose or depth > 8:
            return None
        found: dict[str, set[str]] = {}
        for part in compose.get("include", ()):
            if "filter" in part:
                return None
            if "concept" in part and "valueSet" not in part:
                found.setdefault(part.get("system", ""), set()).update(one["code"] for one in part["concept"])
            elif "system" in part and "valueSet" not in part:
                codes = self._system(part["system"])
                if codes is None:
                    return None
                found.setdefault(part["system"], set()).update(codes)
            elif "valueSet" in part and "system" not in part and len(part["valueSet"]) == 1:
                other = self._expanded(part["valueSet"][0].partition("|")[0], depth + 1)
                if other is None:
                    return None
                for system, some in other.items():
                    found.setdefault(system, set()).update(some)
            else:
                return None
        return found

    def _system(self, url: str) -> list[str] | None:
        shipped: list[str] | None = definitions.terminology()["systems"].get(url)
        held = self._held.code_systems.get(url)
        if shipped is not None or held is None or held.get("content") != "complete":
            return shipped
        found: list[str] = []
        waiting = list(held.get("concept", ()))
        while waiting:
            one = waiting.pop()
            found.append(one["code"])
            waiting += one.get("concept", ())
        return found


def expected(piece: Node, discriminators: list[dict[str, str]], value: Any, terminology: Terminology) -> bool | None:
    """Whether a value is of a slice; None when what tells it apart cannot be looked at here."""
    if not discriminators:
        return None
    for one in discriminators:
        verdict = _tells(piece, one["type"], one["path"], value, terminology)
        if verdict is not True:
            return verdict
    return True


def _tells(  # noqa: PLR0911 - one per kind of discriminator
    piece: Node, kind: str, path: str, value: Any, terminology: Terminology
) -> bool | None:
    node, held, part = piece, [value], None
    steps = [] if path == "$this" else path.split(".")
    if any("(" in step for step in steps) or kind == "profile":
        return None
    if kind in {"value", "pattern"} and steps == ["url"] and piece.types == ["Extension"] and piece.profiles:
        return isinstance(value, dict) and value.get("url") in piece.profiles
    for index, step in enumerate(steps):
        held = [each for one in held if isinstance(one, dict) for each in _under(one, step)]
        if node.pattern is not None and part is None:
            part = (index, node.pattern)
        node = node.children.get(step, node) if step in node.children else node
    if kind == "exists":
        return bool(held) if node.min > 0 else not held
    if kind == "type":
        return _of_type(node, held)
    if node.fixed is not None:
        return any(one == node.fixed for one in held)
    if node.pattern is not None:
        return any(matches_pattern(one, node.pattern) for one in held)
    if part is not None:
        return matches_pattern(value, piece.pattern) if piece.pattern is not None else None
    if node.required_set:
        verdicts = [terminology.within(node.required_set, one) for one in held]
        return None if None in verdicts else any(verdicts)
    return None


def _under(owner: dict[str, Any], step: str) -> list[Any]:
    value = owner.get(step)
    if value is None:
        value = next(
            (one for key, one in owner.items() if key.startswith(step) and key[len(step) : len(step) + 1].isupper()),
            None,
        )
    return value if isinstance(value, list) else [] if value is None else [value]


def _of_type(node: Node, held: list[Any]) -> bool | None:
    """By the resource's own name, or by the shape of a data type where one tells."""
    if not held or not node.types:
        return False if not held else None
    first = held[0]
    if isinstance(first, dict) and "resourceType" in first:
        return first["resourceType"] in node.types
    return None
