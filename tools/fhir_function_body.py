"""The body of one generated function: which lines check which element, and which constraints it holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from caremesh.fhir.definitions import terminology
from tools.fhir_types import Element
from tools.fhirpath_compiler import CannotCompile, compile_constraint

if TYPE_CHECKING:
    from tools.fhir_functions import Module

BY_HAND: Final = {
    "ele-1": "in every function",
    "ext-1": "written by hand",
    "dom-2": "written by hand",
    "dom-3": "written by hand",
    "dom-4": "written by hand",
    "dom-5": "written by hand",
    "ref-1": "written by hand",
    "txt-1": "written by hand",
    "txt-2": "written by hand",
    "per-1": "written by hand",
    "rng-2": "written by hand",
    "obs-7": "written by hand",
    "que-2": "written by hand",
    "ras-1": "written by hand",
}
"""Constraints that validation/invariants.py holds, for speed or because the compiler does not know their functions."""
LEFT_OUT: Final = {
    "dom-6": "a best practice that nearly every machine-made resource breaks",
    "cid-0": "names an element that R4 does not have",
    "ctm-1": "needs the resource behind a reference",
}
INVARIANTS: Final = {
    "Period": "period",
    "Range": "ranges",
    "Questionnaire": "link_ids",
    "Narrative": "narrative",
    "Reference": "reference",
    "Identifier": "identifier",
    "Extension": "one_content",
    "Bundle": "bundle_entries",
    "Observation": "same_code",
    "RiskAssessment.prediction": "probability",
}
SHARED: Final = frozenset(
    {"id", "meta", "implicitRules", "language", "text", "contained", "extension", "modifierExtension"}
)
"""What every resource has; invariants.domain() checks it."""
DATES: Final = frozenset({"date", "dateTime", "instant"})
WHOLE: Final = frozenset({"integer", "positiveInt", "unsignedInt"})
RESOURCE: Final = "Resource"
RUNTIME: Final = frozenset(
    [
        "kids",
        "prims",
        "one",
        "some",
        "or3",
        "and3",
        "xor3",
        "implies3",
        "not3",
        "same",
        "differs",
        "at_most",
        "at_least",
        "below",
        "above",
        "plus",
        "joined",
        "among",
        "union",
        "combine",
        "intersect",
        "first",
        "tail",
        "count",
        "isdistinct",
        "allfalse",
        "hasvalue",
        "startswith",
        "contains",
        "matches",
        "substring",
        "replacematches",
        "tointeger",
        "tostring",
        "children",
        "descendants",
        "is_type",
    ]
)


def function_name(path: str) -> str:
    """``Observation.referenceRange`` → ``check_observation_reference_range``."""
    return "check_" + snake(path)


def snake(path: str) -> str:
    """A path as a Python name."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", path.replace(".", "_")).lower()


