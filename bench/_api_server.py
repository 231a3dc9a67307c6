"""The server of bench/api.py, a process of its own: ``python -m bench._api_server FOLDER``.

The first line on standard output is the port; each line on standard input is answered with the process's CPU seconds;
it ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from caremesh.api import health, ledger
from caremesh.api.app import make_app
from caremesh.api.limits import Limits
from caremesh.api.nonces import NonceStore
from caremesh.api.serving import Doors, listen
from caremesh.api.signatures import SignatureGuard
from caremesh.crypto import pins
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.signatures import did_of
from caremesh.node.mesh import LocalMesh

T = TypeVar("T")

KEY: Final = SigningKey.from_seed(bytes(32))
DID: Final = did_of("bench", KEY.public)
MANY: Final = Limits(per_second_address=1e9, burst_address=10**9, idle_s=600, max_connections_an_address=1_000)


async def at_once(work: Callable[[], T], /) -> T:
    """No thread for what does not block."""
    return work()


def main() -> None:
    """Serve until standard input ends."""
    folder = Path(sys.argv[1])
    with LocalMesh(folder / "mesh") as mesh:
        routes = ledger.routes(mesh.engine, DID, at_once)
        routes += health.routes({}, routes, "0")
        nonces = NonceStore(folder / "nonces", mesh.clock)
        guard = SignatureGuard(did=DID, reader=mesh.engine.reader, nonces=nonces, clock=mesh.clock)
        context = pins.server_context(pins.make_leaf(DID, KEY, int(time.time())), [])
        listener = listen("127.0.0.1", 0)
        doors = Doors(make_app(routes, guard, limits=MANY), [(listener, lambda: context)], MANY)
        print(listener.getsockname()[1], flush=True)

        def told() -> None:
            for _ in sys.stdin:
                print(time.process_time(), flush=True)
            doors.should_exit = True

        threading.Thread(target=told, daemon=True).start()
        asyncio.run(doors.serve())
        nonces.close()


if __name__ == "__main__":
    main()
