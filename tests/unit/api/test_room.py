"""Room on the disk is taken before it is needed, and done without where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from caremesh.blobs.durable import take_room

COUNTS = """
import os, sys
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
from pathlib import Path
from caremesh.api import room
from prometheus_client import CollectorRegistry, Counter, generate_latest
shared = room.for_metrics(Path(sys.argv[2]))
registry = CollectorRegistry()
Counter("told", "Times.", registry=registry).inc(3)
assert b"told_total 3.0" in generate_latest(registry)
files = sorted(Path(sys.argv[1]).iterdir())
whole = [file.stat().st_size <= 512 * file.stat().st_blocks for file in files]
print(shared, *(f"{file.name.split('_')[0]}:{each}" for file, each in zip(files, whole)))
"""


def test_a_file_gets_its_pages_and_keeps_what_is_in_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"kept")
    assert take_room(file, 1 << 20)
    assert (file.stat().st_size, file.read_bytes()[:5]) == (1 << 20, b"kept\0")
    assert 512 * file.stat().st_blocks >= 1 << 20


def test_where_there_is_no_room_it_says_so(tmp_path: Path) -> None:
    assert not take_room(tmp_path / "no folder" / "file", 1)
    assert not take_room(Path("/dev/full"), 1)


@pytest.mark.parametrize(("there", "said"), [(True, "True counter:True histogram:True"), (False, "False")])
def test_a_process_counts_in_files_without_holes_or_in_memory(tmp_path: Path, *, there: bool, said: str) -> None:
    folder = tmp_path if there else tmp_path / "gone"
    command = [sys.executable, "-c", COUNTS, str(tmp_path), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.stdout.strip() == said, done.stderr


def test_who_cannot_be_counted_because_the_disk_takes_nothing_is_let_in(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from caremesh.api.shared_rates import SharedRates\n"
        "rates = SharedRates(Path(sys.argv[1]), 1.0, 1, 64)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))\n"
        "rates.count('a'); rates.take('a'); rates.take('a'); print('in')\n"
    )
    file = tmp_path / "rates"
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "in", done.stderr
    assert 512 * file.stat().st_blocks >= file.stat().st_size
