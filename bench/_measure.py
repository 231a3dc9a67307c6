"""What the benches of the ledger have in common: the bare check that they measure against, samples, and results."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from caremesh.crypto import signatures

Check = tuple[bytes, bytes, bytes]
"""(key, message, signature)"""


def check_s(checks: Sequence[Check], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one Ed25519 verification, nothing else, by a clock."""
    start = clock()
    for key, message, signature in checks:
        signatures.verify(key, message, signature)
    return (clock() - start) / len(checks)


def micros(calls: Sequence[Callable[[], object]], clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Microseconds of each of many calls."""
    found = []
    for call in calls:
        start = clock()
        call()
        found.append((clock() - start) * 1e6)
    return found


def entry(
    name: str, values: Sequence[float], unit: str, goal: float | None = None, better: str = "lower", **more: Any
) -> dict[str, Any]:
    """One result: the median of its samples, unless ``value`` says otherwise."""
    value = more.pop("value", statistics.median(values))
    samples = [round(sample, 4) for sample in values[:20]]
    return {
        "id": name,
        "value": round(value, 4),
        "unit": unit,
        "goal": goal,
        "better": better,
        "samples": samples,
    } | more


def growth(results: list[dict[str, Any]], small: str, large: str) -> list[dict[str, Any]]:
    """For each result that ends in ``small`` how much larger it is at ``large``."""
    by_name = {result["id"]: result for result in results}
    found = []
    for name, result in by_name.items():
        other = by_name.get(name.removesuffix(small) + large)
        if name.endswith(small) and other is not None and result["value"]:
            ratio = other["value"] / result["value"]
            unit = f"× from {small} to {large} keys"
            found.append(entry(f"{name.removesuffix(small)}growth", [ratio], unit, better=result["better"]))
    return found
