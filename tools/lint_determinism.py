"""Refuse what could give two replicas two answers, in the code that decides (promise P7, one history).

Refused in ``contracts``, ``ledger``, ``codec``:

    D1  floating point: literals, ``float()``, ``complex()``, ``/`` and ``/=``; ``math``, ``statistics`` …
    D2  ``hash()`` and ``id()``: they differ from process to process
    D3  iteration over a set in its own order: ``for``, comprehensions, unpacking, ``list()``, ``tuple()``, ``iter()``,
        ``enumerate()``, ``dict.fromkeys()``, ``join()``, ``pop()`` …; but ``sorted()``, ``len()``, ``min()``,
        ``max()``, ``any()``, ``all()`` and membership are fine
    D4  clocks, entropy and the machine: ``random``, ``secrets``, ``uuid``, ``time``, ``datetime``, ``os``, ``sys`` …
    D5  changing in place what another object holds (``consent.actions.append()``, ``stream.custodians[0] = …``),
        there or through a local name: values out of state are shared, so a handler makes new ones; what ``self``
        holds is its own

Dictionaries keep the order of insertion (Python language reference, 3.7), so iterating over one is fine.
Sets are found by form and by name: displays, comprehensions, ``set()``, ``frozenset()``, their operators and methods,
``.keys()`` under a set operator, and names or attributes annotated or assigned as one of these in the same file.
This is a lint, not a proof: the proof is running the same blocks under other hash seeds.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

GUARDED: Final = ("src/caremesh/contracts", "src/caremesh/ledger", "src/caremesh/codec.py")

FLOATING: Final = frozenset({"math", "cmath", "statistics", "decimal", "fractions"})
OUTSIDE: Final = frozenset(
    {"asyncio", "concurrent", "datetime", "getpass", "locale", "multiprocessing", "os", "pathlib", "platform", "random"}
    | {
        "secrets",
        "shutil",
        "signal",
        "socket",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "uuid",
        "zoneinfo",
    }
)
SET_TYPES: Final = frozenset({"set", "frozenset", "Set", "FrozenSet", "AbstractSet", "MutableSet"})
SET_METHODS: Final = frozenset({"union", "intersection", "difference", "symmetric_difference"})
ORDER_TAKERS: Final = frozenset(
    {"list", "tuple", "iter", "enumerate", "map", "filter", "zip", "reversed", "next", "dict"}
)
CHANGING: Final = frozenset(
    {"append", "clear", "extend", "insert", "pop", "popitem", "remove", "reverse", "setdefault", "sort", "update"}
)
ORDER_METHODS: Final = frozenset({"join", "extend", "fromkeys", "from_iterable"})


class Finding(NamedTuple):
    """One refused place: path, line, rule and what to do."""

    path: Path
    line: int
    rule: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule} {self.advice}"


def lint(path: Path, source: str) -> list[Finding]:
    """All findings of one file, in the order of its lines."""
    tree = ast.parse(source, str(path))
    sets = _names_of_sets(tree)
    found = {(node.lineno, rule, advice) for node, rule, advice in _findings(tree, sets)}
    return [Finding(path, line, rule, advice) for line, rule, advice in sorted(found)]


def _findings(tree: ast.AST, sets: frozenset[str]) -> Iterator[tuple[ast.stmt | ast.expr, str, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=float() | complex()):
                yield node, "D1", "a float literal; count in integers"
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                yield node, "D1", "true division gives a float; use //"
            case ast.Call(func=ast.Name(id="float" | "complex" as name)):
                yield node, "D1", f"{name}() makes a float"
            case ast.Call(func=ast.Name(id="hash" | "id" as name)):
                yield node, "D2", f"{name}() differs from process to process"
            case ast.Import(names=names):
                for alias in names:
                    yield from _check_import(node, alias.name)
            case ast.ImportFrom(module=str(module), level=0):
                yield from _check_import(node, module)
            case _:
                pass
        for changed in (*filter(_is_of_another, _changed_in_place(node)), *_changed_by_alias(node)):
            yield changed, "D5", "this belongs to another object; make a new value"
        for iterated in _iterated(node):
            if _is_set(iterated, sets):
                yield iterated, "D3", "a set has no order of its own; go through sorted()"


def _changed_by_alias(function: ast.AST) -> Iterator[ast.expr]:
    """Names that a function gives to what another object holds, and changes in place."""
    if not isinstance(function, ast.FunctionDef):
        return
    aliases: set[str] = set()
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=targets, value=value) if _is_of_another(value):
                aliases.update(target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Attribute() as value) if _is_of_another(value):
                aliases.add(name)
            case ast.NamedExpr(target=ast.Name(id=name), value=value) if _is_of_another(value):
                aliases.add(name)
            case _:
                pass
    for node in ast.walk(function):
        for changed in _changed_in_place(node):
            if isinstance(changed, ast.Name) and changed.id in aliases:
                yield changed


def _changed_in_place(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions whose value this node changes."""
    match node:
        case ast.Call(func=ast.Attribute(value=owner, attr=name)) if name in CHANGING:
            yield owner
        case ast.AugAssign(target=ast.Subscript(value=owner)) | ast.AugAssign(target=ast.Attribute() as owner):
            yield owner
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            yield from (target.value for target in targets if isinstance(target, ast.Subscript))
        case _:
            pass


