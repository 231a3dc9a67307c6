"""Faults where four validators order blocks by CometBFT, each on a host of its own, and a fifth member follows them.

Whatever fails, all copies have the same blocks afterwards, which lead a replica that begins anew to the same roots
(``alike``), and what was acknowledged is in them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import pytest

from caremesh.codec import CID
from caremesh.consensus.cometbft.engine import NO_ROOM
from caremesh.errors import CareMeshError
from caremesh.ledger.blocks import Block
from tests.conftest import Evidence
from tests.support.apart import WITHIN_S, Apart, apart, eventually, known
from tests.support.comet_engine import short_folder
from tests.support.full_disk import disk_of
from tests.support.kill_job import VALIDATORS, alike, killed
from tests.support.killing import cometbft_of
from tools.cometbft import bent

# CometBFT is built by whichever test asks first: a minute of processor time, once for each machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FOLLOWER = "practice"
CUSTODIANS = ("laboratory", "payer", "regulator")
LIMIT_S = 30
HOUR_S = 3_600
KILLS = 20
STALE, REVOKED = "custodian.01", "custodian.05"
NOT_IN_TIME = "api.06"


@pytest.fixture(scope="module")
def world() -> Iterator[Apart]:
    ordered = {"cometbft": bent(), "validators": VALIDATORS, "relay": FOLLOWER}
    with short_folder() as folder, apart(folder / "n", **ordered) as made:  # type: ignore[arg-type]
        made.import_next()
        yield made


class Sending(threading.Thread):
    """A transaction by way of one member, sent in a thread; ``said`` what came of it, None while nothing has."""

    def __init__(self, world: Apart, name: str) -> None:
        super().__init__(name=f"sending {name}")
        self._ledger, self._raw = world.ledger(name), world.transaction()
        self.said: str | None = None
        self.tx: CID | None = None
        self.start()

    def run(self) -> None:
        try:
            done = self._ledger.submit(self._raw)
        except CareMeshError as error:
            self.said = error.code
        else:
            self.tx, self.said = CID(done.tx), done.code


def height(world: Apart, name: str) -> int:
    return world.node(name).desk.where().height


def goes_on(world: Apart, name: str) -> None:
    """Blocks come to a member."""
    before = height(world, name)
    eventually(lambda: height(world, name) > before + 1)


def everywhere(world: Apart, *txs: CID | None) -> None:
    """All copies are one, and hold these."""
    world.wait_ready()
    alike(world)
    for name in world.names:
        ledger = world.ledger(name)
        assert all(known(ledger, tx) for tx in txs if tx is not None), name


def blocks_since(world: Apart, name: str, start: int) -> list[Block]:
    found: list[Block] = []
    while more := world.ledger(name).blocks(start + len(found), 0):
        found += more
    return found


SPLITS = [frozenset(side) for side in combinations(VALIDATORS, 1)] + [
    frozenset(side) for side in combinations(VALIDATORS, 2) if VALIDATORS[0] in side
]
"""Of each two-way split of four the part on which the fifth member is not: all seven."""
QUICK = [(frozenset({"payer"}), 0.05)]


def split_in_two(world: Apart, far: frozenset[str], delay_s: float) -> None:
    near = [name for name in world.names if name not in far]
    share, receipt = world.share(), world.receipt()
    asked = world.asked_for(receipt)
    world.hosts.set(delay_s=delay_s, loss=delay_s)
    world.hosts.split(far)
    most = len(far) == 1
    before = CID(world.ledger(near[0]).submit(world.transaction()).tx) if most else None
    if most:
        world.person.revoke(share)
        for name in near:
            goes_on(world, name)
    there = {name: height(world, name) for name in world.names}
    waiting = [Sending(world, name) for name in (sorted(far)[0], *([] if most else ["regulator"]))]
    try:
        world.clocks.advance(LIMIT_S + 1)
        for name in CUSTODIANS:
            expected = REVOKED if most and name in near else STALE
            eventually(lambda name=name, expected=expected: world.said_by(name, receipt, asked) == expected)  # type: ignore[misc]
        for name in near if most else ():
            world.node(name).wait(world.node(name).ready)
        for name in far if most else world.names:
            status, checks = world.hosts.readiness(name)
            assert (status, checks["fresh"]) == (503, False), (far, name)
            assert height(world, name) <= there[name] + (not most), (far, name)  # what was voted for before the cut
            told = world.ledger(name).status(verify=False)  # its newest header is too old for who verifies
            assert told.height == height(world, name), "reads are served"
        assert [each.said for each in waiting if each.said == ""] == [], "nothing is acknowledged by too few"
    finally:
        world.hosts.heal()
        for each in waiting:
            each.join(WITHIN_S)
    assert not any(each.is_alive() for each in waiting)
    after = [CID(world.ledger(name).submit(world.transaction()).tx) for name in sorted(far)]
    everywhere(world, before, *after, *(each.tx for each in waiting))
    if not most:
        assert world.opened(receipt) is not None
        world.person.revoke(share)
    for name in CUSTODIANS:
        eventually(lambda name=name: world.said_by(name, receipt, asked) == REVOKED)  # type: ignore[misc]


@pytest.mark.promise("P3", "P5", "P7", "P10")
@pytest.mark.parametrize(
    ("far", "delay_s"),
    [
        *QUICK,
        *(
            pytest.param(far, delay_s, marks=pytest.mark.long)
            for far in SPLITS
            for delay_s in (0.0, 0.05)
            if (far, delay_s) not in QUICK
        ),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, frozenset) else f"{value}s",
)
def test_of_two_parts_only_one_with_more_than_two_thirds_goes_on(
    world: Apart, evidence: Evidence, far: frozenset[str], delay_s: float
) -> None:
    evidence.say(f"hosts are {world.hosts.kind}")
    world.well()
    split_in_two(world, far, delay_s)
    evidence.fault("a split of four validators")


def test_every_split_is_in_the_list() -> None:
    assert len(SPLITS) == len(set(SPLITS)) == 7
    assert {far for far, _ in QUICK} <= set(SPLITS)


@pytest.mark.promise("P5", "P7", "P10")
@pytest.mark.long
def test_all_are_killed_at_once_and_begin_again(world: Apart, evidence: Evidence) -> None:
    world.well()
    share, record = world.share(), set(world.import_next())
    done = [CID(world.ledger(name).submit(world.transaction()).tx) for name in world.names]
    for name in world.names:
        node = world.node(name)
        with suppress(ProcessLookupError):
            os.kill(cometbft_of(node), signal.SIGKILL)
        node.kill()
        evidence.fault("kill -9 of a node, all of a network at once")
    for name in world.names:
        world.node(name).start()
    everywhere(world, *done)
    assert record <= eventually(lambda: world.opened(world.receipt()))
    world.person.revoke(share)


@pytest.mark.promise("P5", "P7", "P10")
def test_twenty_processes_of_validators_are_killed_and_nothing_acknowledged_is_lost(
    world: Apart, evidence: Evidence
) -> None:
    evidence.seed(0)
    evidence.say(f"hosts are {world.hosts.kind}")
    done = killed(world, "cometbft", 0, KILLS, pause_s=2.0)
    for part, count in done.killed.items():
        evidence.fault(f"kill -9 of a process of a validator ({part})", count)


@pytest.mark.promise("P5", "P7", "P10")
@pytest.mark.long
def test_a_validator_whose_disk_is_full_refuses_and_comes_back_when_there_is_room(
    world: Apart, tmp_path: Path, evidence: Evidence
) -> None:
    world.well()
    name, node = "payer", world.node("payer")
    others = [each for each in world.names if each != name]
    try:
        with disk_of(node, tmp_path) as disk:
            evidence.say(f"a full disk is {disk.kind}")
            world.wait_ready()
            before = CID(world.ledger(name).submit(world.transaction()).tx)
            starts = {part: said["starts"] for part, said in node.parts().items()}
            disk.fill()
            evidence.fault("a full disk at a validator")
            eventually(lambda: not node.ready())
            checks = world.hosts.readiness(name)[1]
            assert not checks["room"] or not checks["writable"]
            refused = Sending(world, name)
            meanwhile = [CID(world.ledger(other).submit(world.transaction()).tx) for other in others]
            for other in others:
                goes_on(world, other)
            refused.join(WITHIN_S)
            assert not refused.is_alive()
            assert refused.said, "nothing is acknowledged by whoever cannot keep it"
            if disk.over:
                assert refused.said == NO_ROOM.code
                eventually(lambda: not cometbft_of(node))
                assert known(world.ledger(name), before)
                assert height(world, name) == world.ledger(name).status(verify=False).height
                assert blocks_since(world, name, 1)
                assert not cometbft_of(node), "it would only give up again"
            disk.free()
            node.wait(node.ready, WITHIN_S)
            everywhere(world, before, *meanwhile)
            goes_on(world, name)
            if disk.over:
                assert {part: said["starts"] for part, said in node.parts().items()} == starts, "nobody began anew"
            assert eventually(lambda: not world.ledger(name).submit(world.transaction()).code)
    finally:
        node.start()
    everywhere(world, before, *meanwhile)


@pytest.mark.promise("P3", "P5", "P7", "P10")
@pytest.mark.long
def test_a_validator_whose_clock_is_an_hour_ahead_moves_no_blocks_time(world: Apart, evidence: Evidence) -> None:
    world.well()
    share, payer = world.share(), world.node("payer")
    began, first = world.clocks(), height(world, "regulator") + 1
    world.clocks.of["payer"].advance(HOUR_S)
    evidence.fault("a validator's clock that is an hour ahead")
    try:
        receipt = world.receipt()
        asked = world.asked_for(receipt)
        eventually(lambda: world.said_by("payer", receipt, asked) in (STALE, NOT_IN_TIME))
        eventually(lambda: not payer.ready())
        assert world.opened(receipt)
        done = [CID(world.ledger(name).submit(world.transaction()).tx) for name in VALIDATORS if name != "payer"]
        for name in world.names:
            goes_on(world, name)
        assert world.said_by("payer", receipt, asked) in (STALE, NOT_IN_TIME)
        times = [block.signed.own().time for block in blocks_since(world, "regulator", first)]
        assert times == sorted(times)
        assert began - LIMIT_S <= times[0] <= times[-1] <= world.clocks()
    finally:
        world.clocks.of["payer"].advance(-HOUR_S)
    everywhere(world, *done)
    eventually(lambda: world.said_by("payer", receipt) == "released")
    world.person.revoke(share)


@pytest.mark.promise("P3", "P5", "P7", "P10")
@pytest.mark.long
@pytest.mark.parametrize("behind", ["an hour", "before the network began"])
def test_a_validator_whose_clock_was_behind_takes_part_again_when_it_is_right(
    world: Apart, evidence: Evidence, behind: str
) -> None:
    world.well()
    age_s = world.clocks() - world.network.founding.time
    if behind == "an hour" and age_s < 2 * HOUR_S:
        world.clocks.advance(2 * HOUR_S)
        world.wait_ready()
    by_s = HOUR_S if behind == "an hour" else age_s + HOUR_S
    share, payer = world.share(), world.node("payer")
    others = [name for name in world.names if name != "payer"]
    starts = payer.parts()["ledger"]["starts"]
    world.clocks.of["payer"].advance(-by_s)
    evidence.fault(f"a validator's clock that is behind: {behind}")
    try:
        eventually(lambda: payer.parts()["ledger"]["starts"] > starts)
        stands = eventually(lambda: height(world, "payer"))
        receipt = world.receipt()
        asked = world.asked_for(receipt)
        assert world.opened(receipt)
        done = [CID(world.ledger(name).submit(world.transaction()).tx) for name in others]
        for name in others:
            goes_on(world, name)
        assert not payer.ready()
        assert eventually(lambda: height(world, "payer")) == stands  # it may just begin anew once more
        assert world.said_by("payer", receipt, asked) != "released"
    finally:
        world.clocks.of["payer"].advance(by_s)
    everywhere(world, *done)
    goes_on(world, "payer")
    assert not world.ledger("payer").submit(world.transaction()).code
    eventually(lambda: world.said_by("payer", receipt) == "released")
    world.person.revoke(share)
