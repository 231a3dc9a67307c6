"""Write docs/reference/errors.md from every ErrorCode constant in the code; with --check, only compare."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

import caremesh
from caremesh.errors import CareMeshError, ErrorCode

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "errors.md"
SHOWN_WITHOUT: Final = "—"


class Declared(NamedTuple):
    """A constant: where it is declared, what it says, and the classes that are raised with it."""

    module: str
    name: str
    error: ErrorCode
    raised: tuple[type[CareMeshError], ...]


def modules() -> list[ModuleType]:
    """Every module of the package, in the order of names."""
    found = pkgutil.walk_packages(caremesh.__path__, "caremesh.")
    return [importlib.import_module(name) for name in sorted(info.name for info in found)]


def declared() -> list[Declared]:
    """Every ErrorCode constant, where it is assigned, in the order of codes."""
    trees = [(module, ast.parse(inspect.getsource(module))) for module in modules()]
    raised: dict[str, set[type[CareMeshError]]] = {}
    for module, tree in trees:
        for kind, error in _raised(module, tree):
            raised.setdefault(error.code, set()).add(kind)
    found = []
    for module, tree in trees:
        for node in tree.body:
            for target in _assigned(node):
                value = getattr(module, target, None)
                if isinstance(value, ErrorCode):
                    kinds = sorted(raised.get(value.code, set()), key=lambda kind: kind.exit_code)
                    found.append(Declared(module.__name__, target, value, tuple(kinds)))
    return sorted(found, key=lambda one: (one.error.code, one.module))


def _assigned(node: ast.stmt) -> Iterator[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    yield from (target.id for target in targets if isinstance(target, ast.Name))


def _raised(module: ModuleType, tree: ast.AST) -> Iterator[tuple[type[CareMeshError], ErrorCode]]:
    """Pairs of class and code wherever one is built from the other: ``Refused(NOT_ACTIVE, …)``."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[first, *_]):
                kind, code = getattr(module, name, None), _value(module, first)
                if isinstance(kind, type) and issubclass(kind, CareMeshError) and isinstance(code, ErrorCode):
                    yield kind, code
            case _:
                pass


def _value(module: ModuleType, node: ast.expr) -> object:
    match node:
        case ast.Name(id=name):
            return getattr(module, name, None)
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            return getattr(getattr(module, owner, None), name, None)
        case _:
            return None


def page(found: list[Declared]) -> str:
    """The page, in Markdown: one table per area."""
    lines = [
        "# Error codes",
        "",
        "Every error of CareMesh has a code that never changes its meaning, a sentence, a place, and often a cure.",
        "The kind decides the [exit code](exit-codes/index.md). `make docs` writes this page from the code.",
    ]
    area = ""
    for one in found:
        here, _, _ = one.error.code.partition(".")
        if here != area:
            area = here
            lines += ["", f"## {area}", "", "| code | what it says | what to do | kind |", "|---|---|---|---|"]
        kinds = ", ".join(f"[{kind.__name__}](exit-codes/{kind.exit_code}.md)" for kind in one.raised) or SHOWN_WITHOUT
        cells = (f"`{one.error.code}`", one.error.sentence, one.error.cure or SHOWN_WITHOUT, kinds)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write, or compare."""
    text = page(declared())
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.read_text("utf-8") == text else 1
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
