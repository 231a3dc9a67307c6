"""Whether memory and disk stay bounded: ``python -m bench._steady [MINUTES]``, 60 unless given.

One validator over CometBFT, a small application with as many keys at the end as at the beginning, retention of a few
hundred blocks, and a steady load. What may grow for good is the log of all transactions, whose hashes are kept, and
CometBFT's headers, which stay as long as evidence counts: both have an allowance, by transaction and by block. CometBFT
keeps up to a GiB of its log of votes. All else has to be at the end what it was when half of the time had passed, or
the exit code is 1.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Final

from msgspec import Struct
from rich.console import Console

from bench._rates import short_folder
from caremesh.consensus.cometbft.engine import CometBft
from caremesh.ledger.application import Params
from caremesh.node.process import spare_the_collector
from tests.support.comet_engine import PATIENT_S, comet, now, signed
from tests.support.kv import MEMBER, Kv, Put

LIMITS: Final = Params(retain_blocks=200, kept_heights=50, quota_messages=10**9)
KEYS: Final = 1_000
BATCH: Final = 50
PAUSE_S: Final = 1.0
LOOKS: Final = 10
BY_TX_BYTES: Final = 400
"""Of disk, for good: two hashes of the log in pages that are not full."""
BY_BLOCK_BYTES: Final = 4_096
"""Of disk, for good, in CometBFT's stores: a header, a commit, and what finds them."""
WAL_MIB: Final = 1_100.0
"""CometBFT's log of votes, whose oldest files go beyond a GiB."""
SLACK: Final = 1.3
SLACK_MIB: Final = 32.0
RESULTS: Final = Path("build/bench/steady.json")


class Look(Struct, frozen=True):
    """What is taken at one moment, in MiB, and what has been done by then."""

    minutes: float
    txs: int
    blocks: int
    ledger_mib: float
    cometbft_mib: float
    """Without its log of votes."""
    wal_mib: float
    memory_mib: float
    cometbft_memory_mib: float


def main(minutes: float) -> int:
    """Run, look ten times, write what was seen, judge."""
    spare_the_collector()
    console, looks, txs = Console(width=200), list[Look](), 0
    with short_folder() as folder:
        engine = comet(folder, Kv([MEMBER], LIMITS), begun=now())
        try:
            engine.start()
            engine.wait(1, PATIENT_S)
            begun = time.monotonic()
            while len(looks) < LOOKS:
                rows = [
                    signed(Put(key=b"%d" % ((txs + number) % KEYS), value=os.urandom(64))) for number in range(BATCH)
                ]
                for future in engine.submit_many(rows):
                    future.result()
                txs += BATCH
                time.sleep(PAUSE_S)
                spent = (time.monotonic() - begun) / 60
                if spent >= minutes * (len(looks) + 1) / LOOKS:
                    looks.append(_look(engine, folder, spent, txs))
                    console.print(looks[-1])
        finally:
            engine.close()
    faults = judged(looks[LOOKS // 2 - 1], looks[-1])
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps([{name: getattr(row, name) for name in row.__struct_fields__} for row in looks]))
    console.print("bounded" if not faults else f"not bounded: {', '.join(faults)}")
    return 1 if faults else 0


def judged(half: Look, end: Look) -> list[str]:
    """What has grown by more than it may between these two."""
    txs = (end.txs - half.txs) * BY_TX_BYTES / 2**20
    blocks = (end.blocks - half.blocks) * BY_BLOCK_BYTES / 2**20
    allowed = {"ledger_mib": txs, "cometbft_mib": blocks, "memory_mib": 0.0, "cometbft_memory_mib": 0.0}
    grown = [
        name
        for name, more in allowed.items()
        if getattr(end, name) > max(SLACK * getattr(half, name), getattr(half, name) + SLACK_MIB) + more
    ]
    return [*grown, "wal_mib"] if end.wal_mib > WAL_MIB else grown


def _look(engine: CometBft, folder: Path, minutes: float, txs: int) -> Look:
    pid, wal = engine.process.pid, _disk_mib(folder / "cometbft" / "data" / "cs.wal")
    return Look(
        minutes=round(minutes, 1),
        txs=txs,
        blocks=engine.machine.head.height,
        ledger_mib=_disk_mib(folder / "ledger"),
        cometbft_mib=round(_disk_mib(folder / "cometbft") - wal, 1),
        wal_mib=wal,
        memory_mib=_memory_mib(os.getpid()),
        cometbft_memory_mib=0.0 if pid is None else _memory_mib(pid),
    )


def _disk_mib(folder: Path) -> float:
    used = 0
    for path in folder.rglob("*"):
        try:
            used += path.stat().st_blocks * 512
        except OSError:  # gone since
            continue
    return round(used / 2**20, 1)


def _memory_mib(pid: int) -> float:
    """Private memory: the pages of a mapped file are the kernel's to keep or not."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return 0.0
    [own] = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
    return round(int(own) / 1024, 1)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0))
