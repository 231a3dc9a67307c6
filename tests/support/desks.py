"""A member's desk on a socket, without a node around it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from caremesh.api.app import make_app
from caremesh.api.handover import HandedOver
from caremesh.api.limits import Limits
from caremesh.api.serving import Doors
from caremesh.node import desk
from caremesh.node.doors import RUN, SOCKET
from caremesh.node.mesh import LocalMesh
from caremesh.settings import Settings


@contextmanager
def desk_of(mesh: LocalMesh, name: str, folder: Path, address: str) -> Iterator[Path]:
    """A home whose socket answers for a member."""
    (folder / RUN).mkdir(parents=True)
    member = mesh.member(name)
    node = SimpleNamespace(
        member=member, home=member.home, endpoint=address, founding=mesh.founding, ways=mesh, settings=Settings()
    )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder / RUN / SOCKET))
    listener.listen()
    doors = Doors(make_app(desk.routes(cast("Any", node)), HandedOver()), [(listener, None)], Limits())
    thread = threading.Thread(target=lambda: asyncio.run(doors.serve()), name="desk")
    thread.start()
    try:
        while not doors.started and thread.is_alive():
            time.sleep(0.005)
        yield folder
    finally:
        doors.should_exit = True
        thread.join()
