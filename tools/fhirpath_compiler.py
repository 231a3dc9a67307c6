"""Turn a constraint's FHIRPath into a Python expression over plain JSON, or say that it cannot.

The parser is fhirpathpy's. An expression has one of three kinds: ``bool`` (True or False), ``tri`` (or None: FHIRPath's
empty, which fails a constraint), ``list`` (a collection). What the expressions call is in
src/caremesh/fhir/validation/paths.py. https://hl7.org/fhirpath/N1/
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from fhirpathpy.parser import parse

from tools.fhir_types import Types

UCUM: Final = "http://unitsofmeasure.org"


class CannotCompile(Exception):
    """The expression uses what this compiler does not know."""


class Code(NamedTuple):
    """Python for one expression. ``at``: where its nodes are in the types, None when not known."""

    text: str
    kind: str
    at: str | None = None


class Scope(NamedTuple):
    """``$this``: the name of a Python variable, and where it is in the types."""

    this: str
    at: str | None
    root: str | None
    depth: int = 0


def compile_constraint(expression: str, types: Types, path: str) -> str:
    """A Python expression over ``v`` (the element) and ``c`` (the context), true when the constraint holds.

    Raises CannotCompile.
    """
    tree = parse(expression)["children"][0]  # type: ignore[no-untyped-call]
    return truth(_compile(tree, Scope("v", path, path.partition(".")[0]), types))


def truth(code: Code) -> str:
    """The expression as something that Python may branch on."""
    return f"one({code.text})" if code.kind == "list" else code.text


def _three(code: Code) -> str:
    return f"one({code.text})" if code.kind == "list" else code.text


def _many(code: Code) -> str:
    return code.text if code.kind == "list" else f"some({code.text})"


def _compile(node: dict[str, Any], scope: Scope, types: Types) -> Code:
    children = node.get("children", [])
    kind = node["type"]
    match kind:
        case "OrExpression" | "AndExpression" | "ImpliesExpression":
            return _logic(node, scope, types)
        case "EqualityExpression" | "InequalityExpression":
            left, right = (_many(_compile(one, scope, types)) for one in children)
            sign = node["terminalNodeText"][0]
            name = {"=": "same", "!=": "differs", "<=": "at_most", ">=": "at_least", "<": "below", ">": "above"}[sign]
            return Code(f"{name}({left}, {right})", "tri")
        case "AdditiveExpression":
            left, right = (_many(_compile(one, scope, types)) for one in children)
            return Code(f"{'joined' if node['terminalNodeText'] == ['&'] else 'plus'}({left}, {right})", "list")
        case "MembershipExpression":
            left, right = (_many(_compile(one, scope, types)) for one in children)
            if node["terminalNodeText"] == ["contains"]:
                left, right = right, left
            return Code(f"among({left}, {right})", "tri")
        case "UnionExpression":
            codes = [_compile(one, scope, types) for one in children]
            left, right = (_many(one) for one in codes)
            return Code(f"union({left}, {right})", "list", codes[0].at if codes[0].at == codes[1].at else None)
        case "TypeExpression":
            return _typed(children[0], children[1]["text"], node["terminalNodeText"][0], scope, types)
        case "InvocationExpression":
            return _invoke(children[1], _compile(children[0], scope, types), scope, types)
        case "TermExpression":
            return _term(children[0], scope, types)
        case _:
            raise CannotCompile(kind)


def _logic(node: dict[str, Any], scope: Scope, types: Types) -> Code:
    codes = [_compile(one, scope, types) for one in node["children"]]
    sign = node["terminalNodeText"][0]
    if all(one.kind == "bool" for one in codes):
        left, right = (f"({one.text})" for one in codes)
        text = {
            "or": f"{left} or {right}",
            "and": f"{left} and {right}",
            "xor": f"{left} != {right}",
            "implies": f"not {left} or {right}",
        }[sign]
        return Code(text, "bool")
    left, right = map(_three, codes)
    return Code(f"{sign}3({left}, {right})", "tri")


def _typed(subject: dict[str, Any], name: str, sign: str, scope: Scope, types: Types) -> Code:
    """``x is T`` and ``x as T``: of a choice, by the key that is there."""
    code = _compile(subject, scope, types)
    member = _member_name(subject)
    if member and scope.at and (element := types.child(scope.at, member)) and element.choice:
        wanted = name.rpartition(".")[2].lower()
        keys = [key for key, kind in element.keys.items() if kind.lower() == wanted]
        if sign == "is":
            return Code(" or ".join(f'"{key}" in {scope.this}' for key in keys) or "False", "bool")
        return Code(f"prims([{scope.this}], {', '.join(map(repr, keys))})", "list")
    if sign == "is":
        return Code(f'is_type({_many(code)}, "{name}")', "tri")
    raise CannotCompile(f"{sign} {name}")


def _member_name(node: dict[str, Any]) -> str | None:
    while node["type"] in {"TermExpression", "InvocationTerm"}:
        node = node["children"][0]
    return str(node["children"][0]["text"]).strip("`") if node["type"] == "MemberInvocation" else None


def _term(node: dict[str, Any], scope: Scope, types: Types) -> Code:
    inner = node["children"][0]
    match node["type"]:
        case "InvocationTerm":
            if inner["type"] == "ThisInvocation":
                return Code(f"[{scope.this}]", "list", scope.at)
            return _invoke(inner, Code(f"[{scope.this}]", "list", scope.at), scope, types)
        case "ParenthesizedTerm":
            code = _compile(inner, scope, types)
            return Code(f"({code.text})", code.kind, code.at)
        case "LiteralTerm":
            return _literal(inner)
        case "ExternalConstantTerm":
            name = inner["children"][0]["text"]
            if name == "ucum":
                return Code(f'["{UCUM}"]', "list")
            if name == "context":
                return Code("[v]", "list", scope.at if scope.this == "v" else None)
            if name in {"resource", "rootResource"}:
                at = scope.root if scope.root and types.is_resource(scope.root) and name == "resource" else None
                return Code(f"[c.{'resource' if name == 'resource' else 'root'}]", "list", at)
            raise CannotCompile(f"%{name}")
        case kind:
            raise CannotCompile(kind)


def _literal(node: dict[str, Any]) -> Code:
    text = node["text"]
    match node["type"]:
        case "StringLiteral":
            plain = text[1:-1].replace("\\'", "'").replace('\\"', '"').replace("\\/", "/").replace("\\\\", "\\")
            return Code(f"[{plain!r}]", "list")
        case "NumberLiteral":
            return Code(f"[{text}]", "list")
        case "BooleanLiteral":
            return Code("True" if text == "true" else "False", "bool")
        case kind:
            raise CannotCompile(kind)


def _invoke(node: dict[str, Any], on: Code, scope: Scope, types: Types) -> Code:
    if node["type"] == "MemberInvocation":
        return _member(str(node["children"][0]["text"]).strip("`"), on, types)
    if node["type"] != "FunctionInvocation":
        raise CannotCompile(node["type"])
    call = node["children"][0]
    name = call["children"][0]["text"]
    arguments = call["children"][1].get("children", []) if len(call["children"]) > 1 else []
    return _call(name, arguments, on, scope, types)


def _member(name: str, on: Code, types: Types) -> Code:
    if on.at is None:
        return Code(f"prims({_many(on)}, {name!r})", "list")
    if on.at == name and types.is_resource(name):
        return on  # `Appointment.status` inside Appointment
    element = types.child(on.at, name)
    if element is None:
        raise CannotCompile(f"{on.at}.{name}")
    keys = ", ".join(map(repr, element.keys))
    at = next(iter(element.at.values())) if len(element.at) == 1 else None
    return Code(f"{'prims' if element.any_primitive else 'kids'}({_many(on)}, {keys})", "list", at)


def _present(on: Code) -> str | None:
    """``"a" in v`` instead of building a list, for one step from one node."""
    for name in ("kids", "prims"):
        if on.text.startswith(f"{name}([") and on.text.count("(") == 1:
            variable, _, rest = on.text.removeprefix(f"{name}([").partition("], ")
            keys = [key.strip().strip("'") for key in rest.rstrip(")").split(",")]
            also = [f"_{key}" for key in keys] if name == "prims" else []
            if variable.isidentifier():
                return " or ".join(f'"{key}" in {variable}' for key in (*keys, *also))
    return None


def _call(name: str, arguments: list[dict[str, Any]], on: Code, scope: Scope, types: Types) -> Code:
    nodes = _many(on)
    if name == "not":
        return Code(f"not ({on.text})", "bool") if on.kind == "bool" else Code(f"not3({_three(on)})", "tri")
    if name == "trace":
        return on
    if name in {"where", "select", "all", "exists"} and arguments:
        inner = Scope(f"t{scope.depth + 1}", on.at, scope.root, scope.depth + 1)
        code = _compile(arguments[0], inner, types)
        loop = f"for {inner.this} in {nodes}"
        if name == "where":
            return Code(f"[{inner.this} {loop} if {truth(code)}]", "list", on.at)
        if name == "exists":
            return Code(f"any({truth(code)} {loop})", "bool")
        if name == "all":
            return Code(f"all({truth(code)} {loop})", "bool")
        return Code(f"[x {loop} for x in {_many(code)}]", "list", code.at)
    if name in {"exists", "empty"}:
        present = _present(on) or f"bool({nodes})"
        return Code(present if name == "exists" else f"not ({present})", "bool")
    if name == "iif":
        parts = [_compile(one, scope, types) for one in arguments]
        other = _many(parts[2]) if len(parts) > 2 else "[]"
        return Code(f"({_many(parts[1])} if {truth(parts[0])} else {other})", "list")
    if name == "is":
        return Code(f'is_type({nodes}, "{_type_argument(arguments[0])}")', "tri")
    given = [_many(_compile(one, scope, types)) for one in arguments]
    values = ", ".join([nodes, *given])
    match name:
        case "first" | "tail" | "combine" | "intersect" | "descendants" | "children":
            kept = on.at if name in {"first", "tail", "intersect"} else None
            return Code(f"{name}({values})", "list", kept)
        case "count" | "toInteger" | "toString" | "substring" | "replaceMatches":
            return Code(f"{name.lower()}({values})", "list")
        case "isDistinct" | "allFalse":
            return Code(f"{name.lower()}({values})", "bool")
        case "hasValue":
            return Code(f"hasvalue({values})", "bool")
        case "startsWith" | "contains" | "matches":
            return Code(f"{name.lower()}({values})", "tri")
        case _:
            raise CannotCompile(f"{name}()")


def _type_argument(node: dict[str, Any]) -> str:
    name = _member_name(node)
    if name is None:
        raise CannotCompile("is()")
    return name
