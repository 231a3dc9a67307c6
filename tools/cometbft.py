"""Builds CometBFT, which orders blocks where members do not trust each other: ``python -m tools.cometbft``.

It prints the path of the program. A minute of processor time, once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tools.go_programs import GoProgram, built

_MODULE: Final = "github.com/cometbft/cometbft"
VERSION: Final = "v0.39.4"
CHECKSUMS: Final = {
    "v0.38.26": "h1:MIPYgOSvyyiN1jo3SZljKy4ZXqs896aQnj3pQFfUmaE=",
    "v0.39.4": "h1:Bm7xbN18VfNueEd7cZumACbvVE+Lf9N58sz3oBOVPbw=",
    "v0.40.0": "h1:0+zc7FlcnonFfMwzhyDCd5vK/fHZqz0RfRyTCxZsFPU=",
}
"""The version that is used, and those before and after it, under which the engine's suite runs in ``make sim``."""


def cometbft(version: str = VERSION) -> Path:
    """The program of this version, built when it is not there yet. Raises KeyError for one that is not pinned."""
    return built(GoProgram(_MODULE, f"{_MODULE}/cmd/cometbft", version, CHECKSUMS[version]))


if __name__ == "__main__":
    print(cometbft(*sys.argv[1:]))
