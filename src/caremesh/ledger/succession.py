"""A ledger goes over from one chain to the next: its name and its state stay, the chain id of its headers does not.

A network's **name** is in DIDs, permits and profiles, and never changes. Who orders blocks is known by headers, and
these are of a **chain**; the first chain of a network has its name. Where the application says that the chain ends at a
height (``Params.last_height``), the block of that height writes its successor into the state, and its header names who
signs the next one. Transactions say which chain they are for: from the next block on that is the new one.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from caremesh.ledger.state import Reader, Table, View
from caremesh.types import Height


class Succession(Struct, frozen=True, forbid_unknown_fields=True):
    """``chain``: the id of the chain that follows; ``height``: of the last block of the one before."""

    chain: Annotated[str, Meta(min_length=1, max_length=50)]
    height: Height


SUCCESSION: Final = Table(b"ledger/chain/", Succession)
KEY: Final = SUCCESSION.key()
"""The state key of it, for proofs; absent on the first chain."""


def following(name: str, height: Height) -> str:
    """The id of the chain after the one that ends at a height. No network's name has a dot."""
    return f"{name}.{height}"


def is_of(chain: str, name: str) -> bool:
    """Whether a chain is one of the network with this name."""
    return chain == name or chain.rpartition(".")[0] == name


def succeed(view: View, name: str, height: Height) -> None:
    """Write the successor, in the last block of a chain."""
    SUCCESSION.put(view, Succession(following(name, height), height))


def chain_of(reader: Reader, name: str) -> str:
    """The chain that a transaction for the next block is for, on the ledger with this name."""
    found = SUCCESSION.get(reader)
    return name if found is None else found.chain
