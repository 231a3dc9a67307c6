"""Compiled constraints against fhirpathpy: the same verdict on every element of the examples, and on damaged ones."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from fhirpathpy import compile as compile_path
from fhirpathpy.engine.nodes import ResourceNode
from fhirpathpy.models import models

from caremesh.fhir import definitions
from caremesh.fhir.validation import paths
from caremesh.fhir.validation.checks import Context
from tools.fhir_examples import kept
from tools.fhir_function_body import BY_HAND, LEFT_OUT
from tools.fhir_types import Types
from tools.fhirpath_compiler import compile_constraint

pytestmark = pytest.mark.slow

PER_CONSTRAINT = 12
TYPES = Types(definitions.structure())
BOOLEAN = "fhirpathpy takes Boolean for FHIRPath's own type, which no element of FHIR is; HAPI does as we do"
WHOLE = "fhirpathpy is content when part of the text matches; HAPI and we want the whole"
DIFFER = {"que-7": BOOLEAN, **{one["key"]: WHOLE for one in TYPES.constraints if one["key"].endswith("-0")}}
"""Constraints on which the two differ, and who is right by what."""


def elements(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a resource with where it is described."""
    yield path, node
    for element in TYPES.children(path).values():
        for key, place in element.at.items():
            for child in node.get(key, []) if isinstance(node.get(key), list) else [node.get(key)]:
                if isinstance(child, dict) and "resourceType" not in child and element.name != "extension":
                    yield from elements(child, place)


def damaged(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The object, and the same without each of its elements in turn."""
    yield node
    for key in node:
        yield {other: value for other, value in node.items() if other != key}


def by_path() -> dict[str, list[tuple[dict[str, Any], dict[str, Any]]]]:
    """Per place in the types: different objects found there, each with its resource."""
    found: dict[str, dict[str, tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(dict)
    for name, data in kept("r4").items():
        if len(data) > 40_000 or name.startswith(("StructureDefinition", "Bundle")):
            continue
        resource = json.loads(data)
        for path, node in elements(resource, resource["resourceType"]):
            for each in damaged(node) if path.partition(".")[0] == resource["resourceType"] else [node]:
                shape = json.dumps(sorted(each))
                found[path].setdefault(shape, (each, each if path == resource["resourceType"] else resource))
    return {
        path: sorted(held.values(), key=lambda one: hashlib.sha256(repr(one[0]).encode()).digest())[:PER_CONSTRAINT]
        for path, held in found.items()
    }


def oracle(expression: str, node: dict[str, Any], path: str, resource: dict[str, Any]) -> bool | None:
    """fhirpathpy's verdict, None where it raises."""
    context = {"resource": json.loads(json.dumps(resource)), "ucum": "http://unitsofmeasure.org"}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            copy = ResourceNode.create_node(json.loads(json.dumps(node)), path)
            found = compile_path(expression, models["r4"])(copy, context)
    except Exception:  # noqa: BLE001 - it raises whatever comes
        return None
    return len(found) > 0 and all(one is True or not isinstance(one, bool) for one in found)


def test_compiled_constraints_say_what_fhirpath_says() -> None:
    places = by_path()
    compared, unevaluated, different = 0, 0, defaultdict(list)
    for path in sorted(places):
        for number in TYPES.own_constraints(path):
            one = TYPES.constraints[number]
            if one["key"] in BY_HAND or one["key"] in LEFT_OUT:
                continue
            code = compile(compile_constraint(one["expression"], TYPES, path), one["key"], "eval")
            for node, resource in places[path]:
                context = Context(resource, under=True)
                ours = bool(eval(code, vars(paths) | {"v": node, "c": context}))  # noqa: S307 - our own expressions
                theirs = oracle(one["expression"], node, path, resource)
                if theirs is None:
                    unevaluated += 1
                elif ours != theirs:
                    different[one["key"]].append((path, sorted(node), ours, theirs))
                else:
                    compared += 1
    assert {key for key in different if key not in DIFFER} == set(), {key: held[:2] for key, held in different.items()}
    assert "que-7" in different, "what no longer differs is no longer listed"
    assert compared > 1_000
    assert unevaluated < compared / 20
