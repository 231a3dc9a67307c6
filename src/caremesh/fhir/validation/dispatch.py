"""From the name of a type to what checks it: its JSON Schema and its generated function, each made on first use."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from typing import Any, Final

import jsonschema_rs

from caremesh.fhir import definitions
from caremesh.fhir.validation.checks import Check, Context, Problem, Problems, at, put

PREFIX: Final = "caremesh.fhir.validation.generated"
FIELD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
SHAPE: Final = "shape"
STUMBLES: Final = (TypeError, AttributeError, KeyError, ValueError, IndexError)


@cache
def types() -> frozenset[str]:
    """Names of the resource types of R4."""
    every = definitions.structure()["types"]
    return frozenset(name for name, one in every.items() if one["kind"] == "resource" and not one["abstract"])


@cache
def shape(name: str) -> jsonschema_rs.Validator:
    """The JSON Schema of a type."""
    document = {**definitions.schema(), "$ref": f"#/definitions/{name}"}
    document["$schema"] = "http://json-schema.org/draft-06/schema#"
    return jsonschema_rs.Draft6Validator(document)


@cache
def function(name: str) -> Check:
    """The generated function of a resource type."""
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    found: Check = getattr(import_module(f"{PREFIX}.{plain}"), f"check_{plain}")
    return found


def inner(v: dict[str, Any], c: Context) -> Problems | None:
    """Every problem of one resource, by schema and by function. None when there is none."""
    name = v.get("resourceType")
    if not isinstance(name, str) or name not in types():
        return put(None, "resourceType" if "resourceType" in v else "", "type")
    try:
        wrong = None if shape(name).is_valid(v) else _misshapen(name, v)
    except ValueError:  # Python values that JSON has not: only parsed input can hold them
        return put(None, "", "shape-type")
    if v is c.root:
        held = v.get("contained")
        c.ids = _ids(v, held) if held.__class__ is list else frozenset()
    if wrong is None:
        try:
            return function(name)(v, c)
        except STUMBLES:  # over a resource inside, whose own shape nobody has looked at yet
            return put(None, "", f"{SHAPE}-inside")
    # The functions count on every element being of its type. Where they stumble, the rest stays unchecked, and is
    # said so.
    try:
        found = function(name)(v, c)
    except STUMBLES:
        return put(wrong, "", "rest-not-checked")
    return at(wrong, "", [each for each in found if each.path not in {one.path for one in wrong}]) if found else wrong


def _ids(v: dict[str, Any], held: list[Any]) -> frozenset[str]:
    found = [each.get("id") for each in held if each.__class__ is dict]
    return frozenset(each for each in (*found, v.get("id")) if isinstance(each, str))


def _misshapen(name: str, v: dict[str, Any]) -> Problems:
    """What the schema says, in our words: never with a value in them."""
    problems: Problems | None = None
    for count, error in enumerate(shape(name).iter_errors(v)):
        if count >= 50:
            break
        path = _path([str(part) if isinstance(part, str) else part for part in error.instance_path])
        kind = error.kind.name
        detail = ""
        if kind == "additionalProperties":
            names = [each for each in getattr(error.kind, "unexpected", ()) if FIELD.fullmatch(each)]
            detail = ", ".join(names[:10])
        elif kind == "type":
            detail = str(error.schema_path[-2]) if len(error.schema_path) > 1 else ""
        problems = put(problems, path, f"{SHAPE}-{kind}", detail)
    return problems or [Problem("", f"{SHAPE}-type")]


def _path(parts: list[str | int]) -> str:
    path = ""
    for part in parts:
        path += (
            f"[{part}]" if isinstance(part, int) else f"{'.' if path else ''}{part if FIELD.fullmatch(part) else '?'}"
        )
    return path
