"""Whose desk a command of a member's people is done at: this node's, or that of a member of a mesh in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from caremesh.cli.output import existing_mesh
from caremesh.cli.wallet import opened_mesh

if TYPE_CHECKING:
    from caremesh.node.at_desk import MemberDesk
    from caremesh.node.desk import Desk


def is_node(home: Path) -> bool:
    """Whether a node has this home, and is not known to have ended."""
    from caremesh.node.doors import RUN, SOCKET

    return (home / RUN / SOCKET).exists()


@contextmanager
def node_desk(home: Path) -> Iterator[Desk]:
    """The desk of the node that runs in a home. Raises Unavailable node.21."""
    from caremesh.node.desk import Desk
    from caremesh.node.doors import RUN, SOCKET

    with closing(Desk(home / RUN / SOCKET)) as there:
        yield there


@contextmanager
def opened_desk(home: Path, member: str, *, quiet: bool) -> Iterator[Desk | MemberDesk]:
    """``home``: of a node that runs, whose member it is; or of a mesh, in which ``member`` is meant.

    Raises BadInput cli.04, node.04; Unavailable node.21.
    """
    if is_node(home):
        with node_desk(home) as there:
            yield there
        return
    existing_mesh(home)
    with opened_mesh(home, quiet=quiet) as mesh:
        yield mesh.desk(member)
