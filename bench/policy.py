"""How long a decision takes: all sets in force, parsed handles, and Cedar alone on the largest set."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import cedarpy
import msgspec

from caremesh.contracts.policy.engine import LEDGER, question
from caremesh.contracts.policy.library import shipped
from caremesh.contracts.policy.logic import adopt_at_genesis
from caremesh.contracts.policy.queries import decide
from caremesh.contracts.policy.vocabulary import LEGAL_BASES, MEMBER_ROLES, PURPOSES, REQUESTER_ROLES
from caremesh.ledger.state import View

SAMPLES = 4_000


class _Nothing:
    def get(self, key: bytes) -> bytes | None:  # noqa: ARG002 - the protocol's name
        return None


def _micros(call: Callable[[int], object], samples: int = SAMPLES) -> list[float]:
    """Microseconds of each call, sorted."""
    taken = []
    for index in range(samples):
        start = time.perf_counter_ns()
        call(index)
        taken.append((time.perf_counter_ns() - start) / 1_000)
    return sorted(taken)


def run() -> list[dict[str, Any]]:
    """Decisions inside the Union (four sets) and across the ocean (five), each at another time; then 4,000 that differ.

    The baseline is Cedar alone on the largest set with an empty context (µs, median).
    """
    world = View(_Nothing())
    adopt_at_genesis(world, shipped())
    gdpr = shipped("gdpr")[0]
    parsed = LEDGER.parse(gdpr.text)
    largest = cedarpy.PolicySet.from_str(gdpr.text)
    bare = {
        "principal": 'Requester::"requester"',
        "action": 'Action::"read"',
        "resource": 'Stream::"stream"',
        "context": "{}",
    }
    across = msgspec.structs.replace(
        gdpr.access,
        grantee_jurisdiction="US",
        explicit=True,
        legal_basis=["GDPR:6.1.a", "GDPR:9.2.a", "GDPR:49.1.a", "HIPAA:164.508"],
    )
    engine = _micros(lambda _: cedarpy.is_authorized(bare, largest, "[]"))
    drawn = random.Random(1)  # noqa: S311 - a seed, so that every run asks the same
    others = [
        msgspec.structs.replace(
            gdpr.access,
            legal_basis=drawn.sample(LEGAL_BASES, 4),
            requester_roles=drawn.sample(REQUESTER_ROLES, 2),
            member_roles=drawn.sample(MEMBER_ROLES, 2),
            purpose=drawn.choice(list(PURPOSES)),
        )
        for _ in range(SAMPLES)
    ]
    new = _micros(lambda index: decide(world, others[index]))
    one = _micros(lambda index: parsed.evaluate(question(others[index])))
    near = _micros(lambda at: decide(world, msgspec.structs.replace(gdpr.access, at=at)))
    far = _micros(lambda at: decide(world, msgspec.structs.replace(across, at=at)))
    baseline = round(engine[len(engine) // 2], 1)

    def row(name: str, taken: list[float], quantile: float, goal: float | None) -> dict[str, Any]:
        value = taken[int(len(taken) * quantile)]
        return {
            "id": f"policy.{name}",
            "value": round(value, 1),
            "unit": "us",
            "goal": goal,
            "better": "lower",
            "baseline": baseline,
            "samples": len(taken),
        }

    return [
        row("decision.p50", near, 0.50, None),
        row("decision.p99", near, 0.99, 1_000),
        row("decision-two-laws.p50", far, 0.50, None),
        row("decision-two-laws.p99", far, 0.99, 1_000),
        row("decision-never-asked.p50", new, 0.50, None),
        row("decision-never-asked.p99", new, 0.99, 1_000),
        row("one-set-never-asked.p50", one, 0.50, None),
    ]


if __name__ == "__main__":
    for line in run():
        print(line)
