"""Import end to end against validation alone, by layer; and memory from few patients to many.

``import.rest_to_validation``: CPU time of everything but validation (split, classify, resolve, seal, store at three
members, deposit with three custodians, register on five copies of the ledger), over that of validation, in the same
run. Validation is all of its layers, from bytes to an outcome, as in ``fhir.validate``; the import shares its parse.
Both run once before, so that neither is charged with what a process loads on first use; Python's cycle collector rests
in both. ``import.memory.*``: of 1,000 patients against 10, each with streams of their own; *private* memory is what the
process holds itself, *resident* counts the pages of five ledgers' files and maps, too. ``import.part.*``: where the CPU
time of the whole import goes, by the room that spends it.
"""

from __future__ import annotations

import cProfile
import hashlib
import json
import os
import pstats
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from caremesh.fhir.bundle import read_bundle
from caremesh.fhir.categories import ALL
from caremesh.fhir.entries import lines, read_entry, split
from caremesh.fhir.references import Condition
from caremesh.fhir.validation import validate
from caremesh.fhir.valuesets import look
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import THRESHOLD, LocalMesh
from caremesh.sealing.frames import LEVEL
from caremesh.source.collector import resting
from caremesh.source.importer import MAX_LINE_BYTES, Source
from caremesh.source.parting import LINES_AT_ONCE
from caremesh.source.survey import survey, valid_r4
from caremesh.testing.clock import SettableClock
from caremesh.testing.person import Person
from caremesh.types import DAY_S, Digest
from caremesh.wallet.enrol import Custody, Writing, enrol
from caremesh.wallet.state import WalletState
from tests.support import synthea

