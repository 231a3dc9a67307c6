"""Which codes a value set holds, where that can be said without a terminology server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

Json = dict[str, Any]
VALUE_SET: Final = "http://hl7.org/fhir/ValueSet/"


def terminology(systems: list[Json], sets: list[Json], wanted: set[str]) -> Json:
    """Complete code systems, ``{url: [codes]}``; wanted value sets, ``{name: {system: [codes]} or null}``.

    null: it cannot be enumerated here, because it draws on a system that is not here, or says "all of it" of one that
    has no end (media types, currencies, UCUM …). Such a binding is *not checked*, and said so.
    """
    complete = {one["url"]: list(codes(one.get("concept", []))) for one in systems if one["content"] == "complete"}
    by_url = {one["url"]: one for one in sets}
    parents = {
        one["url"]: dict(_parents(one.get("concept", []), ())) for one in systems if one["content"] == "complete"
    }
    found: Json = {}
    for name in sorted(wanted):
        url = name if "://" in name else VALUE_SET + name
        expanded = expand(by_url.get(url), by_url, complete, parents, 0)
        found[name] = None if expanded is None else {system: sorted(held) for system, held in sorted(expanded.items())}
    loose = sorted(one["url"] for one in systems if one["content"] == "complete" and one.get("caseSensitive") is False)
    return {"systems": {url: sorted(held) for url, held in sorted(complete.items())}, "sets": found, "any_case": loose}


def codes(concepts: list[Json]) -> Iterator[str]:
    """Every code of a tree of concepts."""
    for one in concepts:
        yield one["code"]
        yield from codes(one.get("concept", []))


def _parents(concepts: list[Json], above: tuple[str, ...]) -> Iterator[tuple[str, set[str]]]:
    for one in concepts:
        also = {each["valueCode"] for each in one.get("property", []) if each.get("code") == "subsumedBy"}
        yield one["code"], {*above, *also}
        yield from _parents(one.get("concept", []), (*above, one["code"]))


def expand(
    one: Json | None, sets: dict[str, Json], systems: dict[str, list[str]], parents: dict[str, Any], depth: int
) -> dict[str, set[str]] | None:
    """The codes of a value set by system, or None when it cannot be said."""
    if one is None or "compose" not in one or depth > 8:
        return None
    found: dict[str, set[str]] = {}
    for part in one["compose"].get("include", []):
        held = _part(part, sets, systems, parents, depth)
        if held is None:
            return None
        for system, some in held.items():
            found.setdefault(system, set()).update(some)
    for part in one["compose"].get("exclude", []):
        held = _part(part, sets, systems, parents, depth)
        if held is None:
            return None
        for system, some in held.items():
            found.get(system, set()).difference_update(some)
    return found


def _part(
    part: Json, sets: dict[str, Json], systems: dict[str, list[str]], parents: dict[str, Any], depth: int
) -> dict[str, set[str]] | None:
    found: dict[str, set[str]] | None = None
    if "system" in part:
        system = part["system"]
        if "concept" in part:
            found = {system: {each["code"] for each in part["concept"]}}
        elif system not in systems or not systems[system]:
            return None
        elif "filter" in part:
            kept = set(systems[system])
            for each in part["filter"]:
                held = _filtered(each, systems[system], parents[system])
                if held is None:
                    return None
                kept &= held
            found = {system: kept}
        else:
            found = {system: set(systems[system])}
    for url in part.get("valueSet", []):
        other = expand(sets.get(url.partition("|")[0]), sets, systems, parents, depth + 1)
        if other is None:
            return None
        found = other if found is None else {key: found[key] & other.get(key, set()) for key in found}
    return found


def _filtered(one: Json, held: list[str], parents: dict[str, set[str]]) -> set[str] | None:
    if one.get("property") != "concept" or one.get("op") not in {"is-a", "descendent-of", "is-not-a"}:
        return None
    below = {code for code in held if one["value"] in _above(code, parents)}
    if one["op"] == "descendent-of":
        return below
    return below | {one["value"]} if one["op"] == "is-a" else set(held) - below - {one["value"]}


def _above(code: str, parents: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [code]
    while waiting:
        for each in parents.get(waiting.pop(), set()):
            if each not in found:
                found.add(each)
                waiting.append(each)
    return found
