"""Validators that have nothing to do for two hours: all stays ready, nothing grows without end, the next visit opens.

Everything is as it is where nobody sets anything, the pace of blocks, too. ``pytest --idle MINUTES`` for another time.
What was seen is written to ``build/idle-cometbft.json``; that of the last whole run is in ``docs/reference``.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from tests.conftest import Evidence
from tests.support.apart import apart
from tests.support.comet_engine import short_folder
from tests.support.idle import PRODUCTION, idled, judged
from tests.support.kill_job import VALIDATORS
from tools.cometbft import cometbft

RESULTS = Path("build/idle-cometbft.json")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(5 * 3_600)
@pytest.mark.promise("P3", "P7", "P10")
def test_a_visit_opens_at_once_after_two_idle_hours(request: pytest.FixtureRequest, evidence: Evidence) -> None:
    ordered = {"cometbft": cometbft(), "validators": VALIDATORS, "relay": "practice"}
    with short_folder() as folder, apart(folder / "n", **ordered, **PRODUCTION) as world:  # type: ignore[arg-type]
        found = idled(world, request.config.getoption("--idle"))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(msgspec.to_builtins(found), indent=1) + "\n", "utf-8")
    evidence.say(f"{found.minutes} idle minutes; then access in {found.ask_s} s, a release in {found.release_s} s")
    evidence.fault("minutes in which nobody does anything", round(found.minutes))
    assert judged(found) == []
