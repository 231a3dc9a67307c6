"""One validator of four whose application answers garbage: the others go on, it stops by itself, and says so."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from caremesh.consensus.cometbft.engine import CometBft
from caremesh.consensus.cometbft.framing import framed
from caremesh.consensus.cometbft.process import GAVE_UP
from caremesh.contracts.members.messages import SetEndpoints
from caremesh.contracts.network.messages import Validator
from caremesh.errors import Unavailable
from tests.conftest import Evidence
from tests.support.comet_engine import PATIENT_S
from tests.support.comet_garbling import CUT_SHORT, NOISE, RESULT, ROOT, Bend, Garbling
from tests.support.comet_network import POLL_S, Network, engine_key, network, signed, validator
from tests.support.world import World

# CometBFT is built by whichever test asks first: a minute of processor time, once for each machine.
pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

FAULTY = 3


def four(world: World) -> list[Validator]:
    members = [world.hospital, world.practice, *world.custodians]
    return [validator(member, str(number)) for number, member in enumerate(members[:4])]


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 2 * PATIENT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(POLL_S)


def others_go_on(running: Network) -> int:
    """Three acknowledge, one after the other, and have the same block; its height."""
    hospital, done = running.world.hospital, 0
    for number in range(FAULTY):
        done = running.must(SetEndpoints(member=str(hospital.did), endpoints=[]), hospital, by=number)
    for engine in running.engines[:FAULTY]:
        engine.wait(done, PATIENT_S)
    assert len({engine.block(done).signed.header for engine in running.engines[:FAULTY]}) == 1
    return done


def has_no_part(running: Network, height: int) -> bool:
    signed = running.engines[0].light_block(height).signed.signatures
    return engine_key(str(FAULTY)).public not in {each.key for each in signed}


@pytest.mark.promise("P5", "P7", "P10")
@pytest.mark.parametrize(
    ("bend", "again"),
    [
        pytest.param(ROOT, False, id="another root"),
        pytest.param(RESULT, False, id="another result", marks=pytest.mark.long),
        pytest.param(CUT_SHORT, True, id="cut short", marks=pytest.mark.long),
        pytest.param(NOISE, True, id="noise", marks=pytest.mark.long),
    ],
)
def test_an_application_that_answers_garbage_stops_its_own_validator_and_nobody_else(
    bend: Bend, evidence: Evidence, *, again: bool
) -> None:
    garbling: list[Garbling] = []
    with network(4, four, lambda made: garbling.append(Garbling(made.folders[FAULTY]))) as running:
        try:
            [between] = garbling
            faulty = running.engines[FAULTY]
            first = others_go_on(running)
            faulty.wait(first, PATIENT_S)
            between.bend = bend
            before = [others_go_on(running) for _ in range(3)][-1]
            until(lambda: between.bent > 0)
            evidence.fault("an application of four that answers garbage")
            until(lambda: has_no_part(running, others_go_on(running) - 1))
            if again:
                comes_back(running, between, faulty)
            else:
                is_named(running, faulty)
            last = others_go_on(running)
            for height in range(1, last):
                assert len({each.block(height).signed.header for each in running.engines[:FAULTY]}) == 1
            assert last > before
            kept = running.engines[FAULTY]
            for height in range(1, kept.machine.head.height):
                assert kept.block(height).signed.header == running.engines[0].block(height).signed.header
        finally:
            for each in garbling:
                each.close()


def comes_back(running: Network, between: Garbling, faulty: CometBft) -> None:
    """Nothing of the garbage was believed: it goes on once the answers are right, and it was started again."""
    until(lambda: faulty.stopped or faulty.process.starts > 1)
    between.bend = framed
    if faulty.stopped:
        running.again(FAULTY, str(FAULTY))
    running.engines[FAULTY].wait(others_go_on(running), 2 * PATIENT_S)
    until(lambda: not has_no_part(running, others_go_on(running) - 1))
    assert not running.engines[FAULTY].stopped


def is_named(running: Network, faulty: CometBft) -> None:
    """What was believed contradicts the others: it takes part no more, and says why to whoever asks."""
    until(lambda: faulty.stopped)
    hospital = running.world.hospital
    with pytest.raises(Unavailable) as stopped:
        faulty.submit(signed(SetEndpoints(member=str(hospital.did), endpoints=[]), hospital))
    cause = stopped.value.__cause__
    assert isinstance(cause, Unavailable)
    assert cause.code == GAVE_UP.code
