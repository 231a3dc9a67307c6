"""Builds CometBFT, which orders blocks where members do not trust each other: ``python -m tools.cometbft``.

It prints the path of the program. A minute of processor time, once. ``python -m tools.cometbft bent`` builds the one of
stories and tests, whose clock is ahead by as many seconds as a file says (``testing/bent.py``); it is the same in
everything else.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tools.go_programs import Change, GoProgram, built

_MODULE: Final = "github.com/cometbft/cometbft"
VERSION: Final = "v0.39.4"
CHECKSUMS: Final = {
    "v0.38.26": "h1:MIPYgOSvyyiN1jo3SZljKy4ZXqs896aQnj3pQFfUmaE=",
    "v0.39.4": "h1:Bm7xbN18VfNueEd7cZumACbvVE+Lf9N58sz3oBOVPbw=",
    "v0.40.0": "h1:0+zc7FlcnonFfMwzhyDCd5vK/fHZqz0RfRyTCxZsFPU=",
}
"""The version that is used, and those before and after it, under which the engine's suite runs in ``make sim``."""


_CLOCKS: Final = ("types/time/time.go", "state/validation.go")
"""Where it looks what time it is, as far as others come to know."""
_NOW: Final = "time.Now()"
_AHEAD: Final = """\
package time

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// Ahead is the present time of a story: the file that TESTING_CLOCK names holds by how many seconds it is ahead.
func Ahead() time.Time {
	said, err := os.ReadFile(os.Getenv("TESTING_CLOCK"))
	if err != nil {
		return time.Now()
	}
	seconds, err := strconv.Atoi(strings.TrimSpace(string(said)))
	if err != nil {
		return time.Now()
	}
	return time.Now().Add(time.Duration(seconds) * time.Second)
}
"""


def cometbft(version: str = VERSION, change: Change | None = None) -> Path:
    """The program of this version, built when it is not there yet. Raises KeyError for one that is not pinned."""
    return built(GoProgram(_MODULE, f"{_MODULE}/cmd/cometbft", version, CHECKSUMS[version]), change=change)


def abci_cli() -> Path:
    """CometBFT's own program that asks an application what its nodes ask."""
    return built(GoProgram(_MODULE, f"{_MODULE}/abci/cmd/abci-cli", VERSION, CHECKSUMS[VERSION]))


def bent() -> Path:
    """The program whose clock a file moves ahead."""
    return cometbft(change=Change("bent", _bend))


def _bend(source: Path) -> None:
    (source / "types/time/ahead.go").write_text(_AHEAD)
    for name, ahead in zip(_CLOCKS, ("Ahead()", "cmttime.Ahead()"), strict=True):
        text = (source / name).read_text()
        if _NOW not in text:
            raise RuntimeError(f"{name} does not ask for the time any more")
        text = text.replace(_NOW, ahead)
        if ahead.startswith("cmttime."):
            text = text.replace("import (", f'import (\n\tcmttime "{_MODULE}/types/time"', 1)
        (source / name).write_text(text)


if __name__ == "__main__":
    [wanted] = sys.argv[1:] or [VERSION]
    print(bent() if wanted == "bent" else cometbft(wanted))
