"""Import end to end against validation alone, by layer; and memory from few patients to many.

``import.rest_to_validation``: CPU time of everything but validation (split, parse, classify, resolve, seal, store at
three members, deposit with three custodians, register on five copies of the ledger), over that of validation, in the
same run.
"""

from __future__ import annotations

import cProfile
import json
import os
import pstats
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from caremesh.fhir.bundle import read_bundle
from caremesh.fhir.categories import ALL
from caremesh.fhir.entries import lines, split
from caremesh.fhir.references import Condition
from caremesh.node.mesh import LocalMesh
from caremesh.source.importer import MAX_LINE_BYTES
from caremesh.source.parting import LINES_AT_ONCE
from caremesh.source.survey import survey, valid_r4
from caremesh.testing.clock import SettableClock
from caremesh.testing.person import Person
from caremesh.types import Digest
from tests.support import synthea

AREAS: Final = ("import",)
RUNS: Final = 3
FEW: Final = 10
MANY: Final = 1_000
END_TO_END: Final = 20
ROWS_A_PATIENT: Final = 60
_UUID: Final = re.compile(r"(?<!\|)[0-9a-f]{8}(-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
LAYERS: Final = ("validation", "classify", "entries", "text", "references", "sealing", "blobs", "custodian", "ledger",
                 "consensus", "contracts", "source", "crypto")  # fmt: skip


def run() -> list[dict[str, Any]]:
    """Speeds, shares and memory."""
    [large] = synthea.read(list(synthea.sizes())[-2])
    rows = []
    validation, whole, wall, shares = zip(*(_import(large) for _ in range(RUNS)), strict=True)
    megabytes = len(large) / 1e6
    ratios = [(all_ - check) / check for check, all_ in zip(validation, whole, strict=True)]
    rows.append(
        _row("import.rest_to_validation", _median(ratios), "× validation, CPU time", ratios, 1.0, validation[0])
    )
    rows.append(_row("import.end_to_end", _median([megabytes / s for s in wall]), "MB/s", list(wall), better="higher"))
    rows += [_row(f"import.layer.{name}", share, "share of CPU time", 1) for name, share in shares[0].items()]
    for name, least, most in (("survey", FEW, MANY), ("end_to_end", FEW, END_TO_END)):
        few, many = _memory(name, least), _memory(name, most)
        rows.append(
            _row(f"import.memory.{name}", many / few, f"× of {least} patients, with {most}", [few, many], 1.2, few)
        )
    return rows


def _import(data: bytes) -> tuple[float, float, float, dict[str, float]]:
    """CPU seconds of validation alone and of the whole import, its wall seconds, and shares by layer."""
    from caremesh.fhir.entries import read_entry

    resources = [read_entry(entry) for entry in split(data).entries]
    valid_r4(resources[0])
    start = time.process_time()
    for row in resources:
        valid_r4(row)
    validation = time.process_time() - start
    del resources
    with tempfile.TemporaryDirectory() as folder, LocalMesh(Path(folder) / "mesh", SettableClock()) as mesh:
        source = mesh.member("hospital").source(mesh)
        for bundle in synthea.directory():
            source.import_bundle(bundle)
        patient = read_bundle(data).patient
        assert patient is not None
        Person.create(mesh, Path(folder) / "wallet", "passphrase")[0].enrol("hospital", patient.id)
        start, wall = time.process_time(), time.perf_counter()
        source.import_bundle(data)
        whole, took = time.process_time() - start, time.perf_counter() - wall
    return validation, whole, took, _shares(data)


def _shares(data: bytes) -> dict[str, float]:
    """Where the CPU time of looking at a file goes, by module."""
    profile = cProfile.Profile()
    file = split(data)
    profile.runcall(survey, file.entries, _Anything(), valid_r4, kind=file.kind)
    shares = dict.fromkeys((*LAYERS, "other"), 0.0)
    for (path, _, _), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        inside = path.partition("/caremesh/")[2].removesuffix(".py").split("/")
        shares[next((name for name in LAYERS if name in inside), "other")] += own
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items() if share}


class _Anything:
    """Knows everything that is asked for."""

    def find(self, condition: Condition) -> list[str]:
        return [condition.identifier.hex()]

    def look_at(self, patient: str) -> None:
        pass

    def is_enrolled(self, patient: str) -> bool:  # noqa: ARG002
        return True

    def version(self, *_: str) -> Digest | None:
        return None


def _memory(what: str, patients: int) -> int:
    """Bytes resident at most, in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-m", "bench.importing", what, str(patients)], capture_output=True, text=True, check=True
    )
    return int(run.stdout)


def _people(count: int) -> Iterator[bytes]:
    """NDJSON of so many patients: the first records of the smallest sample, each time under other ids."""
    [data] = synthea.read(next(iter(synthea.sizes())))
    entries = json.loads(data)["entry"][:ROWS_A_PATIENT]
    text = "".join(json.dumps(entry["resource"]) + "\n" for entry in entries)
    for entry in json.loads(data)["entry"]:
        resource = entry["resource"]
        name = f"{resource['resourceType']}/{resource['id']}"
        text = text.replace(f'"reference": "{entry["fullUrl"]}"', f'"reference": "{name}"')
    for number in range(count):
        yield _UUID.sub(rf"{number:08x}\1", text).encode()


def _survey(patients: int) -> None:
    """The first pass over NDJSON, a part at a time, as an import makes it."""
    batch = []
    for entry in lines(_people(patients), MAX_LINE_BYTES):
        batch.append(entry)
        if len(batch) == LINES_AT_ONCE:
            survey(batch, _Anything(), valid_r4, kind="ndjson")
            batch = []


def _end_to_end(patients: int) -> None:
    """The whole import, registered on a ledger."""
    with tempfile.TemporaryDirectory() as folder, LocalMesh(Path(folder) / "mesh", SettableClock()) as mesh:
        source = mesh.member("hospital").source(mesh)
        for bundle in synthea.directory():
            source.import_bundle(bundle)
        person, _ = Person.create(mesh, Path(folder) / "wallet", "passphrase")
        for data in _people(patients):
            patient = json.loads(data.partition(b"\n")[0])["id"]
            person.enrol("hospital", patient)
        report = source.import_lines(_people(patients))
        assert not report.refused
        assert set(report.records) <= set(ALL)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _row(
    id_: str,
    value: float,
    unit: str,
    samples: Any,
    goal: float | None = None,
    baseline: float | None = None,
    better: str = "lower",
) -> dict[str, Any]:
    return {
        "id": id_, "value": value, "unit": unit, "goal": goal, "better": better, "baseline": baseline,
        "samples": samples,
    }  # fmt: skip


if __name__ == "__main__":
    os.nice(5)
    {"survey": _survey, "end_to_end": _end_to_end}[sys.argv[1]](int(sys.argv[2]))
    status = Path("/proc/self/status").read_text()  # ru_maxrss would count what the parent held before exec
    print(1024 * int(status.partition("VmHWM:")[2].split()[0]))
