"""Blocks that a worker reads by itself, where the ledger process keeps them: they do not go through another process.

What a worker does not find whole it asks the ledger process for, which knows whether it should be there, and looks
after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

from msgspec.structs import replace

from caremesh.api import blocks, ipfs
from caremesh.api.capabilities import Capabilities
from caremesh.api.routes import Answer, Call, Handler, Route
from caremesh.blobs.interface import NOT_HELD, BlockStore
from caremesh.errors import CareMeshError
from caremesh.ledger.state import Reader
from caremesh.node.block_stores import open_blocks
from caremesh.node.founding import Clock
from caremesh.settings import Settings
from caremesh.types import Did, Multikey

READ_HERE: Final = frozenset({"blocks.get", "blocks.has", "ipfs.get", "ipfs.head"})


class _Read:
    """As much of a holder as reading takes."""

    def __init__(self, store: BlockStore) -> None:
        self.store = store


def read_here(
    routes: Sequence[Route],
    *,
    home: Path,
    settings: Settings,
    did: Did,
    key: Multikey,
    reader: Callable[[], Reader],
    clock: Clock,
) -> list[Route]:
    """The same routes; those that only read blocks do so here first. ``key``: the member's node key."""
    store = open_blocks(home, settings, to_read=True)
    may = Capabilities(did=did, key=key, blocks=store, clock=clock, is_open=settings.blocks_open)
    ports = blocks.Ports(holder=cast("Any", _Read(store)), may=may, reader=reader, clock=clock, suspect=lambda _: None)
    mine = {route.name: route.handler for route in (*blocks.routes(ports), *ipfs.routes(ports))}
    return [
        replace(route, handler=_first(mine[route.name], route.handler)) if route.name in READ_HERE else route
        for route in routes
    ]


def _first(here: Handler, there: Handler) -> Handler:
    async def handle(call: Call) -> Answer:
        try:
            return await here(call)
        except CareMeshError as error:
            if error.code != NOT_HELD.code:
                raise
        return await there(call)

    return handle
