"""Fuzzing that coverage steers (atheris), briefly: nothing but an outcome or a refusal comes out of any bytes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="it has no wheel for this platform")
ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("tool", ["fuzz_fhir", "fuzz_import"])
def test_no_bytes_get_through_in_a_short_time(tool: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", f"tools.{tool}", "-runs=5000", "-seed=1", "-rss_limit_mb=2048"]
    command += [f"-artifact_prefix={tmp_path}/", str(tmp_path / "corpus")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]
    [runs] = re.findall(r"^Done (\d+) runs", ran.stderr, re.MULTILINE)
    assert int(runs) >= 5000  # it finishes what it has begun
