"""Whom a command that checks a file trusts: the founders of the wallet's network, of this node's, or of a mesh here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from caremesh.cli.output import existing_mesh
from caremesh.cli.wallet import wallet_path

if TYPE_CHECKING:
    from caremesh.node.founding import Founding


def founders(home: Path, wallet: Path | None = None) -> Founding:
    """``home``: of a node, or of a mesh on this machine; ``wallet``: one that has joined a network comes first.

    Raises BadInput cli.04 where there are none; Tampered wallet.63, node.05.
    """
    from msgspec import UNSET
    from msgspec.structs import replace

    from caremesh import codec
    from caremesh.cli.errors import NO_MESH
    from caremesh.errors import BadInput
    from caremesh.node.founding import Crossed, Founding, load
    from caremesh.wallet import kept_network

    kept = kept_network.load(wallet_path(home, wallet))
    if kept is not None:
        founded = codec.decode_as(kept.file, Founding)
        return founded if kept.crossing is UNSET else replace(founded, crossed=Crossed(kept.crossing, []))
    found = load(home) or load(existing_mesh(home))
    if found is None:
        raise BadInput(NO_MESH, str(home))
    return found