def _is_of_another(node: ast.expr) -> bool:
    """Whether this is an attribute of something that is not ``self``."""
    if not isinstance(node, ast.Attribute):
        return False
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return not (isinstance(node, ast.Name) and node.id == "self")


def _check_import(node: ast.stmt, module: str) -> Iterator[tuple[ast.stmt, str, str]]:
    top = module.partition(".")[0]
    if top in FLOATING:
        yield node, "D1", f"{top} works in floats"
    if top in OUTSIDE:
        yield node, "D4", f"{top} brings in the machine; take it as an argument"


def _iterated(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions whose order of iteration this node takes."""
    match node:
        case ast.For(iter=expression) | ast.AsyncFor(iter=expression) | ast.YieldFrom(value=expression):
            yield expression
        case ast.ListComp(generators=generators) | ast.GeneratorExp(generators=generators):
            yield from (generator.iter for generator in generators)
        case ast.DictComp(generators=generators):
            yield from (generator.iter for generator in generators)
        case ast.Starred(value=expression):
            yield expression
        case ast.Assign(targets=[ast.Tuple() | ast.List()], value=expression):
            yield expression
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in ORDER_TAKERS:
            yield from arguments
        case ast.Call(func=ast.Attribute(attr=name), args=arguments) if name in ORDER_METHODS:
            yield from arguments
        case ast.Call(func=ast.Attribute(value=owner, attr="pop"), args=[]):
            yield owner
        case _:
            pass


def _is_set(node: ast.expr, sets: frozenset[str]) -> bool:  # noqa: PLR0911  # one return a form
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.Call(func=ast.Attribute(attr=name, value=owner)) if name in SET_METHODS | {"copy"}:
            return name in SET_METHODS or _is_set(owner, sets)
        case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
            return any(_is_set(side, sets) or _is_keys(side) for side in (left, right))
        case ast.IfExp(body=body, orelse=orelse):
            return _is_set(body, sets) or _is_set(orelse, sets)
        case ast.NamedExpr(value=value):
            return _is_set(value, sets)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in sets
        case _:
            return False


def _is_keys(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "keys"


def _is_set_annotation(node: ast.expr | None) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in SET_TYPES
        case ast.Subscript(value=ast.Name(id="Final" | "ClassVar" | "Annotated"), slice=inner):
            return _is_set_annotation(inner.elts[0] if isinstance(inner, ast.Tuple) and inner.elts else inner)
        case ast.Subscript(value=value):
            return _is_set_annotation(value)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _is_set_annotation(left) or _is_set_annotation(right)
        case _:
            return False


def _names_of_sets(tree: ast.AST) -> frozenset[str]:
    """Names and attributes that hold a set anywhere in this file. A name is one thing in one file, says the lint."""
    names: set[str] = set()
    before = -1
    while before != len(names):  # a name may get its set from another name
        before = len(names)
        known = frozenset(names)
        for node in ast.walk(tree):
            match node:
                case ast.AnnAssign(target=target, annotation=annotation, value=value):
                    held = _is_set_annotation(annotation) or (value is not None and _is_set(value, known))
                    names.update(_targets([target]) if held else ())
                case ast.Assign(targets=targets, value=value) if _is_set(value, known):
                    names.update(_targets(targets))
                case ast.NamedExpr(target=target, value=value) if _is_set(value, known):
                    names.update(_targets([target]))
                case ast.AugAssign(target=target, value=value) if _is_set(value, known):
                    names.update(_targets([target]))
                case ast.arg(arg=name, annotation=annotation) if _is_set_annotation(annotation):
                    names.add(name)
                case _:
                    pass
    return frozenset(names)


def _targets(targets: Sequence[ast.expr]) -> Iterator[str]:
    for target in targets:
        match target:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
            case _:
                pass


def files(roots: Sequence[Path]) -> list[Path]:
    """Python files at or below the roots. A missing root is an error: a lint that looks at nothing proves nothing."""
    missing = [root for root in roots if not root.exists()]
    if missing:
        raise FileNotFoundError(missing[0])
    return sorted(path for root in roots for path in ([root] if root.is_file() else root.rglob("*.py")))


def main(arguments: Sequence[str]) -> int:
    """Print the findings of the given paths, or of the guarded packages. Exit code 1 when there are any."""
    roots = [Path(argument) for argument in arguments or GUARDED]
    findings = [finding for path in files(roots) for finding in lint(path, path.read_text("utf-8"))]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
