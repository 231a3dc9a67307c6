"""The power goes at one of four validators, or at all of them: what was acknowledged is there, and nobody signs twice.

CometBFT's own files are put together again out of recorded writes without the unsynced ones (``support/power.py``); the
state, of which every commit is synced before CometBFT is told, has a test of its own for every write of it.
"""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from caremesh.consensus.cometbft.joining import HOME
from caremesh.consensus.interface import Committed
from caremesh.contracts.members.messages import SetEndpoints
from caremesh.contracts.network.messages import Validator
from caremesh.errors import CareMeshError
from tests.conftest import Evidence
from tests.support.comet_engine import PATIENT_S, short_folder
from tests.support.comet_network import Network, signed, validator
from tests.support.power import Disk, recorded, replaced
from tests.support.world import World
from tools.cometbft import cometbft

# CometBFT is built by whichever test asks first: a minute of processor time, once for each machine.
pytestmark = [pytest.mark.timeout(1_800), pytest.mark.long]

COUNT = 4
ROUNDS = 6


def four(world: World) -> list[Validator]:
    members = [world.hospital, world.practice, *world.custodians]
    return [validator(member, str(number)) for number, member in enumerate(members[:COUNT])]


class Powered:
    """A network whose nodes lose power, and what was acknowledged."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self.dice = dice
        self.records = [folder / f"r{number}" for number in range(COUNT)]
        programs = [recorded(cometbft(), each) for each in self.records]
        self.net = Network(folder, COUNT, four(World()), lambda number: programs[number])
        self.disks = [Disk(each / HOME / "data") for each in self.net.folders]
        self.acknowledged: set[bytes] = set()
        self.lost = 0

    def work(self) -> list[Future[Committed]]:
        """Transactions by way of any node, on their way."""
        hospital, sent = self.net.world.hospital, []
        for _ in range(20):
            raw = signed(SetEndpoints(member=str(hospital.did), endpoints=[]), hospital)
            sent.append(self.net.engines[self.dice.randrange(COUNT)].submit_soon(raw))
        return sent

    def off(self, numbers: list[int]) -> None:
        """The power goes at all of these at once."""
        for number in numbers:
            process = self.net.engines[number].process
            with process._changed:
                process._closed = True  # nobody starts it again
        for number in numbers:
            pid = self.net.engines[number].process.pid
            if pid:
                os.kill(pid, signal.SIGKILL)
        for number in numbers:
            self.net.engines[number].close(0)

    def on(self, number: int) -> None:
        """It begins with what its disk holds."""
        disk, record = self.disks[number], self.records[number] / "recording"
        disk.play(record.read_bytes())
        data = self.net.folders[number] / HOME / "data"
        replaced(data, disk.after(self.dice if self.dice.random() < 0.5 else None))
        self.lost += disk.lost
        record.unlink()
        self.disks[number] = Disk(data)
        self.net.engines[number] = self.net._made(number, str(number))
        self.net.engines[number].start()

    def heard(self, sent: list[Future[Committed]]) -> None:
        for future in sent:
            try:
                self.acknowledged.add(future.result(2 * PATIENT_S).tx)
            except CareMeshError:  # its node has lost power
                continue


@pytest.mark.promise("P5", "P7", "P10")
def test_power_goes_at_one_and_at_all_and_nothing_acknowledged_is_lost(seed: int, evidence: Evidence) -> None:
    dice = random.Random(seed)  # noqa: S311 - a seed must replay
    with short_folder() as folder:
        powered = Powered(folder, dice)
        net = powered.net
        try:
            net.start()
            for number in range(ROUNDS):
                victims = list(range(COUNT)) if number % 2 else [dice.randrange(COUNT)]
                sent = powered.work()
                time.sleep(dice.random())
                powered.off(victims)
                evidence.fault("power lost at all validators" if number % 2 else "power lost at one validator")
                for each in victims:
                    powered.on(each)
                powered.heard(sent)
                powered.heard(powered.work())
            last = max(engine.status().height for engine in net.engines)
            net.same_everywhere(last)
            for engine in net.engines:
                assert all(engine.outcome(tx) is not None for tx in powered.acknowledged)
                for height in range(1, last):
                    block = engine.block(height)
                    assert block == net.engines[0].block(height)
                    assert not block.misbehaviour, "somebody has signed twice"
            assert len(powered.acknowledged) >= 20 * ROUNDS
            assert powered.lost > 0
            evidence.fault("bytes that were written and not synced", powered.lost)
        finally:
            net.close()
