"""FHIRPath's functions over plain JSON, for compiled constraints. https://hl7.org/fhirpath/N1/

A collection is a list; a primitive that has only extensions is in it as their object. ``None`` is FHIRPath's empty
result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

Many = list[Any]
Tri = bool | None


def kids(nodes: Many, *keys: str) -> Many:
    """Children under these JSON keys, of each node."""
    found: Many = []
    for node in nodes:
        if node.__class__ is dict:
            for key in keys:
                child = node.get(key)
                if child.__class__ is list:
                    found.extend(child)
                elif child is not None:
                    found.append(child)
    return found


def prims(nodes: Many, *keys: str) -> Many:
    """As ``kids``, where a child may be a primitive without a value."""
    found: Many = []
    for node in nodes:
        if node.__class__ is dict:
            for key in keys:
                child = node.get(key)
                if child is None:
                    child = node.get(f"_{key}")
                elif child.__class__ is list and None in child:
                    others = node.get(f"_{key}") or []
                    child = [one if one is not None else others[at] for at, one in enumerate(child) if at < len(others)]
                if child.__class__ is list:
                    found.extend(child)
                elif child is not None:
                    found.append(child)
    return found


def one(nodes: Many) -> Tri:
    """A collection where a truth is wanted (singleton evaluation)."""
    if not nodes:
        return None
    first_ = nodes[0]
    return first_ if first_.__class__ is bool and len(nodes) == 1 else True


def some(value: Tri) -> Many:
    """A truth where a collection is wanted."""
    return [] if value is None else [value]


def or3(left: Tri, right: Tri) -> Tri:
    """Three-valued or."""
    if left or right:
        return True
    return None if left is None or right is None else False


def and3(left: Tri, right: Tri) -> Tri:
    """Three-valued and."""
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def xor3(left: Tri, right: Tri) -> Tri:
    """Three-valued exclusive or."""
    return None if left is None or right is None else left != right


def implies3(left: Tri, right: Tri) -> Tri:
    """Three-valued implication."""
    if left is False or right is True:
        return True
    return None if left is None or right is None else not left or right


def not3(value: Tri) -> Tri:
    """Three-valued not."""
    return None if value is None else not value


def same(left: Many, right: Many) -> Tri:
    """``=``"""
    return left == right if left and right else None


def differs(left: Many, right: Many) -> Tri:
    """``!=``"""
    return left != right if left and right else None


def at_most(left: Many, right: Many) -> Tri:
    """``<=``"""
    order = _order(left, right)
    return None if order is None else order <= 0


def at_least(left: Many, right: Many) -> Tri:
    """``>=``"""
    order = _order(left, right)
    return None if order is None else order >= 0


def below(left: Many, right: Many) -> Tri:
    """``<``"""
    order = _order(left, right)
    return None if order is None else order < 0


def above(left: Many, right: Many) -> Tri:
    """``>``"""
    order = _order(left, right)
    return None if order is None else order > 0


_TIME = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d))?)?)?")


def _order(left: Many, right: Many) -> int | None:
    """-1, 0, 1, or None where they cannot be compared: absent, of different kinds, dates of different precision."""
    if len(left) != 1 or len(right) != 1:
        return None
    a, b = left[0], right[0]
    if a.__class__ is dict and b.__class__ is dict:
        if "value" not in a or "value" not in b or any(a.get(key) != b.get(key) for key in ("system", "code")):
            return None
        a, b = a["value"], b["value"]
    if isinstance(a, str) and isinstance(b, str):
        return compare_times(a, b) if _TIME.fullmatch(a) and _TIME.fullmatch(b) else (a > b) - (a < b)
    if isinstance(a, int | float) and isinstance(b, int | float):
        return (a > b) - (a < b)
    return None


def compare_times(a: str, b: str) -> int | None:
    """Two dates, date-times or instants: -1, 0, 1, or None where the precision does not tell."""
    left, right = moment(a), moment(b)
    shared = min(len(left), len(right))
    if left[:shared] != right[:shared]:
        return 1 if left[:shared] > right[:shared] else -1
    return 0 if len(left) == len(right) else None


def moment(text: str) -> tuple[float, ...]:
    """Year, month, day as far as given; a time of day as minutes (UTC, days carried) and seconds."""
    match = _TIME.fullmatch(text)
    if match is None:
        return ()
    year, month, day, hour, minute, second, part, zone = match.groups()
    if hour is None:
        return tuple(float(each) for each in (year, month, day) if each)
    offset = 0 if zone == "Z" else (int(zone[1:3]) * 60 + int(zone[4:6])) * (1 if zone[0] == "+" else -1)
    minutes = int(hour) * 60 + int(minute) - offset
    carried, minutes = divmod(minutes, 1440)
    y, m, d = float(year), float(month), float(day)
    if carried:
        y, m, d = _shifted(int(year), int(month), int(day), carried)
    return (y, m, d, float(minutes), float(second) + float(part or 0))


def _shifted(year: int, month: int, day: int, days: int) -> tuple[float, float, float]:
    day += days
    if day < 1:
        month -= 1
        year, month = (year - 1, 12) if month < 1 else (year, month)
        day = days_of(year, month)
    elif day > days_of(year, month):
        day, month = 1, month + 1
        year, month = (year + 1, 1) if month > 12 else (year, month)
    return float(year), float(month), float(day)


def days_of(year: int, month: int) -> int:
    """How many days a month has."""
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in {4, 6, 9, 11} else 31


def plus(left: Many, right: Many) -> Many:
    """``+``"""
    return [left[0] + right[0]] if len(left) == 1 == len(right) and type(left[0]) is type(right[0]) else []


def joined(left: Many, right: Many) -> Many:
    """``&``: text, where empty counts as nothing."""
    texts = [str(nodes[0]) if nodes and not isinstance(nodes[0], dict) else "" for nodes in (left, right)]
    return ["".join(texts)]


def among(left: Many, right: Many) -> Tri:
    """``in``"""
    return left[0] in right if left else None


def union(left: Many, right: Many) -> Many:
    """``|``, without what is there twice."""
    found: Many = []
    for node in (*left, *right):
        if node not in found:
            found.append(node)
    return found


def combine(left: Many, right: Many) -> Many:
    """All of both."""
    return [*left, *right]


def intersect(left: Many, right: Many) -> Many:
    """What is in both."""
    return [node for node in union(left, []) if node in right]


def first(nodes: Many) -> Many:
    """The first, if any."""
    return nodes[:1]


def tail(nodes: Many) -> Many:
    """All but the first."""
    return nodes[1:]


def count(nodes: Many) -> Many:
    """How many."""
    return [len(nodes)]


def isdistinct(nodes: Many) -> bool:
    """True when nothing is there twice."""
    try:
        return len(set(nodes)) == len(nodes)
    except TypeError:
        return len(union(nodes, [])) == len(nodes)


def allfalse(nodes: Many) -> bool:
    """True when every one is false."""
    return not any(node is not False for node in nodes)


def hasvalue(nodes: Many) -> bool:
    """True for one primitive that has a value."""
    return len(nodes) == 1 and not isinstance(nodes[0], dict)


def _text(nodes: Many) -> str | None:
    return nodes[0] if len(nodes) == 1 and isinstance(nodes[0], str) else None


def startswith(nodes: Many, what: Many) -> Tri:
    """True when the text begins so."""
    text = _text(nodes)
    return None if text is None else text.startswith(what[0])


def contains(nodes: Many, what: Many) -> Tri:
    """True when the text has it somewhere."""
    text = _text(nodes)
    return None if text is None else what[0] in text


def matches(nodes: Many, what: Many) -> Tri:
    """True when the whole text is of the pattern, as HAPI reads R4's constraints."""
    text = _text(nodes)
    return None if text is None else _pattern(what[0]).fullmatch(text) is not None


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def substring(nodes: Many, start: Many) -> Many:
    """The text from a position on."""
    text = _text(nodes)
    return [] if text is None or start[0] >= len(text) else [text[start[0] :]]


