"""What ``caremesh node`` does: takes the addresses, then keeps the node's processes alive. See ``supervisor.py``."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from caremesh import __version__
from caremesh.api.observing import SHARED
from caremesh.api.serving import listen
from caremesh.errors import Refused, Unavailable
from caremesh.node import doors, founding, part
from caremesh.node.errors import NOT_JOINED, PORT_TAKEN
from caremesh.node.logs import Log, begin
from caremesh.node.mesh import hold
from caremesh.node.supervisor import Part, Patience, Supervisor
from caremesh.settings import Settings, load

MODULE: Final = "caremesh.node.part"
ADDRESSES: Final = "addresses"
"""In ``run/``: the addresses that the node took, one a line: the network's, then the admin's."""
METRICS: Final = "metrics"
"""In ``run/``: where all processes count, so that whichever is asked tells of all."""
_LOOK_AGAIN_S: Final = 0.2


def run(home: Path, flags: dict[str, str], module: str = MODULE) -> int:
    """Until a signal; the exit code. ``module``: whose ``main`` the parts run.

    Raises BadInput settings.NN; Refused node.03 (in use), node.13; Unavailable node.19; Tampered, StorageFailed.
    """
    settings = load(home, flags, list(os.environ))
    log = begin("supervisor", settings.log_level).bind(pid=os.getpid())
    if founding.load(home) is None:
        raise Refused(NOT_JOINED, home.name)
    with ExitStack() as opened:
        opened.enter_context(hold(home / doors.RUN))
        _share_metrics(home / doors.RUN / METRICS)
        opened.callback(os.environ.pop, SHARED, None)
        outside = opened.enter_context(take(settings.listen_host, settings.listen_port, settings.stop_within_s, log))
        admin = opened.enter_context(take(settings.admin_host, settings.admin_port, settings.stop_within_s, log))
        taken = [_address(outside), _address(admin)]
        (home / doors.RUN / ADDRESSES).write_text("".join(f"{each}\n" for each in taken), "utf-8")
        log.info("listening", address=taken[0], version=__version__)
        parts = _parts(home, settings, flags, module, (outside, admin))
        return Supervisor(parts, _patience(settings), home / doors.RUN, log).run()


def _share_metrics(folder: Path) -> None:
    """A new folder for the counters of the parts, which are told of it by their environment."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    os.environ[SHARED] = str(folder)


def take(host: str, port: int, within_s: float, log: Log, now: Callable[[], float] = time.monotonic) -> socket.socket:
    """A listening socket. An address that is in use may be that of a node that is just ending: it waits for that.

    Raises Unavailable node.19 with the address.
    """
    until, told = now() + within_s, False
    while True:
        try:
            listener = listen(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or now() >= until:
                raise Unavailable(PORT_TAKEN, f"{host}:{port} {error.strerror}") from error
        else:
            listener.set_inheritable(True)
            return listener
        if not told:
            log.warning("address in use", address=f"{host}:{port}")
            told = True
        time.sleep(_LOOK_AGAIN_S)


def _parts(
    home: Path, settings: Settings, flags: dict[str, str], module: str, sockets: tuple[socket.socket, socket.socket]
) -> list[Part]:
    fds = tuple(each.fileno() for each in sockets)
    numbers = [str(fd) for fd in fds]
    ledger = Part("ledger", part.command(module, "ledger", home, flags), stage=1)
    workers = [
        Part(f"api-{number}", part.command(module, "api", home, flags, *numbers), stage=0, fds=fds)
        for number in range(1, settings.api_workers + 1)
    ]
    return [ledger, *workers]


def _patience(settings: Settings) -> Patience:
    return Patience(
        retry_first_s=settings.retry_first_s,
        retry_most_s=settings.retry_most_s,
        steady_s=settings.steady_s,
        stop_within_s=settings.stop_within_s,
        silent_s=settings.silent_s,
        begin_s=settings.begin_within_s,
    )


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
