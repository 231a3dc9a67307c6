"""The servers of bench/blocks.py, each a process of its own: ``python -m bench._block_server KIND FOLDER``.

``ours``: a member of a mesh in the folder, holding blocks in files; ``plain``: the same files behind the same HTTP
server and TLS, where a PUT writes a file and syncs it. The first line on standard output is what a client needs; the
server ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from caremesh.api import blocks
from caremesh.api.app import make_app
from caremesh.api.capabilities import Capabilities
from caremesh.api.limits import Limits
from caremesh.api.nonces import NonceStore
from caremesh.api.serving import Doors, listen
from caremesh.api.signatures import SignatureGuard
from caremesh.blobs.accounts import Accounts
from caremesh.blobs.durable import sync_folder
from caremesh.blobs.filesystem import FilesystemBlocks
from caremesh.blobs.holding import Holder
from caremesh.contracts.members import queries as members
from caremesh.crypto import pins
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.signatures import did_of
from caremesh.node.mesh import LocalMesh

LIMITS: Final = Limits(per_second=1e6, burst=10**6, per_second_address=1e6, burst_address=10**6)
MEMBER: Final = "payer"
PLAIN_KEY: Final = SigningKey.from_seed(bytes(32))
PLAIN_DID: Final = did_of("bench", PLAIN_KEY.public)
"""Who the plain server is, for TLS."""


def ours(folder: Path) -> tuple[ASGIApp, Callable[[], ssl.SSLContext]]:
    """A member's ``/blocks``."""
    mesh = LocalMesh(folder)
    home = mesh.member(MEMBER).home
    store = FilesystemBlocks(folder / "bench")
    holder = Holder(
        did=home.did, store=store, accounts=Accounts(folder / "accounts"), ledger=mesh.engine, clock=mesh.clock
    )
    ports = blocks.Ports(
        holder=holder,
        may=Capabilities(did=home.did, key=home.node_key.public, blocks=store, clock=mesh.clock),
        reader=mesh.engine.reader,
        clock=mesh.clock,
        suspect=lambda _: None,
    )
    nonces = NonceStore(folder / "nonces", mesh.clock)
    guard = SignatureGuard(did=home.did, reader=mesh.engine.reader, nonces=nonces, clock=mesh.clock)
    known = [pins.anchor(member.did, member.keys.node) for member in members.members(mesh.engine.reader())]
    context = pins.server_context(pins.make_leaf(home.did, home.node_key, int(time.time())), known)
    return make_app(blocks.routes(ports), guard, limits=LIMITS), lambda: context


def plain(folder: Path) -> tuple[ASGIApp, Callable[[], ssl.SSLContext]]:
    """Files, and nothing that asks who wants them."""
    files = folder / "files"
    files.mkdir(parents=True, exist_ok=True)

    def write(name: str, data: bytes) -> None:
        beside = files / f".{secrets.token_hex(8)}"
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(files / name)
        sync_folder(files)

    async def put(request: Request) -> Response:
        data = await request.body()
        await asyncio.to_thread(write, request.path_params["name"], data)
        return Response(status_code=204)

    app = Starlette(routes=[Route("/{name}", put, methods=["PUT"]), Mount("/", StaticFiles(directory=files))])
    context = pins.server_context(pins.make_leaf(PLAIN_DID, PLAIN_KEY, int(time.time())), [])
    return app, lambda: context


def main() -> None:
    """Serve until standard input ends."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    app, context = {"ours": ours, "plain": plain}[kind](folder)
    listener: socket.socket = listen("127.0.0.1", 0)
    doors = Doors(app, [(listener, context)], LIMITS)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)

    def end() -> None:
        sys.stdin.read()
        doors.should_exit = True

    threading.Thread(target=end, daemon=True).start()
    asyncio.run(doors.serve())


if __name__ == "__main__":
    main()
