"""What vectors/comet holds."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from caremesh.ledger.light import LightBlock
from tools import comet_cases

VECTORS = Path(__file__).parents[2] / "vectors" / "comet"


@cache
def chain() -> dict[str, Any]:
    """The recorded chain."""
    found: dict[str, Any] = json.loads((VECTORS / "chain.json").read_text("utf-8"))
    return found


@cache
def cases() -> list[dict[str, Any]]:
    """All cases."""
    found: list[dict[str, Any]] = json.loads((VECTORS / "cases.json").read_text("utf-8"))["cases"]
    return found


def recorded(height: int) -> LightBlock:
    """A block of the chain."""
    return comet_cases.as_light_block(comet_cases.block(chain(), height), height)
