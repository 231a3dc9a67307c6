"""The types of FHIR R4 as the generators see them: what a path has for children, under which JSON keys."""

from __future__ import annotations

from typing import Any, NamedTuple

Json = dict[str, Any]


class Element(NamedTuple):
    """One element. ``keys``: JSON key to type code; ``at``: JSON key to where its children are described."""

    name: str
    path: str
    min: int
    max: str
    choice: bool
    keys: dict[str, str]
    at: dict[str, str]
    targets: dict[str, list[str]]
    binding: tuple[str, str] | None
    constraints: list[int]
    any_primitive: bool

    @property
    def many(self) -> bool:
        """True when JSON has an array here."""
        return self.max not in {"0", "1"}


class Types:
    """All types, from the compact structure file."""

    def __init__(self, structure: Json) -> None:
        self.types: dict[str, Json] = structure["types"]
        self.constraints: list[Json] = structure["constraints"]
        self._children: dict[str, dict[str, Element]] = {}
        self._own: dict[str, list[int]] = {}
        for name, one in self.types.items():
            for each in one["elements"]:
                self._children.setdefault(each["path"], {})
                self._own[each["path"]] = each.get("constraints", [])
                parent, _, last = each["path"].rpartition(".")
                if parent:
                    self._children.setdefault(parent, {})[last.removesuffix("[x]")] = self._element(name, each)

    def _element(self, owner: str, one: Json) -> Element:
        name = one["path"].rpartition(".")[2]
        choice = name.endswith("[x]")
        plain = name.removesuffix("[x]")
        keys, at, targets = {}, {}, {}
        for kind in one.get("types", [{"code": ""}]):
            code = kind["code"] or "same"
            key = plain + code[0].upper() + code[1:] if choice else plain
            keys[key] = code
            if "same" in one:
                at[key] = one["same"]
            else:
                at[key] = one["path"] if code in {"BackboneElement", "Element"} and owner != "Element" else code
            if "target" in kind:
                targets[key] = kind["target"]
        binding = tuple(one["binding"]) if "binding" in one else None
        primitive = any(self.is_primitive(code) for code in keys.values())
        size = one["min"], one["max"]
        constraints = one.get("constraints", [])
        return Element(plain, one["path"], *size, choice, keys, at, targets, binding, constraints, primitive)

    def is_primitive(self, code: str) -> bool:
        """True of string, date and the like, and of what FHIRPath calls System types."""
        return code not in {"same", ""} and (code not in self.types or self.types[code]["kind"] == "primitive-type")

    def is_resource(self, name: str) -> bool:
        """True of types that stand alone."""
        return name in self.types and self.types[name]["kind"] == "resource"

    def children(self, path: str) -> dict[str, Element]:
        """The elements directly below a path, by name."""
        return self._children.get(path, {})

    def child(self, path: str, name: str) -> Element | None:
        """One of them, by its name, or by its full name of a choice (``valueString``)."""
        return self.children(path).get(name)

    def own_constraints(self, path: str) -> list[int]:
        """Numbers of the constraints stated at a path itself."""
        return self._own.get(path, [])
