"""Fuzzing that coverage steers (atheris), at length: nothing but an outcome or a refusal comes out of any bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="it has no wheel for this platform")
ROOT = Path(__file__).parents[3]


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("tool", ["fuzz_fhir", "fuzz_import"])
def test_no_bytes_get_through_at_length(tool: str, tmp_path: Path, seed: int) -> None:
    command = [sys.executable, "-m", f"tools.{tool}", "-runs=100000", f"-seed={seed + 1}", "-rss_limit_mb=2048"]
    command += [f"-artifact_prefix={tmp_path}/", str(tmp_path / "corpus")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]
    assert "Done 100000 runs" in ran.stderr
