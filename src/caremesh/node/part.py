"""The processes of a node: ``python -m caremesh.node.part ledger|api <home> <flags as JSON> …``. See ``supervisor.py``.

    ledger   the only one that opens the home: copy of the ledger, custodian, vault, logs; answers on a unix socket
    api      answers on the network: TLS, signatures, limits; reads the ledger, and passes on what is not for it to do

Each ends when its standard input does: then the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn, cast

from caremesh.api.app import make_app
from caremesh.api.handover import HandedOver
from caremesh.api.observing import Log as RequestLog
from caremesh.api.observing import to_log
from caremesh.api.serving import Doors
from caremesh.errors import BadInput, CareMeshError
from caremesh.node import desk_routes, doors, worker
from caremesh.node.errors import PATH_TOO_LONG
from caremesh.node.founding import Clock
from caremesh.node.logs import Log, about, begin
from caremesh.node.node import Connect, Node
from caremesh.node.process import spare_the_collector
from caremesh.node.pulse import beating
from caremesh.node.reaching import Reaching
from caremesh.settings import Settings, load

MAX_SOCKET_PATH: Final = 100
"""Of a unix socket's address, in bytes; the system allows 107."""
_FAULT: Final = 70
_AGAIN_S: Final = 0.2
Make = Callable[[Path, Settings, Connect, Log, Clock | None], Node]


def command(module: str, part: str, home: Path, flags: dict[str, str], *words: str) -> list[str]:
    """How the supervisor starts a part."""
    return [sys.executable, "-m", module, part, str(home), json.dumps(flags), *words]


def main(words: Sequence[str], *, make: Make = Node, clock: Clock | None = None) -> NoReturn:
    """Run one part until it is told to end. ``make`` and ``clock``: for entry points that are not ``caremesh node``."""
    part, home, flags, *rest = words
    settings = load(Path(home), json.loads(flags))
    log = begin(part, settings.log_level).bind(pid=os.getpid())
    signal.signal(signal.SIGTERM, _ignored)  # the server hears it first, and raises it again when it has ended
    signal.signal(signal.SIGINT, _ignored)
    spare_the_collector()
    # Before whoever takes the supervisor's place gives up waiting for the address.
    within_s = settings.stop_within_s * 3 / 4
    threading.Thread(target=until_alone, args=[within_s], name="supervisor", daemon=True).start()
    try:
        if part == "ledger":
            run_ledger(Path(home), settings, log, make, clock)
        else:
            worker.run(Path(home), settings, log, [int(word) for word in rest], clock)
    except CareMeshError as error:
        log.error("cannot go on", **about(error))
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - told without its words, which may hold anything
        log.error("fault", **about(error))
        sys.exit(_FAULT)
    sys.exit(0)


def run_ledger(home: Path, settings: Settings, log: Log, make: Make, clock: Clock | None) -> None:
    """The ledger process. Raises CareMeshError."""
    (home / doors.RUN).mkdir(exist_ok=True, mode=0o700)
    node = make(home, settings, Reaching, log, clock)
    try:
        theirs = doors.outer(node, node.home.did, node.checks(), custodian=node.member.is_custodian)
        routes = [*theirs, *doors.inner(node), *desk_routes.routes(node)]
        observe = to_log(cast("RequestLog", log))
        app = make_app(routes, HandedOver(), limits=doors.limits(settings), observe=observe, tracer=node.tracer)
        listener = listen_unix(home / doors.RUN / doors.SOCKET)
        serving = Doors(app, [(listener, None)], doors.limits(settings)).serve()
        asyncio.run(beating(serving, settings.silent_s, log, node.is_well))
    finally:
        node.close()


def listen_unix(path: Path) -> socket.socket:
    """A listening unix socket in place of one that a process left behind. Raises BadInput node.20, OSError."""
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise BadInput(PATH_TOO_LONG, path.parent.parent.name)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(2_048)
    except OSError:
        listener.close()
        raise
    return listener


def _ignored(*_: object) -> None:
    """The server has heard it."""


def until_alone(within_s: float) -> None:
    """Wait until the supervisor is gone, then end in order; at once when that takes longer than ``within_s``."""
    with contextlib.suppress(ConnectionResetError):  # it had not heard all that this process said
        while os.read(0, 4_096):
            pass
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        os.kill(os.getpid(), signal.SIGTERM)  # again: before the server began, nobody heard it
        time.sleep(_AGAIN_S)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
