"""What a process that runs a node does once, before its work begins."""

from __future__ import annotations

import gc
from typing import Final

COLLECT_EVERY: Final = (20_000, 20, 100)
"""Net allocations before a young collection, young ones before a middle one, and middle ones before a whole one."""


def spare_the_collector() -> None:
    """Look for reference cycles seldom, and never again among what is loaded by now.

    A block leaves thousands of small objects, all of them free without the collector: our values hold no cycles. With
    Python's own thresholds it walked over a thousand waiting transactions and every loaded module again and again,
    for a seventh of the time of a transaction (docs/explanation/where-the-time-goes.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_EVERY)
