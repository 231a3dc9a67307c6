"""What a validator tells of the order of blocks, and each alert on it: by faults of real CometBFT processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from caremesh.consensus.cometbft.config import Pace
from caremesh.contracts.members.messages import SetEndpoints
from caremesh.errors import Unavailable
from caremesh.node import ordering_numbers
from caremesh.node.metric_rows import one, page
from tests.conftest import Evidence
from tests.support.alerting import fires, names, samples
from tests.support.comet_engine import now
from tests.support.comet_evidence import report, two_votes
from tests.support.comet_network import Network, engine_key, network, signed, validator

# CometBFT is built by whichever test asks first: a minute of processor time, once for each machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MEMBERS = ("hospital", "practice")
WITHIN_S = 180
PACE = Pace(commit_s=1.0, idle_s=0.5)
"""Who is late with a vote has a second."""
LOADED = {"CareMeshRounds", "CareMeshNoBlocks"}
"""What is true as well on a machine that has much else to do."""


def told(running: Network, number: int) -> str:
    """The page of a node, as far as it is about the order of blocks."""
    engine, did = running.engines[number], getattr(running.world, MEMBERS[number]).did
    stands = ordering_numbers.asked(engine)
    height = engine.machine.head.height
    rows = [
        *ordering_numbers.rows(engine, str(did), stands),
        one("ledger_height", "", height),
        one("ledger_lag_blocks", "", max(0, ordering_numbers.told(stands) - height)),
        one("ledger_age_seconds", "", max(now() - engine.header().time, engine.seen_s())),
    ]
    return page(rows).decode()


def value(text: str, name: str, **labels: str) -> float:
    return samples(text)[tuple(sorted({"__name__": f"caremesh_{name}", **labels}.items()))]


def until(find: Callable[[], str], holds: Callable[[str], bool]) -> str:
    """The first page of which it holds."""
    end = time.monotonic() + WITHIN_S
    while not holds(text := find()):
        assert time.monotonic() < end, text
        time.sleep(0.2)
    return text


def well(running: Network, number: int = 0) -> str:
    """A page of a node that does well: it answers, and knows of another."""
    return until(
        lambda: told(running, number),
        lambda text: (
            value(text, "cometbft_running") == 1
            and value(text, "consensus_peers", which="connected") == 1
            and value(text, "consensus_round") == 0
            and "caremesh_consensus_signed_share" in names(text)
            and value(text, "ledger_age_seconds") < 5 * value(text, "consensus_interval_seconds")
        ),
    )


@contextmanager
def of_two(powers: tuple[int, int], waiting: int = 1_000) -> Iterator[Network]:
    with network(
        2,
        lambda world: [
            validator(getattr(world, name), str(number), powers[number]) for number, name in enumerate(MEMBERS)
        ],
        waiting=waiting,
        pace=PACE,
    ) as running:
        yield running


@pytest.mark.promise("P10")
def test_who_votes_with_another_key_or_twice_is_told(evidence: Evidence) -> None:
    with of_two((10, 3)) as running:
        before = [well(running, number) for number in (0, 1)]
        assert [fires(text, text) for text in before] == [set(), set()]
        assert [value(text, "validator_share") for text in before] == [10 / 13, 3 / 13]
        assert [value(text, "consensus_peers", which="needed") for text in before] == [1, 1]
        assert ordering_numbers.told(ordering_numbers.asked(running.engines[0])) > 0

        running.again(1, "another key")
        evidence.fault("a validator whose key is not the one that the ledger names")

        def is_missed(text: str) -> bool:
            rounds = value(text, "consensus_late_rounds_total")
            since = value(text, "ledger_height") - value(before[1], "ledger_height")
            return value(text, "validator_missed_blocks") > 5 and rounds > 0.15 * since

        after = until(lambda: told(running, 1), is_missed)
        assert fires(before[1], after) - {"CareMeshNoBlocks"} == {"CareMeshNotSigning", "CareMeshRounds"}
        assert fires(before[0], after := told(running, 0)) - LOADED == set(), "its own votes are there"
        assert value(after, "consensus_signed_share") == 10 / 13

        assert report(running.folders[0], two_votes(running.block(2), engine_key("1"))) == ""
        evidence.fault("a validator that has signed two votes")
        found = until(lambda: told(running, 0), lambda text: value(text, "consensus_equivocations_total") == 1)
        assert fires(before[0], found) - LOADED == {"CareMeshEquivocation"}


@pytest.mark.promise("P10")
def test_no_quorum_a_mempool_that_fills_and_a_cometbft_that_hangs_are_told(evidence: Evidence) -> None:
    with of_two((10, 10), waiting=20) as running:
        engine = running.engines[0]
        engine.rpc.hand_over([b"no transaction"])
        before = until(lambda: well(running), lambda text: "mempool_refused_total{" in text)
        assert value(before, "mempool_refused_total", code="codec.01") == 1
        assert fires(before, before) == set()
        assert value(before, "consensus_signed_share") == 1, "no block is without both"
        named = {name for name in names(before) if not name.startswith("caremesh_ledger_")}
        assert len(named) == 14, named

        running.engines[1].close(0)
        evidence.fault("half of all votes are away")
        hospital = running.world.hospital
        waiting = [
            engine.submit_soon(
                signed(SetEndpoints(member=str(hospital.did), endpoints=[f"https://h{number}.example"]), hospital)
            )
            for number in range(17)
        ]
        after = until(
            lambda: told(running, 0),
            lambda text: (
                "mempool_transactions" in text
                and value(text, "mempool_transactions") == 17
                and value(text, "consensus_peers", which="connected") == 0
                and value(text, "ledger_age_seconds") > 5 * value(text, "consensus_interval_seconds")
            ),
        )
        assert value(after, "mempool_bytes") > 17 * 100
        few = {"CareMeshNoBlocks", "CareMeshFewPeers", "CareMeshMempoolFillsUp"}
        assert fires(before, after) - {"CareMeshRounds"} == few

        pid = engine.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            evidence.fault("a CometBFT that hangs")
            hangs = until(lambda: told(running, 0), lambda text: value(text, "cometbft_running") == 0)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert fires(before, hangs) - {"CareMeshRounds"} == {"CareMeshNoBlocks", "CareMeshCometbftDown"}
        assert not any(name.startswith("caremesh_mempool_transactions") for name in names(hangs))
    for future in waiting:
        assert isinstance(future.exception(), Unavailable), "nobody was told that it is in a block"


def test_how_many_others_it_takes() -> None:
    def needed(own: int, *others: int) -> int:
        powers = {b"own": own} | {bytes([number]): power for number, power in enumerate(others)}
        return ordering_numbers.needed_peers(powers, own, {b"own"})

    assert [needed(1), needed(1, 1), needed(1, 1, 1), needed(1, 1, 1, 1), needed(1, *[1] * 6)] == [0, 1, 2, 2, 4]
    assert (needed(9, 1, 1), needed(2, 1), needed(1, 9), needed(0, 1, 1, 1)) == (1, 1, 1, 3)
