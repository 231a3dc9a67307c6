"""A real CometBFT under the small application of ``kv.py``, in a folder whose name is short."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from caremesh import codec
from caremesh.consensus.cometbft.config import Addresses, Pace
from caremesh.consensus.cometbft.engine import CometBft, Local
from caremesh.consensus.cometbft.joining import Joining
from caremesh.consensus.embedded import Embedded
from caremesh.crypto.keys import SigningKey
from caremesh.errors import CareMeshError
from caremesh.ledger.blocks import Validator
from caremesh.ledger.transactions import Message
from caremesh.types import Seconds
from tests.support.kv import CHAIN, MEMBER, NODE, Kv, transaction
from tools.cometbft import VERSION, cometbft

VALIDATOR: Final = SigningKey.from_seed(b"validator".ljust(32, b"."))
QUICK: Final = Pace(commit_s=0.05, idle_s=0.5)
PATIENT_S: Final = 60
"""Longer than anything takes on a machine that has much else to do."""


def now() -> Seconds:
    """The time that CometBFT sees, too."""
    return int(time.time())


def genesis_of(begun: Seconds) -> bytes:
    """The document of a ledger that began then."""
    return codec.encode({"chain": CHAIN, "time": begun})


def signed(*messages: Message, key: SigningKey = MEMBER, chain: str = CHAIN, lives_s: int = 300) -> bytes:
    """A transaction of one member that lives so long from now on."""
    return transaction(*messages, key=key, chain=chain, expires_at=now() + lives_s)


def comet(
    folder: Path,
    app: Kv | None = None,
    *,
    begun: Seconds,
    version: str = VERSION,
    joining: Joining | None = None,
    clock: Callable[[], Seconds] = now,
) -> CometBft:
    """An engine over a folder, not started: one validator that nobody else reaches."""
    return CometBft(
        folder,
        app or Kv([MEMBER]),
        Local(cometbft(version), VALIDATOR, NODE, Addresses("127.0.0.1:0"), QUICK),
        chain=CHAIN,
        genesis=genesis_of(begun),
        genesis_time=begun,
        validators=[Validator(VALIDATOR.public, 10)],
        clock=clock,
        monotonic=time.monotonic,
        joining=joining,
    )


def embedded(folder: Path, app: Kv | None = None, *, begun: Seconds) -> Embedded:
    """The same ledger under the embedded engine, not started."""
    return Embedded(
        folder,
        app or Kv([MEMBER]),
        chain=CHAIN,
        genesis=genesis_of(begun),
        genesis_time=begun,
        key=NODE,
        clock=now,
        max_interval_s=0.5,
    )


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for that of a socket."""
    with tempfile.TemporaryDirectory(prefix="cm-") as folder:
        yield Path(folder)


def code_of(engine: CometBft, raw: bytes) -> str:
    """What a member says of a transaction before any block has it."""
    try:
        engine.machine.check(engine.machine.codec.decode(raw), now())
    except CareMeshError as error:
        return error.code
    return ""