def replacematches(nodes: Many, what: Many, by: Many) -> Many:
    """The text with every match replaced."""
    text = _text(nodes)
    return [] if text is None else [_pattern(what[0]).sub(by[0], text)]


def tointeger(nodes: Many) -> Many:
    """A whole number, where the text or value is one."""
    value = nodes[0] if len(nodes) == 1 else None
    if isinstance(value, str):
        return [int(value)] if re.fullmatch(r"[+-]?\d{1,18}", value, re.ASCII) else []
    return [int(value)] if isinstance(value, int) else []


def tostring(nodes: Many) -> Many:
    """The text of a value."""
    value = nodes[0] if len(nodes) == 1 else None
    if isinstance(value, bool):
        return ["true" if value else "false"]
    return [] if value is None or isinstance(value, dict) else [str(value)]


def children(nodes: Many) -> Many:
    """Everything directly below."""
    found: Many = []
    for node in nodes:
        if isinstance(node, dict):
            for child in node.values():
                found.extend(child if isinstance(child, list) else [child])
    return found


def descendants(nodes: Many) -> Many:
    """Everything below."""
    return list(_below(nodes))


def _below(nodes: Many) -> Iterator[Any]:
    for child in children(nodes):
        yield child
        if isinstance(child, dict):
            yield from _below([child])


def is_type(nodes: Many, name: str) -> Tri:
    """True for a resource of that type."""
    return nodes[0].get("resourceType") == name if len(nodes) == 1 and isinstance(nodes[0], dict) else None
