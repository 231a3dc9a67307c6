"""A 48 MB bundle, and files made to exhaust a machine: in bounded memory and time, by the kernel's own account."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import synthea

pytestmark = pytest.mark.slow

MOST_BYTES = 400 * 1024 * 1024
LAUNCH = """
import os, resource, subprocess, sys
resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20))
child = subprocess.Popen(sys.argv[2:])
resource.prlimit(child.pid, resource.RLIMIT_DATA, (int(sys.argv[1]), int(sys.argv[1])))
_, status, used = os.wait4(child.pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_maxrss, file=sys.stderr)
"""
"""A program's account begins with the memory of the process that starts it: this one is small, a test runner is not.

The kernel counts what each thread reserves for its stack, 8 MB of which it touches some kilobytes, so how many threads
happen to run at once would decide: they reserve 1 MB here.
"""


class Ran(NamedTuple):
    code: int
    answer: Any
    most_bytes: int
    seconds: float


class Home:
    """Commands on a mesh of their own, each held to 400 MB of private memory (a database mapped from disk is not)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = os.environ | {"CAREMESH_HOME": str(folder / "home"), "CAREMESH_PASSPHRASE": "pass"}
        assert self.run("wallet", "create").code == 0

    def run(self, *words: str) -> Ran:
        start = time.monotonic()
        program = str(Path(sys.executable).parent / "caremesh")
        done = subprocess.run(
            [sys.executable, "-c", LAUNCH, str(MOST_BYTES), program, *words, "--json"],
            env=self._environment,
            capture_output=True,
            check=True,
        )
        code, most_kb = done.stderr.split()[-2:]
        return Ran(int(code), json.loads(done.stdout), int(most_kb) * 1024, time.monotonic() - start)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    return Home(tmp_path_factory.mktemp("bounds"))


def test_the_largest_patient_within_400_megabytes(home: Home) -> None:
    files = []
    for number, data in enumerate([*synthea.directory(), *synthea.read(list(synthea.sizes())[-1])]):
        files.append(str(home.folder / f"{number}.json"))
        Path(files[-1]).write_bytes(data)
    assert Path(files[-1]).stat().st_size > 48_000_000
    ran = home.run("import", *files)
    assert (ran.code, sum(ran.answer["records"].values()), ran.answer["refused"]) == (0, 17_009, [])
    assert ran.most_bytes < MOST_BYTES


def packed(folder: Path, name: str, before: bytes, repeated: bytes, after: bytes) -> str:
    """1 GB between two ends, as gzip of many members."""
    pieces = [gzip.compress(before), gzip.compress(repeated * (1 << 20)) * 1024, gzip.compress(after)]
    (folder / name).write_bytes(b"".join(pieces))
    return str(folder / name)


@pytest.mark.parametrize(
    ("name", "before", "after", "code"),
    [
        ("blanks.json.gz", b"", b"{}", "fhir.20"),
        ("within.json.gz", b'{"resourceType":', b'"Bundle"}', "fhir.20"),
        ("line.ndjson.gz", b"", b"\n{}", "fhir.33"),
    ],
)
def test_a_gigabyte_of_blanks(home: Home, name: str, before: bytes, after: bytes, code: str) -> None:
    ran = home.run("import", packed(home.folder, name, before, b" ", after))
    said = [row["code"] for row in ran.answer["refused"]] if "refused" in ran.answer else [ran.answer["error"]]
    assert (ran.code, said[0]) == (3, code)
    assert ran.most_bytes < MOST_BYTES


def test_a_bomb_of_a_thousandfold(home: Home) -> None:
    """1 MB of gzip that would be 1 GB of one JSON string."""

    start = b'{"resourceType":"Binary","contentType":"text/plain","data":"'
    ran = home.run("import", packed(home.folder, "bomb.json.gz", start, b"A", b'"}'))
    assert (ran.code, ran.answer["error"]) == (3, "fhir.20")
    assert ran.most_bytes < MOST_BYTES


def test_attached_data_that_unpacks_without_end_is_not_unpacked(tmp_path: Path) -> None:
    """What is attached stays as it is: a bomb in ``data`` is so many bytes, and no more."""
    import base64

    home = Home(tmp_path)  # one wallet is one patient's

    bomb = base64.b64encode(gzip.compress(bytes(64 << 20))).decode()
    patient = {"resourceType": "Patient", "id": "bomb"}
    document = {
        "resourceType": "DocumentReference",
        "id": "d",
        "status": "current",
        "subject": {"reference": "Patient/bomb"},
        "content": [{"attachment": {"contentType": "application/gzip", "data": bomb}}],
    }
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": patient}, {"resource": document}],
    }
    (home.folder / "attached.json").write_text(json.dumps(bundle))
    ran = home.run("import", str(home.folder / "attached.json"))
    assert (ran.code, ran.answer["records"]) == (0, {"demographics": 1, "unclassified": 1})
    assert ran.most_bytes < MOST_BYTES
