"""``python -m caremesh.testing.newer node --home DIR …``: ``caremesh node`` of a next version, with rules of version 2.

For tests of upgrades: the rules of version 2 are those of version 1, and their migration leaves a mark in the state.
Nothing but this module knows of them; a node is of this version only where it was started by this name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

from caremesh import contracts
from caremesh.contracts.network.logic import Migration
from caremesh.ledger.state import View
from caremesh.node import part
from caremesh.node.start import run
from caremesh.settings import flags_of
from caremesh.types import Count

MODULE: Final = "caremesh.testing.newer"
MARK: Final = b"newer/mark"


def migration(state: View) -> None:
    """Leave the mark."""
    state.put(MARK, b"\x01")


def main(words: Sequence[str]) -> int:
    """As ``caremesh node``, or one of its parts."""
    cast("dict[Count, Migration]", contracts.MIGRATIONS)[2] = migration
    if words[0] != "node":
        part.main(words)
    _, _, home, *flags = words  # node --home DIR …
    return run(Path(home), flags_of(flags), MODULE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
