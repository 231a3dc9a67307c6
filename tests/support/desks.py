"""A member's desk on a socket, without a node around it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from caremesh.api.app import make_app
from caremesh.api.handover import HandedOver
from caremesh.api.limits import Limits
from caremesh.api.serving import Doors
from caremesh.node import desk_routes
from caremesh.node.doors import RUN, SOCKET
from caremesh.node.mesh import LocalMesh
from caremesh.settings import Settings
from caremesh.testing.faults import LyingCustodian


class _Ways:
    """Those of a mesh; nobody's inbox is reached, and some custodians lie."""

    leave = None

    def __init__(self, mesh: LocalMesh, liars: Sequence[str]) -> None:
        self._mesh = mesh
        homes = [mesh.member(liar).home for liar in liars]
        lying = {home.did: LyingCustodian(mesh.custodians[home.did], home.node_key) for home in homes}
        self.custodians = {**mesh.custodians, **lying}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mesh, name)


@contextmanager
def desk_of(
    mesh: LocalMesh, name: str, folder: Path, address: str = "https://clinic.example", liars: Sequence[str] = ()
) -> Iterator[Path]:
    """A home whose socket answers for a member. ``liars``: custodians that change what they release."""
    (folder / RUN).mkdir(parents=True)
    member = mesh.member(name)
    node = SimpleNamespace(
        member=member,
        folder=folder,
        ways=_Ways(mesh, liars),
        query=mesh.query,
        light_block=mesh.light_block,
        submit=mesh.engine.submit,
        endpoint=address,
        founding=mesh.founding,
        settings=Settings(),
    )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder / RUN / SOCKET))
    listener.listen()
    routes = desk_routes.routes(cast("Any", node))
    doors = Doors(make_app(routes, HandedOver()), [(listener, None)], Limits())
    thread = threading.Thread(target=lambda: asyncio.run(doors.serve()), name="desk")
    thread.start()
    try:
        while not doors.started and thread.is_alive():
            time.sleep(0.005)
        yield folder
    finally:
        doors.should_exit = True
        thread.join()
