"""The program starts fast because it loads late: ``--help`` needs none of the libraries that do the work."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("cbrrr", "cedarpy", "cryptography", "lmdb", "msgspec", "nacl", "rich", "umbral_pre", "zstandard")


def test_the_commands_load_no_library_that_does_the_work() -> None:
    code = f"import sys, caremesh.cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
