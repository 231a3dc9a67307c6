"""One validator over many keys against one over ten thousand: the same mix, in turns, each over a state of its own.

``KEYS=1e7 make bench ONLY=comet.keys`` takes ten million keys in place of a million: some 10 GB of disk and of memory,
and most of an hour, nearly all of it for making them. The state is loaded directly, as the contracts write it.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from typing import Any, Final

from bench._comet import Load, ours, state
from bench._measure import entry
from bench._network import Network
from bench._rates import STREAMS, Sent, must_have_worked, short_folder

AREAS: Final = ("comet.keys",)
SMALL: Final = "1e4"
ROUNDS: Final = 4
BATCHES: Final = 2
WARM: Final = 1
"""Rounds before those that count: what has been read of a state is in memory from then on."""


def run() -> list[dict[str, Any]]:
    """The rate over many keys against that over few, and how much more of a core a transaction takes."""
    large = os.environ.get("KEYS", "1e6")
    network = Network(int(time.time()))
    with short_folder() as folder:
        keys = state(folder / "large", network, STREAMS[large])
        state(folder / "small", network, STREAMS[SMALL])
        sent = {SMALL: Sent(network, STREAMS[SMALL]), large: Sent(network, STREAMS[large])}
        found: dict[str, list[Load]] = {SMALL: [], large: []}
        with (
            ours(folder / SMALL, network, 1, folder / "small") as few,
            ours(folder / large, network, 1, folder / "large") as many,
        ):
            for _ in range(WARM + ROUNDS):
                for chain, size in ((few, SMALL), (many, large)):
                    raws = sent[size].next(BATCHES)
                    gc.collect()
                    found[size].append(chain.load(raws))
            must_have_worked(few)
            must_have_worked(many)
            memory = [told.memory_kib / 2**20 for told in many.told()]
    small, big = found[SMALL][WARM:], found[large][WARM:]
    baseline = round(statistics.median(each.rate for each in small))
    ratios = [one.rate / other.rate for one, other in zip(big, small, strict=True)]
    costs = [_cpu(one) / _cpu(other) for one, other in zip(big, small, strict=True)]
    more: dict[str, Any] = {"baseline": baseline, "better": "higher"}
    return [
        entry(f"comet.keys.{large}.ratio", ratios, f"of the rate at {SMALL} keys", 0.7, **more),
        entry(f"comet.keys.{large}.rate", [each.rate for each in big], "transactions/s", **more),
        entry(f"comet.keys.{large}.cpu", costs, f"× the processor time of a transaction at {SMALL} keys"),
        entry(f"comet.keys.{large}.memory", memory, "GiB of the application's process"),
        entry(f"comet.keys.{large}.count", [keys], "keys", better="higher"),
    ]


def _cpu(load: Load) -> float:
    return load.cpu_s["application"] / load.txs
