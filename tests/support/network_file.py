"""The network file of a mesh, saying something else of some of its members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from caremesh import codec
from caremesh.node.mesh import LocalMesh


def network_file(mesh: LocalMesh, changes: Mapping[str, Mapping[str, Any]] | None = None) -> bytes:
    """``changes``: by a member's short name, what is said of it in the genesis document instead."""
    founding = mesh.founding
    document = founding.document
    others = {mesh.did(name): change for name, change in (changes or {}).items()}
    members = [replace(admitted, **others.get(admitted.member, {})) for admitted in document.members]
    return codec.encode(replace(founding, genesis=codec.encode(replace(document, members=members))))