AREAS: Final = ("import",)
RUNS: Final = 3
FEW: Final = 10
MANY: Final = 1_000
ROWS_A_PATIENT: Final = 60
STORES: Final = 3
_UUID: Final = re.compile(r"(?<!\|)[0-9a-f]{8}(-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
PARTS: Final = ("validation", "classify", "valuesets", "kinds", "entries", "text", "references", "sealing", "crypto",
                "blobs", "custodian", "ledger", "consensus", "contracts", "source", "codec")  # fmt: skip


def run() -> list[dict[str, Any]]:
    """Speeds, shares and memory."""
    names = list(synthea.sizes())
    [large, other] = synthea.read(names[-2], names[-3])
    *runs, parts = _imports(large, other)
    rows = []
    megabytes = len(large) / 1e6
    for name, base, goal in (("validation", "validation", 1.0), ("rules", "rules", None)):
        ratios = [(run["whole"] - run[base]) / run[base] for run in runs]
        unit = f"× {base}, CPU time" if goal else "× validation of what is parsed already, CPU time"
        rows.append(_row(f"import.rest_to_{name}", _median(ratios), unit, ratios, goal, runs[0][base]))
    floors = [_floor(large) for _ in runs]
    ratios = [floor / run["validation"] for floor, run in zip(floors, runs, strict=True)]
    unit = "× validation, CPU time of primitives alone"
    rows.append(_row("import.floor_to_validation", _median(ratios), unit, ratios, None, runs[0]["validation"]))
    minified = sum(len(read_entry(entry).compact) for entry in split(large).entries) / 1e6
    rests = [minified / (run["whole"] - run["validation"]) for run in runs]
    unit = "MB/s of minified JSON a core, without validation"
    rows.append(_row("import.rest", _median(rests), unit, rests, better="higher"))
    wall = [megabytes / run["wall"] for run in runs]
    rows.append(_row("import.end_to_end", _median(wall), "MB/s", wall, better="higher"))
    rows += [_row(f"import.part.{name}", share, "share of CPU time", 1) for name, share in parts.items()]
    for name in ("survey", "end_to_end"):
        few, many = _memory(name, FEW), _memory(name, MANY)
        for kind, id_, goal in (("private", name, 1.2), ("resident", f"{name}.resident", None)):
            ratio, unit = many[kind] / few[kind], f"× of {FEW} patients, with {MANY:,}"
            rows.append(_row(f"import.memory.{id_}", ratio, unit, [few[kind], many[kind]], goal, few[kind]))
    return rows


def _imports(data: bytes, first: bytes) -> list[dict[str, float]]:
    """CPU seconds of validation and of the whole import, its wall seconds, and its parts; several times.

    ``first``: another patient, imported before anything is measured.
    """
    found = []
    for number in range(RUNS + 1):
        with tempfile.TemporaryDirectory(dir=_build()) as folder, LocalMesh(Path(folder), SettableClock()) as mesh:
            source = mesh.member("hospital").source(mesh)
            for bundle in synthea.directory():
                source.import_bundle(bundle)
            for index, each in enumerate((first, data)):
                patient = read_bundle(each).patient
                assert patient is not None
                Person.create(mesh, Path(folder) / f"wallet-{index}", "passphrase")[0].enrol("hospital", patient.id)
            source.import_bundle(first)
            if number == RUNS:
                found.append(_parts_of(source, data))
                continue
            whole_s, wall_s = _taken(lambda source=source: source.import_bundle(data))  # type: ignore[misc]
        raws = [bytes(entry.raw) for entry in split(data).entries]
        resources = [read_entry(entry) for entry in split(data).entries]
        with resting():
            validation_s, _ = _taken(lambda raws=raws: [validate(raw) for raw in raws])  # type: ignore[misc]
            rules_s, _ = _taken(lambda every=resources: [valid_r4(one) for one in every])  # type: ignore[misc]
        found.append({"whole": whole_s, "wall": wall_s, "validation": validation_s, "rules": rules_s})
    return found


def _floor(data: bytes) -> float:
    """CPU seconds of what no import can do without: compress, encrypt, hash, search once, write synced files."""
    records = [bytes(entry.raw) for entry in split(data).entries]
    texts = [read_entry(entry).compact.decode().lower() for entry in split(data).entries]

    def work() -> None:
        pack = zstandard.ZstdCompressor(level=LEVEL)
        sealed = [
            AESGCM(hashlib.sha256(record).digest()).encrypt(bytes(12), pack.compress(record), None)
            for record in records
        ]
        for text in texts:
            look(text)
        whole = b"".join(sealed)
        hashlib.sha256(whole)
        for store in range(STORES):
            hashlib.sha256(whole)
            with (Path(folder) / str(store)).open("wb") as file:
                file.write(whole)
                file.flush()
                os.fsync(file.fileno())

    with tempfile.TemporaryDirectory(dir=_build()) as folder, resting():
        return _taken(work)[0]


def _taken(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds."""
    start, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - start, time.perf_counter() - wall


def _parts_of(source: Source, data: bytes) -> dict[str, float]:
    """Shares of the CPU time of an import by room; what libraries take counts for the room that calls them."""
    profile = cProfile.Profile(time.thread_time)
    profile.runcall(source.import_bundle, data)
    shares = dict.fromkeys((*PARTS, "other"), 0.0)
    for (path, _, _), (_, _, own, _, callers) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        part = _part(path)
        if part:
            shares[part] += own
        else:
            for (caller, _, _), (_, _, of_caller, _) in callers.items():
                shares[_part(caller) or "other"] += of_caller
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items() if share}


def _part(path: str) -> str:
    inside = path.partition("/caremesh/")[2].removesuffix(".py").split("/")
    return next((name for name in PARTS if name in inside), "")


def _build() -> Path:
    """Beside the build, not in /tmp, which may be memory: a sync must reach a disk."""
    folder = Path("build")
    folder.mkdir(exist_ok=True)
    return folder


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


def _memory(what: str, patients: int) -> dict[str, int]:
    """Bytes at most, private and resident, in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-m", "bench.importing", what, str(patients)], capture_output=True, text=True, check=True
    )
    found: dict[str, int] = json.loads(run.stdout)
    return found


class _Peak(threading.Thread):
    """Watches this process's memory: ``private`` is its own, ``resident`` counts pages of files and tables too."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.private = 0
        self._over = threading.Event()

    def run(self) -> None:
        """Until it is told to stop."""
        while not self._over.wait(0.01):
            self.private = max(self.private, _status("RssAnon"))

    def stop(self) -> dict[str, int]:
        """What was seen."""
        self._over.set()
        self.join()
        return {"private": max(self.private, _status("RssAnon")), "resident": _status("VmHWM")}


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text()  # ru_maxrss would count what the parent held before exec
    return 1024 * int(text.partition(f"{name}:")[2].split()[0])


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


def _survey(patients: int) -> dict[str, int]:
    """The first pass over NDJSON, a part at a time, as an import makes it."""
    batch = []
    peak = _Peak()
    peak.start()
    for entry in lines(_people(patients), MAX_LINE_BYTES):
        batch.append(entry)
        if len(batch) == LINES_AT_ONCE:
            survey(batch, _Anything(), valid_r4, kind="ndjson")
            batch = []
    return peak.stop()


def _end_to_end(patients: int) -> dict[str, int]:
    """The whole import of people with a wallet each, registered on a ledger."""
    with tempfile.TemporaryDirectory(dir=_build()) as folder, LocalMesh(Path(folder), SettableClock()) as mesh:
        member = mesh.member("hospital")
        source, hospital, reader = member.source(mesh), member.home.did, member.ledger.reader()
        for bundle in synthea.directory():
            source.import_bundle(bundle)
        custody = Custody(custodians=sorted(set(mesh.custodians) - {hospital}), threshold=THRESHOLD)
        writing = Writing(until=(mesh.clock() // DAY_S + 365) * DAY_S)
        for data in _people(patients):
            state = WalletState(chain=CHAIN, seed=os.urandom(32))
            patient = json.loads(data.partition(b"\n")[0])["id"]
            source.enrol(patient, enrol(state, reader, hospital, ALL, custody, writing).sealed)
        peak = _Peak()
        peak.start()
        report = source.import_lines(_people(patients))
        found = peak.stop()
        assert not report.refused
        assert sum(report.records.values()) == patients * ROWS_A_PATIENT
    return found


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
    print(json.dumps({"survey": _survey, "end_to_end": _end_to_end}[sys.argv[1]](int(sys.argv[2]))))
