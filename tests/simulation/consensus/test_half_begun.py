"""CometBFT ends within the first block of a converted chain, which it cannot survive: named, with a cure."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from caremesh import codec
from caremesh.consensus.cometbft.engine import CometBft
from caremesh.consensus.cometbft.process import HALF_BEGUN
from caremesh.errors import CareMeshError
from tests.support.comet_engine import PATIENT_S, short_folder
from tests.support.converted import COUNT, LAST, Converted

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def kill_within(engine: CometBft, answer: str) -> list[int]:
    """Let its CometBFT be killed once, when this was done for the first block: before CometBFT has kept a state."""
    application: Any = engine.application
    honest, killed = getattr(application, answer), []

    def done(*given: Any) -> Any:
        said = honest(*given)
        pid = engine.process.pid
        if not killed and pid is not None and (answer == "_commit" or given[0].height == LAST + 1):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        return said

    setattr(application, answer, done)
    return killed


def stopped(engine: CometBft) -> str:
    """With which code it does, once it does."""
    end = time.monotonic() + 3 * PATIENT_S
    while not engine.stopped:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert isinstance(engine.failure, CareMeshError)
    return engine.failure.code


def forget(folder: Path) -> None:
    """What the error says: all but what the validator has signed."""
    shutil.rmtree(folder / "ledger")
    for path in (folder / "cometbft" / "data").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "priv_validator_state.json":
            path.unlink()


@pytest.mark.promise("P5", "P7")
@pytest.mark.parametrize("answer", ["_finalize", "_commit"])
def test_who_ends_within_the_first_block_says_so_and_takes_the_ledger_over_again(answer: str) -> None:
    with short_folder() as folder:
        case = Converted(folder)
        try:
            case.engines.extend(case.opened(number) for number in range(COUNT))
            hurt = case.engines[-1]
            killed = kill_within(hurt, answer)
            for engine in case.engines:
                engine.start()
            assert stopped(hurt) == HALF_BEGUN.code
            assert len(killed) == 1
            hurt.close(0)

            again = case.engines[-1] = case.opened(COUNT - 1)
            again.start()
            assert stopped(again) == HALF_BEGUN.code, "to begin again does not help"
            again.close(0)

            path = case.folders[-1]
            forget(path)
            copy = case.before.replica(path / "ledger")
            for height in range(1, LAST + 1):
                copy.apply(case.engines[0].block(height))
            copy.close()
            healed = case.engines[-1] = case.opened(COUNT - 1)
            healed.start()
            for engine in case.engines:
                engine.wait(LAST + 3, 3 * PATIENT_S)
            assert len({codec.encode(engine.block(LAST + 1)) for engine in case.engines}) == 1
        finally:
            case.close()
