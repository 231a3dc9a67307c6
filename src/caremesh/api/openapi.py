"""The OpenAPI 3.1 document of a list of routes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct

from caremesh.api.routes import Kind, Route
from caremesh.client import wire
from caremesh.client.wire import Problem

_IN_PATH: Final = re.compile(r"\{([a-z_]+)(?::[a-z]+)?\}")
_REF: Final = "#/components/schemas/{name}"
WHO: Final[dict[str, str]] = {
    "anyone": "anyone, signed or not",
    "key": "whoever has a key (`did:key`)",
    "practitioner": "practitioners",
    "member": "members",
}


def document(routes: Sequence[Route], version: str) -> bytes:
    """The document, as JSON with sorted keys."""
    structures = sorted(_structures(routes), key=lambda kind: kind.__name__)
    schemas, components = msgspec.json.schema_components(structures, ref_template=_REF)
    by_kind = dict(zip(structures, schemas, strict=True))
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(_IN_PATH.sub(r"{\1}", route.path), {})[route.method.lower()] = _operation(route, by_kind)
    whole = {
        "openapi": "3.1.0",
        "info": {
            "title": "CareMesh node",
            "version": version,
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
            "description": "Requests are signed (RFC 9421), errors are problem details (RFC 9457).",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "signature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Signature-Input",
                    "description": "RFC 9421, Ed25519, by a key that the ledger names, or `did:key`",
                },
                "certificate": {
                    "type": "mutualTLS",
                    "description": "A certificate signed by the caller's node key on the ledger",
                },
            },
        },
    }
    return msgspec.json.format(msgspec.json.encode(whole, order="deterministic"), indent=1)


def who(route: Route) -> str:
    """Who may ask, in words."""
    if "anyone" in route.callers:
        return WHO["anyone"]
    named = ", ".join(WHO[kind] for kind in get_args(Kind) if kind in route.callers)
    return named + (" (node to node only)" if route.pinned else "")


def parameters(route: Route) -> list[tuple[str, str, bool, Any]]:
    """(name, ``path`` or ``query``, required, schema) of what stands in the address."""
    in_path = _IN_PATH.findall(route.path)
    if route.asked is None:
        return [(name, "path", True, {"type": "string"}) for name in in_path]
    [schema], components = msgspec.json.schema_components([route.asked], ref_template=_REF)
    described = components[schema["$ref"].rpartition("/")[2]]
    required = described.get("required", [])
    return [
        (name, "path" if name in in_path else "query", name in required, what)
        for name, what in described["properties"].items()
    ]


def _structures(routes: Sequence[Route]) -> set[type[Struct]]:
    named = [kind for route in routes for kind in (route.body, route.answer) if isinstance(kind, type)]
    return {Problem, *named}


def _operation(route: Route, schemas: dict[type[Struct], Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"For {who(route)}.",
        "tags": [route.name.partition(".")[0]],
        "parameters": [
            {"name": name, "in": where, "required": required, "schema": schema}
            for name, where, required, schema in parameters(route)
        ],
        "responses": {
            str(route.status): {
                "description": route.answer if isinstance(route.answer, str) and route.answer else "What was asked for",
                "content": {route.answer_media: {"schema": _schema(route.answer, schemas)}},
            },
            "4XX": _problem("What the caller can mend", schemas),
            "5XX": _problem("What this node could not do", schemas),
        },
        "security": _security(route),
    }
    if route.media:
        operation["requestBody"] = {
            "required": True,
            "description": f"At most {route.max_bytes} bytes",
            "content": {route.media: {"schema": _schema(route.body, schemas)}},
        }
    return operation


def _schema(kind: type[Struct] | str, schemas: dict[type[Struct], Any]) -> Any:
    return schemas[kind] if isinstance(kind, type) else {"description": kind}


def _problem(text: str, schemas: dict[type[Struct], Any]) -> dict[str, Any]:
    return {"description": text, "content": {wire.PROBLEM: {"schema": schemas[Problem]}}}


def _security(route: Route) -> list[dict[str, list[str]]]:
    if "anyone" in route.callers:
        return [{}, {"signature": []}]
    return [{"signature": [], "certificate": []}] if route.pinned else [{"signature": []}]
