"""One validator: real messages through the real contracts, ordered by CometBFT, beside CometBFT's own kvstore."""

from __future__ import annotations

from typing import Any, Final

from bench._measure import entry
from bench._rates import entries, rounds

AREAS: Final = ("comet.one",)
ROUNDS: Final = 5
BATCHES: Final = 3


def run() -> list[dict[str, Any]]:
    """Ratio, rate, pauses between blocks, processor time; then nothing to do, and how often a block comes."""
    found, idle = rounds(ROUNDS, 1, BATCHES)
    return [
        *entries("comet.one", found, 0.25, None),
        entry("comet.one.block.idle", idle, "s between idle blocks", 10.0),
    ]
