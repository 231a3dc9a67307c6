"""Write docs/reference/api.md, and docs/reference/openapi.json beside it, from the routes in the code.

The routes are made over nothing: they are only described here, never asked.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

from msgspec import Struct

from caremesh import api
from caremesh.api import openapi, problems
from caremesh.api.limits import Limits
from caremesh.api.routes import Route
from caremesh.client.signing import ALWAYS, LIFE_S, WHERE_THERE

REFERENCE: Final = Path(__file__).parents[1] / "docs" / "reference"
PAGE: Final = REFERENCE / "api.md"
DOCUMENT: Final = REFERENCE / "openapi.json"


class _Nothing:
    """Stands for every port: whatever is asked of it is as little."""

    def __getattr__(self, _: str) -> _Nothing:
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())


_NOTHING: Final = cast("Any", _Nothing())
_NOT_MADE_OF: Final = frozenset({"health", "handover"})
"""Rooms whose routes are made of other routes."""

HEAD: Final = """# The HTTP interface

What a node answers. This page and [the OpenAPI 3.1 document](openapi.json) are written from the code
(`python -m tools.api_page`); a running node gives its own at `/openapi.json`.

## Every request
- TLS 1.3. A node shows a certificate under its key on the ledger, and so does a node that calls another
  ([how nodes know each other](../explanation/how-nodes-know-each-other.md)).
- Signed (RFC 9421, Ed25519), but for the routes that are for anyone: {covered}; {optional} where there are any;
  `created`, `expires` (at most {life} s later), `nonce` (16 bytes, base64url), `keyid`, `tag="caremesh/v1"`.
- `caremesh-to` is the DID of the member whose node is called.
- `keyid` is `did:caremesh:…#key` (a member's node key, a practitioner's key) or `did:key:…`.
- Bytes in addresses and in JSON are base64url without padding, CIDs base32. DAG-CBOR bodies are the very bytes that
  were signed or hashed; several are one list of byte strings.
- The same write again does no harm. A route that says *once* takes an `idempotency-key`, and answers the same again.
- An error is a problem (RFC 9457) with a [code](errors.md), its sentence, a place and a cure.

| kind of error | status | |
|---|---|---|
{kinds}

## Limits
Rates hold for a node, all else for each of its workers; [settings](settings.md) that begin with `http_` change most.

| limit | default |
|---|---|
{limits}
"""


def rooms() -> list[str]:
    """The modules of ``caremesh.api`` that have routes of their own."""
    names = sorted(info.name for info in pkgutil.iter_modules(api.__path__))
    return [name for name in names if name not in _NOT_MADE_OF and _makers(name)]


def routes() -> list[Route]:
    """Every route of every room, made over nothing."""
    found = [route for room in rooms() for make in _makers(room) for route in _made(make)]
    from caremesh.api import health

    return found + health.routes({}, found, "0", _NOTHING)


def _makers(room: str) -> list[Any]:
    module = importlib.import_module(f"caremesh.api.{room}")
    made = [value for name, value in vars(module).items() if name == "routes" or name.endswith("_routes")]
    return [each for each in made if inspect.isfunction(each) and each.__module__ == module.__name__]


def _made(make: Any) -> list[Route]:
    needed = [each for each in inspect.signature(make).parameters.values() if each.default is inspect.Parameter.empty]
    positional = [_NOTHING for each in needed if each.kind is not inspect.Parameter.KEYWORD_ONLY]
    named = {each.name: _NOTHING for each in needed if each.kind is inspect.Parameter.KEYWORD_ONLY}
    return list(make(*positional, **named))


def page() -> str:
    """The page, as Markdown."""
    kinds = "\n".join(
        f"| {kind.__name__} | {status} | {(kind.__doc__ or '').splitlines()[0]} |"
        for kind, status in problems.BY_KIND.items()
    )
    limits = "\n".join(f"| `{name}` | {getattr(Limits(), name):,} |" for name in Limits.__struct_fields__)
    covered, optional = (", ".join(f"`{name}`" for name in names) for names in (ALWAYS, WHERE_THERE))
    head = HEAD.format(covered=covered, optional=optional, life=LIFE_S, kinds=kinds, limits=limits)
    parts = [head, *(_room(name, every) for name, every in _by_room().items())]
    return "\n".join(parts)


def document() -> bytes:
    """The OpenAPI document, with the version left open."""
    return openapi.document(routes(), "0") + b"\n"


def _by_room() -> dict[str, list[Route]]:
    found: dict[str, list[Route]] = {}
    for route in routes():
        found.setdefault(route.name.partition(".")[0], []).append(route)
    return found


def _room(name: str, every: list[Route]) -> str:
    lines = [f"## {name}", "", "| | for | asks | answers |", "|---|---|---|---|"]
    for route in every:
        once = " *Once.*" if route.once else ""
        title = f"`{route.method} {route.path}`<br>{route.summary}.{once}"
        lines.append(f"| {title} | {openapi.who(route)} | {_asks(route)} | {_answers(route)} |")
    return "\n".join(lines) + "\n"


def _asks(route: Route) -> str:
    asked = [f"`{name}`{'' if required else '?'}" for name, _, required, _ in openapi.parameters(route)]
    if route.media:
        asked.append(f"{_shape(route.body)}, at most {route.max_bytes:,} bytes")
    return "; ".join(asked) or "–"


def _answers(route: Route) -> str:
    return _shape(route.answer) or "–"


def _shape(kind: type[Struct] | str) -> str:
    return f"`{kind.__name__}` (JSON)" if isinstance(kind, type) else kind


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    DOCUMENT.write_bytes(document())
    print(PAGE)
