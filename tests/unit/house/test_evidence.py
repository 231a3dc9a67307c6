"""`make promises`: what a run of tests reports of the promises, and when it fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow

SUITE = """
import pytest

@pytest.mark.promise("P6")
def test_named(evidence, seed):
    evidence.fault("bit flipped", times=2)

@pytest.mark.promise("P6", "P7")
def test_two():
    pass

@pytest.mark.promise("P5")
def test_lost():
    assert False

def test_other():
    pass
"""


def run(folder: Path, suite: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "conftest.py")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = promise(name): a promise\n")
    (folder / "test_suite.py").write_text(suite)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one", "xdist"])
def test_the_file_holds_tests_outcomes_seeds_and_faults(tmp_path: Path, workers: list[str]) -> None:
    run(tmp_path, SUITE, "--promises", "out/promises.json", "--seeds", "2", *workers)
    written: dict[str, Any] = json.loads((tmp_path / "out" / "promises.json").read_text())
    assert list(written) == [f"P{number}" for number in range(1, 11)]
    assert written["P6"]["outcomes"] == {"passed": 3}
    assert written["P6"]["seeds"] == [0, 1]
    assert written["P6"]["faults"] == {"bit flipped": 4}
    assert set(written["P6"]["tests"]) == {
        "test_suite.py::test_named[seed=0]",
        "test_suite.py::test_named[seed=1]",
        "test_suite.py::test_two",
    }
    assert written["P7"]["outcomes"] == {"passed": 1}
    assert written["P5"]["outcomes"] == {"failed": 1}
    assert written["P1"] == {"tests": {}, "outcomes": {}, "seeds": [], "faults": {}}


@pytest.mark.parametrize("mark", ['"P11"', "", '"nothing-personal"'])
def test_a_promise_that_nobody_gave_is_refused(tmp_path: Path, mark: str) -> None:
    ran = run(tmp_path, f"import pytest\n@pytest.mark.promise({mark})\ndef test_x(): pass\n")
    assert ran.returncode == 4
    assert "is not one of P1" in ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("outcomes", "code", "said"),
    [
        ({"passed": 1}, 0, "held"),
        ({"passed": 1, "failed": 1}, 10, "broken"),
        ({"skipped": 1}, 10, "broken"),
        ({}, 10, "untested"),
    ],
)
def test_a_promise_broken_or_untested_fails_the_run(
    tmp_path: Path, outcomes: dict[str, int], code: int, said: str
) -> None:
    evidence = {
        f"P{number}": {"tests": {}, "outcomes": {"passed": 1}, "seeds": [], "faults": {}} for number in range(1, 8)
    }
    evidence["P3"]["outcomes"] = outcomes
    path = tmp_path / "promises.json"
    path.write_text(json.dumps(evidence))
    command = [sys.executable, "-m", "tools.promises", "--show", path]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == code
    assert said in next(line for line in ran.stdout.splitlines() if "P3" in line)
    assert "later" in next(line for line in ran.stdout.splitlines() if "P9" in line)
