"""A profile's snapshot as a tree of elements and slices."""

from __future__ import annotations

from typing import Any, Final

_PREFIXES: Final = ("fixed", "pattern")


class Node:
    """One element of a profile. ``slices`` by name; ``max`` None: no end."""

    __slots__ = (
        "children",
        "choice",
        "closed",
        "constraints",
        "discriminators",
        "fixed",
        "label",
        "max",
        "min",
        "name",
        "path",
        "pattern",
        "profiles",
        "required_set",
        "slices",
        "targets",
        "type_path",
        "types",
    )

    def __init__(self, element: dict[str, Any]) -> None:
        self.path: str = element["path"]
        last = self.path.rpartition(".")[2]
        self.choice = last.endswith("[x]")
        self.name = last.removesuffix("[x]")
        self.label = (element.get("sliceName") and f"{self.name}:{element['sliceName']}") or self.name
        self.min: int = element.get("min", 0)
        top = element.get("max", "*")
        self.max: int | None = None if top == "*" else int(top)
        kinds = element.get("type", [])
        self.types: list[str] = [one["code"] for one in kinds]
        self.profiles: list[str] = [url for one in kinds for url in one.get("profile", ())]
        self.targets: list[str] = [url for one in kinds for url in one.get("targetProfile", ())]
        self.fixed, self.pattern = (_held(element, prefix) for prefix in _PREFIXES)
        binding = element.get("binding", {})
        self.required_set: str = binding.get("valueSet", "") if binding.get("strength") == "required" else ""
        slicing = element.get("slicing", {})
        self.closed: bool = slicing.get("rules") == "closed"
        self.discriminators: list[dict[str, str]] = slicing.get("discriminator", [])
        self.constraints: list[tuple[str, str, str, str]] = [
            (one["key"], one["severity"], one["expression"], one.get("human", ""))
            for one in element.get("constraint", ())
            if "expression" in one
        ]
        plain = len(self.types) == 1 and self.types[0] not in {"BackboneElement", "Element", "Resource"}
        self.type_path = self.types[0] if plain else self.path
        self.children: dict[str, Node] = {}
        self.slices: dict[str, Node] = {}

    def type_of(self, key: str) -> str:
        """Where the type of what stands under a key is described: a choice says it in the key."""
        if not self.choice:
            return self.type_path
        return next((kind for kind in self.types if key == self.name + kind[0].upper() + kind[1:]), self.type_path)

    def allows(self, key: str) -> bool:
        """True when a form of the choice is one of the types."""
        return any(key == self.name + kind[0].upper() + kind[1:] for kind in self.types)


def _held(element: dict[str, Any], prefix: str) -> Any:
    return next((value for key, value in element.items() if key.startswith(prefix)), None)


def build(elements: list[dict[str, Any]]) -> Node:
    """The tree of a snapshot's elements, whose ids say what belongs where (``Observation.component:systolic.code``)."""
    root = Node(elements[0])
    for element in elements[1:]:
        steps = element["id"].split(".")[1:]
        parent: Node | None = root
        for step in steps[:-1]:
            parent = _step(parent, step) if parent else None
        if parent is None:
            continue
        name, _, piece = steps[-1].partition(":")
        plain = name.removesuffix("[x]")
        if piece:
            owner = parent.children.get(plain)
            if owner is not None:
                owner.slices[piece] = Node(element)
        else:
            parent.children[plain] = Node(element)
    return root


def _step(node: Node, step: str) -> Node | None:
    name, _, piece = step.partition(":")
    child = node.children.get(name.removesuffix("[x]"))
    return child.slices.get(piece) if child is not None and piece else child


def values_of(node: Node, owner: dict[str, Any]) -> list[tuple[str, int | None, Any]]:
    """What is under an element: JSON key, index in its array or None, value. A primitive may have extensions only."""
    found: list[tuple[str, int | None, Any]] = []
    keys = (
        [key for key in owner if key.startswith(node.name) and key[len(node.name) : len(node.name) + 1].isupper()]
        if node.choice
        else [node.name]
    )
    for key in keys:
        value = owner.get(key)
        if value is None:
            value = owner.get(f"_{key}")
        if isinstance(value, list):
            found += [(key, index, one) for index, one in enumerate(value) if one is not None]
        elif value is not None:
            found.append((key, None, value))
    return found
