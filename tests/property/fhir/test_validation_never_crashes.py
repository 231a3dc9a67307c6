"""Whatever comes in, validation answers with an outcome: it never raises, and what was not JSON never passes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caremesh.errors import BadInput
from caremesh.fhir.validation import validate
from caremesh.fhir.validation.dispatch import types
from caremesh.fhir.validation.text import parse
from tools.fhir_examples import kept

pytestmark = pytest.mark.slow
SMALL = [json.loads(data) for name, data in sorted(kept("r4").items()) if len(data) < 3_000][::7]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "id",
        "meta",
        "extension",
        "value",
        "valueString",
        "code",
        "coding",
        "reference",
        "contained",
        "text",
        "div",
        "period",
    ]
)


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every owner and key of a JSON value."""
    found: list[tuple[Any, Any]] = []
    waiting = [node]
    while waiting:
        owner = waiting.pop()
        for key, child in list(owner.items()) if isinstance(owner, dict) else enumerate(owner):
            found.append((owner, key))
            if isinstance(child, dict | list):
                waiting.append(child)
    return found


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_examples(data: st.DataObject) -> None:
    resource = copy.deepcopy(data.draw(st.sampled_from(SMALL)))
    for _ in range(data.draw(st.integers(1, 4))):
        owner, key = data.draw(st.sampled_from(places(resource)))
        owner[key] = data.draw(JSON)
    outcome = validate(json.dumps(resource).encode())
    assert all(issue.diagnostics for issue in outcome.issues)
    assert validate(outcome.as_fhir()).valid


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(types())), st.dictionaries(NAMES, JSON, max_size=4))
def test_any_json_as_any_type(name: str, more: dict[str, Any]) -> None:
    outcome = validate({**more, "resourceType": name})
    assert outcome.as_fhir()["issue"]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes(data: bytes) -> None:
    assert validate(data).issues


def strictly(text: str) -> bool:
    """True when some object of the text has a key twice, by the slow and certain way."""
    twice = []
    json.loads(text, object_pairs_hook=lambda pairs: twice.append(len(dict(pairs)) != len(pairs)))
    return any(twice)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """JSON objects as text, keys given twice and white space included."""
    space = st.sampled_from(["", "", "", " ", "\n"])
    keys = st.sampled_from(['"a"', '"b"', '"a\\\\"', '"\\":"', '"\\u0061"'])
    values = st.sampled_from(["1", "1.50", '"x"', '":"', '"\\":"', '"\\\\"', '" :"', "[]", "{}"])

    def thing(depth: int) -> str:
        pairs = []
        for _ in range(draw(st.integers(0, 3))):
            value = thing(depth + 1) if depth < 2 and draw(st.booleans()) else draw(values)
            pairs.append(f"{draw(keys)}{draw(space)}:{draw(space)}{value}")
        return "{" + ",".join(pairs) + "}"

    return thing(0)


@settings(max_examples=500, deadline=None)
@given(texts())
def test_a_key_twice_is_always_found(text: str) -> None:
    try:
        parse(text.encode())
        refused = False
    except BadInput as error:
        refused = error.code == "fhir.21"
    assert refused == strictly(text), text
