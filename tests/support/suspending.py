"""The authority of a local mesh suspends a member."""

from __future__ import annotations

from caremesh.contracts.members.messages import Suspend
from caremesh.node.mesh import LocalMesh


def suspend(mesh: LocalMesh, name: str, by: str = "regulator") -> None:
    """From the next block on the member may do nothing."""
    committed = mesh.send([mesh.member(by).home.requester], Suspend(member=mesh.member(name).home.did))
    assert not committed.code, committed.result