class Function:
    """The body of one function, line by line."""

    def __init__(self, module: Module, path: str) -> None:
        self.module, self.path, self.types = module, path, module.types
        self.lines: list[str] = []

    def text(self) -> str:
        """The function."""
        name = function_name(self.path)
        self._say(0, f"def {name}(v: Any, c: Context) -> Problems | None:")
        self._say(1, f'"""{self.path}."""')
        if not self.types.is_resource(self.path):
            self._say(1, 'if len(v) < 2 and bare(v): return put(None, "", "ele-1")')
        self._say(1, "p: Problems | None = None")
        shared = SHARED if self.types.is_resource(self.path) else frozenset()
        if shared:
            self.module.hand.add("domain")
            self._say(1, "if q := domain(v, c): p = at(p, '', q)")
        for element in self.types.children(self.path).values():
            if element.max != "0" and element.name not in shared:
                self._element(element)
        self._coding()
        self._constraints()
        self._say(1, "return p")
        return "\n".join(self.lines)

    def _say(self, depth: int, line: str) -> None:
        self.lines.append("    " * depth + line)

    def _element(self, element: Element) -> None:
        if element.choice and len(element.keys) > 12:
            self._large_choice(element)
            return
        if element.choice and len(element.keys) > 1:
            self._say(1, f"n = {' + '.join(f'({key!r} in v)' for key in element.keys)}")
            self._say(1, f"if n > 1: p = put(p, {element.name!r}, 'choice')")
            if element.min:
                also = " or ".join(f"'_{key}' in v" for key in element.keys)
                self._say(1, f"elif n == 0 and not (c.under and ({also})): p = put(p, '{element.name}[x]', 'min')")
            if any(self._checks(element, key) for key in element.keys):
                self._say(1, "if n:")
                for key in element.keys:
                    self._key(element, key, 2, required=False)
            return
        for key in element.keys:
            self._key(element, key, 1, required=element.min > 0)

    def _needs_value(self, element: Element, code: str) -> bool:
        """A required binding wants a code; an extension does not stand for it (R4, terminologies, required)."""
        required = element.binding is not None and element.binding[0] == "required"
        return code == "code" and required and not element.many

    def _large_choice(self, element: Element) -> None:
        table = "{" + ", ".join(f"{key!r}: {self._check_name(element, key)}" for key in element.keys) + "}"
        name = self.module.constant(table, "KINDS_")
        self._say(1, "n = 0")
        self._say(1, "for k in v:")
        self._say(2, f"if k in {name}:")
        self._say(3, "n += 1")
        self._say(3, f"f = {name}[k]")
        self._say(3, "if f is not None and (q := f(v[k], c)): p = at(p, k, q)")
        self._say(1, f"if n > 1: p = put(p, {element.name!r}, 'choice')")
        if element.min:
            also = f"c.under and any(k[1:] in {name} for k in v)"
            self._say(1, f"elif n == 0 and not ({also}): p = put(p, '{element.name}[x]', 'min')")

    def _check_name(self, element: Element, key: str) -> str:
        code = element.keys[key]
        if self.types.is_primitive(code):
            return (
                f"{code}_value"
                if code in {"date", "dateTime", "instant", "canonical", "base64Binary", "uri"}
                else "None"
            )
        return self.module.call(element.at[key])

    def _key(self, element: Element, key: str, depth: int, *, required: bool) -> None:
        checks = self._checks(element, key)
        code = element.keys[key]
        missing = f"{key!r} not in v"
        if self.types.is_primitive(code):
            missing += f" and '_{key}' not in v"
        if checks:
            self._say(depth, f"if {key!r} in v:")
            if len(checks) > 1 or element.many:
                self._say(depth + 1, f"x = v[{key!r}]")
            for line in checks:
                self._say(depth + 1, line if len(checks) > 1 or element.many else _inlined(line, key))
            if self._needs_value(element, code):
                rule = f"'min' if '_{key}' not in v else 'code-missing'" if required else "'code-missing'"
                also = "" if required else f" '_{key}' in v and c.under"
                self._say(depth, f"{f'elif{also}' if also else 'else'}: p = put(p, {key!r}, {rule})")
            elif required:
                otherwise = missing.partition(" and ")[2]
                self._say(depth, f"{f'elif {otherwise}' if otherwise else 'else'}: p = put(p, {key!r}, 'min')")
        elif required:
            self._say(depth, f"if {missing}: p = put(p, {key!r}, 'min')")

    def _checks(self, element: Element, key: str) -> list[str]:
        """Lines that check ``x``, the value under a key."""
        code = element.keys[key]
        lines: list[str] = []
        if element.many and element.max != "*":
            raise CannotCompile(f"{element.path}: at most {element.max}; R4 has no such element")
        if self.types.is_primitive(code):
            if element.many:
                lines.append(f"if q := whole_array(v, {key!r}): p = at(p, {key!r}, q)")
            test = self._primitive_test(element, code)
            if test:
                name, rule, detail = test
                if element.many:
                    lines.append(f"if q := values({name}, x, {rule!r}{detail}): p = at(p, {key!r}, q)")
                elif name == "is_uri":
                    lines.append(f"if v[{key!r}][:4] == 'urn:' and not is_uri(v[{key!r}]): p = put(p, {key!r}, 'uri')")
                else:
                    failed = f"x not in {name.removesuffix('.__contains__')}" if "." in name else f"not {name}(x)"
                    lines.append(f"if {failed}: p = put(p, {key!r}, {rule!r}{detail})")
            return lines
        if code == "Reference":
            targets = self._targets(element, key)
            call = f"refer_all(x, c, {targets})" if element.many else f"refer(x, c, {targets})"
        else:
            place = self.module.call(element.at[key], inside=self.path == "Extension")
            call = f"many({place}, x, c)" if element.many else f"{place}(x, c)"
        lines.append(f"if q := {call}: p = at(p, {key!r}, q)")
        if bound := self._bound(element, code):
            chosen = f"{bound}.{'concept' if code == 'CodeableConcept' else 'coding'}"
            name = element.binding[1] if element.binding else ""
            if element.many:
                lines.append(f"if q := values({chosen}, x, 'binding', {name!r}): p = at(p, {key!r}, q)")
            else:
                lines.append(f"if not {chosen}(x): p = put(p, {key!r}, 'binding', {name!r})")
        return lines

    def _primitive_test(self, element: Element, code: str) -> tuple[str, str, str] | None:
        name = element.binding[1] if element.binding and element.binding[0] == "required" else ""
        if code in {"code", "string", "uri"} and name and self._enumerable(name):
            held = self.module.constant(f"codes({name!r})", "CODES_")
            return f"{held}.__contains__", "code", f", {name!r}"
        if code in DATES:
            return "real_day", "date", ""
        if code in WHOLE:
            return "is_whole", "whole", ""
        if code == "canonical":
            return "is_absolute", "canonical", ""
        if code == "base64Binary":
            return "is_base64", "base64", ""
        return ("is_uri", "uri", "") if code in {"uri", "url"} else None

    def _enumerable(self, name: str) -> bool:
        return bool(terminology()["sets"].get(name))

    def _targets(self, element: Element, key: str) -> str:
        targets = element.targets.get(key, [])
        if not targets or RESOURCE in targets:
            return "None"
        return self.module.constant(f"frozenset({targets!r})", "TYPES_")

    def _bound(self, element: Element, code: str) -> str | None:
        if (
            code not in {"CodeableConcept", "Coding", "Quantity"}
            or not element.binding
            or element.binding[0] != "required"
        ):
            return None
        name = element.binding[1]
        return self.module.constant(f"Bound({name!r})", "BOUND_") if self._enumerable(name) else None

    def _coding(self) -> None:
        if {"system", "code"} <= self.types.children(self.path).keys() and not self.types.is_resource(self.path):
            self._say(1, "if 'system' in v and 'code' in v and not known_code(v): p = put(p, 'code', 'coding')")
        if self.path in INVARIANTS:
            name = INVARIANTS[self.path]
            self.module.hand.add(name)
            self._say(1, f"if q := {name}(v, c): p = at(p, '', q)")

    def _constraints(self) -> None:
        numbers = dict.fromkeys(self.types.own_constraints(self.path))
        parent, _, last = self.path.rpartition(".")
        inherited = self.types.child(parent, last) if parent else None
        numbers |= dict.fromkeys(inherited.constraints if inherited else [])
        for number in numbers:
            self._constraint(number, self.path, "v", "")
        for element in self.types.children(self.path).values():
            own = set(element.constraints) - {
                each for place in element.at.values() for each in self.types.own_constraints(place)
            }
            for number in sorted(own):
                for key, place in element.at.items():
                    self._at_element(number, element, key, place)

    def _at_element(self, number: int, element: Element, key: str, place: str) -> None:
        """A constraint stated where a type is used: the element is ``v`` for it."""
        one = self.types.constraints[number]
        if one["key"] in BY_HAND or one["key"] in LEFT_OUT:
            return
        if self.types.is_primitive(element.keys[key]):
            place = element.keys[key]
        test = self._compiled(number, place)
        if test is None:
            return
        name = f"{function_name(self.path)}_{snake(element.name)}_{one['key'].replace('-', '_')}"
        self.module.functions.append(
            f"def {name}(v: Any, c: Context) -> Problems | None:\n"
            f'    """{one["key"]} at {self.path}.{element.name}."""\n'
            f"    return None if {test} else put(None, '', {one['key']!r})"
        )
        call = f"many({name}, v[{key!r}], c)" if element.many else f"{name}(v[{key!r}], c)"
        self._say(1, f"if {key!r} in v and (q := {call}): p = at(p, {key!r}, q)")

    def _constraint(self, number: int, place: str, _variable: str, _prefix: str) -> None:
        one = self.types.constraints[number]
        if one["key"] in BY_HAND or one["key"] in LEFT_OUT:
            return
        test = self._compiled(number, place)
        if test is not None:
            # an error needs a truth; advice on a value that is not there (xxx-0: name) would be noise
            failed = f"not ({test})" if one["severity"] == "error" else f"({test}) is False"
            self._say(1, f"if {failed}: p = put(p, '', {one['key']!r})")

    def _compiled(self, number: int, place: str) -> str | None:
        one = self.types.constraints[number]
        try:
            test = compile_constraint(one["expression"], self.types, place)
        except CannotCompile as why:
            self.module.left_out.append(f"{one['key']} at {place}: {why}")
            return None
        self.module.paths |= {name for name in RUNTIME if re.search(rf"\b{name}\(", test)}
        return test


def _inlined(line: str, key: str) -> str:
    """The only check of an element reads it in place."""
    return (
        line.replace("if x not", f"if v[{key!r}] not", 1)
        if "if x not" in line
        else line.replace("(x", f"(v[{key!r}]", 1)
    )
