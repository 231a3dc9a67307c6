"""What a resource says it conforms to, checked where the profile is installed: the fourth layer.

A profile is read from its snapshot, once, into a tree. Checked: cardinality, types, fixed values and patterns, required
bindings, targets of references, slices told apart by value, pattern, existence or type, and constraints by FHIRPath.
Whatever cannot be checked (a value set without an end, a slice told apart by profile, an expression that raises) is
collected as *not checked*; it never counts as passed. https://hl7.org/fhir/R4/profiling.html
"""

from __future__ import annotations

import re
from typing import Any, Final

from caremesh.fhir import definitions
from caremesh.fhir.validation.checks import Problem
from caremesh.fhir.validation.packages import Definitions
from caremesh.fhir.validation.profile_tree import Node, build, values_of
from caremesh.fhir.validation.profile_values import Terminology, expected, matches_pattern

LAYER: Final = "profile"
_BASE_KEYS: Final = frozenset(one["key"] for one in definitions.structure()["constraints"])
_OWN: Final = "http://hl7.org/fhir/StructureDefinition/"
_DEEPEST: Final = 64
_URL: Final = re.compile(r"https?://[!-~]{1,200}")


class Profiles:
    """HL7's own profiles of R4 and the installed ones, ready to check resources with."""

    def __init__(self, held: Definitions) -> None:
        self.definitions = held
        self.terminology = Terminology(held)
        self._trees: dict[str, Node | None] = {}

    def tree(self, url: str) -> Node | None:
        """The profile of this url, version or not; None when it is not installed or has no snapshot."""
        plain = url.partition("|")[0]
        if plain not in self._trees:
            structure = self.definitions.structures.get(plain)
            if structure is None and plain.startswith(_OWN):
                structure = definitions.profiles().get(plain)
            elements = structure.get("snapshot", {}).get("element") if structure else None
            self._trees[plain] = build(elements) if elements else None
        return self._trees[plain]

    def check(self, resource: dict[str, Any]) -> tuple[list[Problem], list[str]]:
        """Problems of one resource against every profile that it declares, and what was not checked."""
        found: list[Problem] = []
        unknown: list[str] = []
        declared = resource.get("meta", {}).get("profile", ())
        for url in dict.fromkeys(one for one in declared if isinstance(one, str)):
            tree = self.tree(url)
            if tree is None:
                unknown.append(f"profile {url if _URL.fullmatch(url) else '(no URL)'}: it is not installed")
            else:
                run = Run(self, resource)
                run.node(tree, resource, "", 0)
                found += run.problems
                unknown += run.not_checked
        return list(dict.fromkeys(found)), list(dict.fromkeys(unknown))


class Run:
    """One resource against one profile."""

    def __init__(self, profiles: Profiles, resource: dict[str, Any]) -> None:
        self.profiles = profiles
        self.resource = resource
        self.problems: list[Problem] = []
        self.not_checked: list[str] = []

    def node(self, node: Node, value: Any, path: str, depth: int, name: str = "") -> None:
        """One element that is there: its own rules, then its children's."""
        if depth > _DEEPEST:
            self.not_checked.append(f"{node.path}: nested deeper than any profile")
            return
        self._constraints(node, value, path, node.type_of(name))
        if not isinstance(value, dict):
            return
        for child in node.children.values():
            found = values_of(child, value)
            self._count(child, len(found), path)
            for key, index, one in found:
                place = f"{path}.{key}" if path else key
                place += "" if index is None else f"[{index}]"
                self._value(child, key, one, place)
                self.node(child, one, place, depth + 1, key)
            if child.slices:
                self._slices(child, found, path, depth)

    def _count(self, node: Node, number: int, path: str) -> None:
        name = f"{path}.{node.label}" if path else node.label
        if number < node.min:
            self.problems.append(Problem(name, "profile-min", str(node.min)))
        if node.max is not None and number > node.max:
            self.problems.append(Problem(name, "profile-max", str(node.max)))

    def _value(self, node: Node, key: str, value: Any, place: str) -> None:
        fixed, pattern = node.fixed, node.pattern
        if fixed is not None and value != fixed:
            self.problems.append(Problem(place, "profile-fixed"))
        if pattern is not None and not matches_pattern(value, pattern):
            self.problems.append(Problem(place, "profile-pattern"))
        if node.choice and not node.allows(key):
            self.problems.append(Problem(place, "profile-type", ", ".join(node.types)))
        if node.required_set:
            verdict = self.profiles.terminology.within(node.required_set, value)
            if verdict is None:
                self.not_checked.append(f"value set {node.required_set}: it cannot be enumerated here")
            elif not verdict:
                self.problems.append(Problem(place, "profile-binding", node.required_set))
        if node.targets and isinstance(value, dict) and isinstance(value.get("reference"), str):
            self._target(node, value["reference"], place)
        for url in node.profiles:
            tree = self.profiles.tree(url)
            if tree is not None and node.types == ["Extension"]:
                self.node(tree, value, place, 1)

    def _target(self, node: Node, reference: str, place: str) -> None:
        kinds = set()
        for url in node.targets:
            structure = self.profiles.definitions.structures.get(url.partition("|")[0])
            kinds.add(structure["type"] if structure else url.rpartition("/")[2])
        parts = reference.split("/")
        known = definitions.structure()["types"]
        named = parts[-2] if len(parts) >= 2 and parts[-2] in known else None
        if named and kinds <= known.keys() and not kinds & {"Resource", named}:
            self.problems.append(Problem(place, "profile-target", ", ".join(sorted(kinds))))

    def _slices(self, node: Node, found: list[tuple[str, int | None, Any]], path: str, depth: int) -> None:
        held: dict[str, int] = dict.fromkeys(node.slices, 0)
        open_ = True
        for key, index, one in found:
            place = f"{path}.{key}" if path else key
            place += "" if index is None else f"[{index}]"
            for name, piece in node.slices.items():
                verdict = expected(piece, node.discriminators, one, self.profiles.terminology)
                if verdict is None:
                    self.not_checked.append(f"slice {name} of {node.path}: what tells it apart is not known here")
                    open_ = False
                elif verdict:
                    held[name] += 1
                    self._value(piece, key, one, place)
                    self.node(piece, one, place, depth + 1, key)
                    break
            else:
                if node.closed and open_:
                    self.problems.append(Problem(place, "profile-slice"))
        for name, number in held.items() if open_ else ():
            self._count(node.slices[name], number, path)

    def _constraints(self, node: Node, value: Any, path: str, described: str) -> None:
        asked = [one for one in node.constraints if one[0] not in _BASE_KEYS]
        if not asked:
            return
        from caremesh.fhir.validation.fhirpath import Unevaluated, holds  # slow to import, seldom needed

        for key, severity, expression, human in asked:
            try:
                if not holds(expression, value, described, self.resource):
                    rule = "profile-constraint" if severity == "error" else "profile-advice"
                    self.problems.append(Problem(path, rule, f"{key}: {human}"))
            except Unevaluated:
                self.not_checked.append(f"constraint {key} at {node.path}: unevaluated")
