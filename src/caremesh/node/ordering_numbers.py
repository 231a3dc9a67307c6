"""The order of blocks in numbers, where CometBFT agrees on it: rounds, mempool, peers, and what this validator signs.

CometBFT is asked on this machine, by the socket that the node itself uses: nothing more has to listen. What it cannot
be asked, while it is started again, is missing instead of old.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import Metric

from caremesh.contracts.network import queries as network
from caremesh.errors import Unavailable
from caremesh.ledger.comet import address_of
from caremesh.node.metric_rows import counter, counters, gauges, one
from caremesh.types import Count, Did, Height

if TYPE_CHECKING:
    from caremesh.consensus.cometbft.engine import CometBft
    from caremesh.consensus.cometbft.rpc import Ordering


def asked(copy: CometBft) -> Ordering | None:
    """Where CometBFT stands; None when it does not say."""
    try:
        return copy.rpc.soon().ordering()
    except Unavailable:
        return None


def told(stands: Ordering | None) -> Height:
    """The highest block that another has, by its word; 0 where nobody says."""
    return max((height - 1 for height in stands.peers), default=0) if stands is not None else 0


def rows(copy: CometBft, member: Did, stands: Ordering | None) -> Iterator[Metric]:
    """What there is to tell. ``member``: whose node this is."""
    watched, local = copy.application.watched, copy.local
    powers: dict[bytes, Count] = {}
    mine: set[bytes] = set()
    for each in network.validators(copy.reader()):
        powers[address_of(each.key)] = each.power
        mine |= {address_of(each.key)} if each.member == member else set()
    total = max(sum(powers.values()), 1)
    own = sum(powers[each] for each in mine)
    yield one("cometbft_running", "Whether CometBFT answers", stands is not None)
    yield counter("cometbft_starts", "Times that it was started", copy.process.starts)
    yield one("consensus_interval_seconds", "Time between blocks when nothing happens", local.pace.idle_s)
    yield counter("consensus_late_rounds", "Rounds that blocks needed beyond their first", watched.late_rounds)
    yield counter("consensus_equivocations", "Proofs that a validator contradicted itself", watched.misbehaved)
    if signers := watched.signed():  # before the second block nobody knows
        signed = sum(powers.get(each, 0) for each in signers)
        yield one("consensus_signed_share", "Share of all votes that were on the block before the last", signed / total)
    yield one("validator_share", "This member's share of all votes on blocks", own / total)
    yield one("validator_missed_blocks", "Of the last 100, those without its vote", watched.missed(frozenset(mine)))
    yield counters("mempool_refused", "Transactions not let in, by code", "code", dict(watched.refused))
    yield one("mempool_limit", "Transactions that may wait for a block", local.waiting)
    if stands is None:
        return
    yield one("mempool_transactions", "Transactions that wait for a block", stands.waiting)
    yield one("mempool_bytes", "Their bytes", stands.waiting_bytes)
    yield one("consensus_round", "Round of the block that is being decided, 0 for its first", stands.round)
    needed = min(1, len(powers) - len(mine)) if local.addresses.only else needed_peers(powers, own, mine)
    count = {"connected": len(stands.peers), "needed": needed}
    yield gauges("consensus_peers", "CometBFTs of others: connected, and needed for blocks", "which", dict(count))


def needed_peers(powers: Mapping[bytes, Count], own: Count, mine: set[bytes]) -> Count:
    """With how many others at least there are more than two thirds of all votes; one, where nobody else is needed."""
    others = sorted((power for address, power in powers.items() if address not in mine), reverse=True)
    have, count = own, 0
    for power in others:
        if 3 * have > 2 * sum(powers.values()):
            break
        have, count = have + power, count + 1
    return max(count, 1) if others else 0
