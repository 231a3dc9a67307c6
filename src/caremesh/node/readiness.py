"""Whether the node of a home is ready, as it says itself at its admin address."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import httpx

from caremesh.errors import Unavailable
from caremesh.node import doors
from caremesh.node.errors import NOT_READY
from caremesh.node.start import ADDRESSES

_LOOK_AGAIN_S: Final = 0.1


def is_ready(home: Path) -> bool:
    """What ``/readyz`` says; False when nobody answers."""
    try:
        admin = (home / doors.RUN / ADDRESSES).read_text("utf-8").split()[1]
        return httpx.get(f"http://{admin}/readyz", timeout=5.0, trust_env=False).status_code == 200
    except (OSError, IndexError, httpx.TransportError):
        return False


def wait_ready(home: Path, within_s: float) -> None:
    """Return once it is ready. Raises Unavailable node.28."""
    until = time.monotonic() + within_s
    while not is_ready(home):
        if time.monotonic() >= until:
            raise Unavailable(NOT_READY, home.name)
        time.sleep(_LOOK_AGAIN_S)
