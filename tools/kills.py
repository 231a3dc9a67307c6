"""Kills processes of real nodes by the hundred and writes what became of it: ``python -m tools.kills cometbft FILE``.

Batches by seeds 1, 2, …; what the file has already is not done again, so that a run that is stopped goes on where it
was. ``make sim`` writes ``build/kills-ENGINE.json``; those of the last whole run are in ``docs/reference``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.support.kill_job import A_BATCH, KILLS, EngineName, batch

ROOT: Final = Path(__file__).parents[1]


def run(engine: EngineName, file: Path) -> int:
    """Every batch that the file has not; the exit code."""
    for seed in range(1, KILLS // A_BATCH + 1):
        rows = _rows(file)
        if any((row["engine"], row["seed"]) == (engine, seed) for row in rows):
            continue
        row: dict[str, Any] = {"engine": engine, "seed": seed, "commit": _commit()}
        try:
            row |= msgspec.to_builtins(batch(engine, seed)) | {"lost": None}
        except Exception:  # noqa: BLE001 - it is what is to be known
            row["lost"] = traceback.format_exc()
        rows = sorted([*_rows(file), row], key=lambda row: (row["engine"], row["seed"]))
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(".new")
        beside.write_text(json.dumps({"batches": rows}, indent=1, ensure_ascii=False) + "\n", "utf-8")
        beside.replace(file)
        print(time.strftime("%H:%M:%S"), engine, seed, "lost" if row["lost"] else "nothing lost", flush=True)
    return int(any(row["lost"] for row in _rows(file) if row["engine"] == engine))


def _rows(file: Path) -> list[dict[str, Any]]:
    return list(json.loads(file.read_text("utf-8"))["batches"]) if file.exists() else []


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    [wanted, where] = sys.argv[1:]
    sys.exit(run("cometbft" if wanted == "cometbft" else "embedded", Path(where)))
