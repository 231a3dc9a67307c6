"""What the benches over CometBFT have in common: rounds of the peer and of ours, in turns, and what they come to."""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench._comet import Chain, Load, intervals, like, ours, peers, state
from bench._measure import entry
from bench._network import Network
from bench._traffic import Traffic

STREAMS: Final = {"1e4": 490, "1e5": 4_990, "1e6": 50_000, "1e7": 500_000}
"""How many streams make so many keys."""
BATCH: Final = 3_000
APART: Final = 2
LIVES_S: Final = 550
MOST_REFUSED: Final = 0.02
"""Of all transactions: a receipt may be closed, or a permit renewed, before what comes after it in the mix."""
PEER_FACTOR: Final = 2
_UNIT: Final = "of CometBFT's own kvstore, which checks no signature"


class Round(NamedTuple):
    """The same load, carried by the peer and by ours."""

    peer: Load
    ours: Load


class Sent:
    """Transactions to send, made in batches that name what is old enough to be in a block."""

    def __init__(self, network: Network, streams: int) -> None:
        self._traffic: Final = Traffic(network, streams, apart=APART)

    def next(self, count: int) -> list[bytes]:
        """So many times ``BATCH``."""
        self._traffic.expires_at = int(time.time()) + LIVES_S
        return [signed.raw for _ in range(count) for signed in self._traffic.batch(BATCH)]


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for that of a socket."""
    with tempfile.TemporaryDirectory(prefix="cm-") as name:
        yield Path(name)


def rounds(count: int, validators: int, batches: int) -> tuple[list[Round], list[float]]:
    """So many rounds over so many validators, each of so many batches; and the pauses between blocks with no load.

    Raises RuntimeError when more was refused than the order of transactions explains.
    """
    found = []
    with short_folder() as folder:
        network = Network(int(time.time()))
        state(folder / "state", network, STREAMS["1e4"])
        sent = Sent(network, STREAMS["1e4"])
        with (
            ours(folder / "ours", network, validators, folder / "state") as mine,
            peers(folder / "peers", validators, network.start) as theirs,
        ):
            for _ in range(count):
                raws = sent.next(batches)
                other = like(raws * PEER_FACTOR)
                gc.collect()
                found.append(Round(theirs.load(other), mine.load(raws)))
            idle = mine.idle(2) if validators == 1 else []
            must_have_worked(mine)
    return found, idle


def must_have_worked(chain: Chain) -> None:
    """Every validator has carried out what it was sent. Raises RuntimeError."""
    for told in chain.told():
        refused = sum(told.refused.values())
        if refused > MOST_REFUSED * told.txs:
            raise RuntimeError(f"refused: {told}")


def entries(name: str, found: list[Round], goal: float, least: float | None) -> list[dict[str, Any]]:
    """The results of rounds: ratio and rate, pauses between blocks, and processor time of a transaction."""
    peer = statistics.median(each.peer.rate for each in found)
    more: dict[str, Any] = {"baseline": round(peer), "better": "higher"}
    pauses = [pause for each in found for pause in intervals([row for row in each.ours.blocks if row.txs])]
    results = [
        entry(f"{name}.ratio", [each.ours.rate / each.peer.rate for each in found], _UNIT, goal, **more),
        entry(f"{name}.rate", [each.ours.rate for each in found], "transactions/s", least, **more),
        entry(f"{name}.block", pauses, "s between blocks under load", 1.0),
        entry(f"{name}.block.longest", [max(pauses)], "s between blocks under load"),
    ]
    for kind in ("application", "cometbft"):
        used = [each.ours.cpu_s[kind] / each.ours.txs * 1e3 for each in found]
        results.append(entry(f"{name}.cpu.{kind}", used, "ms of a core a transaction, all validators"))
    used = [each.peer.cpu_s["cometbft"] / each.peer.txs * 1e3 for each in found]
    results.append(entry(f"{name}.cpu.peer", used, "ms of a core a transaction, all validators"))
    return results
