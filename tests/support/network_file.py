"""The network file of a mesh, saying something else of some of its members, or nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from msgspec.structs import replace

from caremesh import codec
from caremesh.node.mesh import LocalMesh


def network_file(
    mesh: LocalMesh, changes: Mapping[str, Mapping[str, Any]] | None = None, without: Collection[str] = ()
) -> bytes:
    """``changes``: by a member's short name, what is said of it in the genesis document instead; ``without``: of whom
    nothing is said.
    """
    founding = mesh.founding
    document = founding.document
    others = {mesh.did(name): change for name, change in (changes or {}).items()}
    left_out = {mesh.did(name) for name in without}
    members = [
        replace(admitted, **others.get(admitted.member, {}))
        for admitted in document.members
        if admitted.member not in left_out
    ]
    return codec.encode(replace(founding, genesis=codec.encode(replace(document, members=members))))
