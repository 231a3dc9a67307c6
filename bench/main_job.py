"""Where the time of the main job goes, by step and by layer, and what the whole costs against its cryptography alone.

The baseline of ``main_job.open`` is what opening the same records cannot do without: re-encryptions by two custodians,
their checks, and decryption of the same bytes, in the same run.
"""

from __future__ import annotations

import cProfile
import pstats
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from caremesh.crypto.reencryption import ReadingKey, check_reencryption, make_fragments, open_with, reencrypt, seal_to
from caremesh.testing.main_job import MainJob, Story

RUNS: Final = 5
LAYERS: Final = (
    "blobs", "cli", "codec", "consensus", "contracts", "crypto", "custodian", "fhir", "gateway", "ledger", "node",
    "sealing", "source", "testing", "wallet",
)  # fmt: skip


def run() -> list[dict[str, Any]]:
    """Seconds of each step (median of runs), shares of the layers, and opening against its cryptography."""
    stories = [_story() for _ in range(RUNS)]
    rows = []
    for number, step in enumerate(stories[0].steps):
        seconds = [story.steps[number].seconds for story in stories]
        name = step.title.lower().replace("'", "").replace(",", "").replace(" ", "-")
        rows.append(_row(f"main_job.step.{number + 1:02}.{name}", statistics.median(seconds), "s", seconds))
    total = [sum(step.seconds for step in story.steps) for story in stories]
    rows.append(_row("main_job.total", statistics.median(total), "s", total))
    rows += [_row(f"main_job.layer.{layer}", share, "share of CPU time", 1) for layer, share in _layers().items()]
    opening = [step.seconds for story in stories for step in story.steps if step.title.startswith("Custodians re-enc")]
    bare = _bare_s()
    rows.append(
        {
            "id": "main_job.open",
            "value": statistics.median(opening) / bare,
            "unit": "× two bare re-encryptions, their checks, and opening",
            "goal": None,
            "better": "lower",
            "baseline": bare,
            "samples": opening,
        }
    )
    return rows


def _story(profile: cProfile.Profile | None = None) -> Story:
    with tempfile.TemporaryDirectory() as folder:
        if profile is None:
            return MainJob(Path(folder)).run()
        return profile.runcall(MainJob(Path(folder)).run)


def _layers() -> dict[str, float]:
    """Share of the main thread's own time by package; ``libraries`` is all that is not ours."""
    profile = cProfile.Profile()
    _story(profile)
    shares = dict.fromkeys((*LAYERS, "libraries"), 0.0)
    for (file, _, _), (_, _, own, _, callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        layer = _layer(file)
        if layer == "libraries" and callers:
            for (caller, _, _), (_, _, own_part, _) in callers.items():
                shares[_layer(caller)] += own_part
        else:
            shares[layer] += own
    total = sum(shares.values())
    return {layer: share / total for layer, share in shares.items() if share}


def _layer(file: str) -> str:
    _, found, rest = file.partition("/caremesh/")
    name = rest.partition("/")[0].removesuffix(".py")
    return name if found and name in LAYERS else "libraries"


def _bare_s() -> float:
    """Two re-encryptions, their checks, and opening the seal, for one segment."""
    delegating, receiving = ReadingKey.from_secret(b"d" * 32), ReadingKey.from_secret(b"r" * 32)
    verifying, fragments = make_fragments(delegating, receiving.public, 2, 3)
    seal = seal_to(delegating.public, bytes(32))
    samples = []
    for _ in range(20):
        start = time.perf_counter()
        answers = [reencrypt(seal, part, verifying, delegating.public, receiving.public) for part in fragments[:2]]
        for answer in answers:
            check_reencryption(seal, answer, verifying, delegating.public, receiving.public, "")
        open_with(receiving, delegating.public, seal, answers, verifying)
        samples.append(time.perf_counter() - start)
    return statistics.median(samples)


def _row(name: str, value: float, unit: str, samples: list[float] | int) -> dict[str, Any]:
    return {
        "id": name,
        "value": value,
        "unit": unit,
        "goal": None,
        "better": "lower",
        "baseline": None,
        "samples": samples,
    }
