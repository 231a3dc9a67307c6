"""How fast FHIR validation is, layer by layer, in MB of minified JSON a second of one core, beside other validators.

All on the same resources in the same run: those of the sample patient, each alone. Peers are measured where
``python -m tools.fhir_peers`` has fetched them, on a part of the resources where they are slow; those that are not
there are named and left out. CPU time, so that a busy machine counts less.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from caremesh.fhir import samples
from caremesh.fhir.validation import dispatch, validate
from caremesh.fhir.validation.checks import Context
from caremesh.fhir.validation.text import parse
from tools.fhir_examples import FETCHED
from tools.fhir_peers import NODE_FOLDER, PYTHON_FOLDER
from tools.fhir_verdicts import HAPI, Hapi

AREAS = ("fhir",)
SAMPLES: Final = 7
GOAL: Final = 20.0
PEERS: Final = Path(__file__).parent / "peers"
HAPI_RESOURCES: Final = 200
WARM_UP: Final = 200


def resources() -> list[bytes]:
    """Every resource of the sample patient, minified."""
    bundle = msgspec.json.decode(samples.patient())
    return [msgspec.json.encode(entry["resource"]) for entry in bundle["entry"]]


def speed(work: Callable[[], object], size: int) -> list[float]:
    """MB a second of CPU time, several times."""
    work()
    found = []
    for _ in range(SAMPLES):
        gc.collect()
        start = time.process_time()
        work()
        found.append(size / (time.process_time() - start) / 1e6)
    return found


def result(name: str, speeds: list[float], goal: float | None = None) -> dict[str, Any]:
    """One line of results: the median."""
    return {
        "id": f"fhir.{name}",
        "value": round(statistics.median(speeds), 2),
        "unit": "MB/s",
        "goal": goal,
        "better": "higher",
        "baseline": None,
        "samples": [round(one, 2) for one in speeds],
    }


def against(name: str, ours: float, theirs: list[float]) -> list[dict[str, Any]]:
    """The peer's speed, and ours as a multiple of it."""
    median = statistics.median(theirs)
    ratio = {
        **result(f"validate-to-{name}", [ours / median]),
        "unit": "ratio",
        "goal": 1.0,
        "baseline": round(median, 2),
    }
    return [result(f"peer.{name}", theirs), ratio]


def peer(command: list[str], held: list[bytes]) -> list[float] | None:
    """A peer's MB/s as it prints them after reading one resource a line; None when it cannot run."""
    with tempfile.NamedTemporaryFile(suffix=".ndjson") as file:
        file.write(b"\n".join(held))
        file.flush()
        run = subprocess.run([*command, file.name], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        print(f"{command[0]}: could not run: {run.stderr.strip().splitlines()[-1:]}")
        return None
    return [float(one) for one in json.loads(run.stdout)]


def hapi(held: list[bytes]) -> list[float] | None:
    """HAPI's MB/s on a part of the resources, after a warm-up; the CPU time of its own thread."""
    if not (FETCHED / f"hapi-{HAPI}").exists():
        return None
    validator = Hapi()
    part = held[:: max(1, len(held) // HAPI_RESOURCES)]
    for one in part[:WARM_UP]:
        validator.ask(one)
    took = sum(validator.ask(one)[0] for one in part) / 1e6
    validator.close()
    return [sum(map(len, part)) / took / 1e6]


def run() -> list[dict[str, Any]]:
    """Ours, layer by layer, then the peers that are there."""
    held = resources()
    size = sum(map(len, held))
    parsed = [(one["resourceType"], one) for one in map(msgspec.json.decode, held)]
    shapes = [(dispatch.shape(name), one) for name, one in parsed]
    functions = [(dispatch.function(name), one) for name, one in parsed]
    gc.freeze()
    results = [
        result("parse", speed(lambda: [parse(one) for one in held], size)),
        result("shape", speed(lambda: [shape.is_valid(one) for shape, one in shapes], size)),
        result("rules", speed(lambda: [check(one, Context(one, under=False)) for check, one in functions], size)),
    ]
    everything = speed(lambda: [validate(one) for one in held], size)
    gc.unfreeze()
    results.append(result("validate", everything, GOAL))
    ours = statistics.median(everything)
    peers = {
        "fhir-resources": (PYTHON_FOLDER, [sys.executable, str(PEERS / "fhir_resources.py"), str(PYTHON_FOLDER)]),
        "medplum": (NODE_FOLDER, ["node", str(PEERS / "medplum.mjs"), str(NODE_FOLDER)]),
    }
    for name, (folder, command) in peers.items():
        speeds = peer(command, held) if folder.exists() else None
        if speeds:
            results += against(name, ours, speeds)
        else:
            print(f"fhir.peer.{name}: not measured; python -m tools.fhir_peers fetches it")
    theirs = hapi(held)
    if theirs:
        results += against("hapi", ours, theirs)
    else:
        print("fhir.peer.hapi: not measured; python -m tools.fhir_peers fetches it")
    return results
