"""Four validators on this machine's cores: the same messages, ordered by four that must agree, beside four kvstores.

All transactions are sent to one of them, in both networks: they name one another, and would come in another order
else.
"""

from __future__ import annotations

from typing import Any, Final

from bench._rates import entries, rounds

AREAS: Final = ("comet.four",)
VALIDATORS: Final = 4
ROUNDS: Final = 3
BATCHES: Final = 2


def run() -> list[dict[str, Any]]:
    """Ratio, rate, pauses between blocks, processor time."""
    found, _ = rounds(ROUNDS, VALIDATORS, BATCHES)
    return entries("comet.four", found, 0.35, 2_000)
