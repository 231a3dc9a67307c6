"""What vectors/comet holds, as nodes answer it and as light blocks."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from caremesh.consensus import comet_rpc
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


def answers(given: dict[str, Any], height: int) -> tuple[bytes, bytes]:
    """What a node answers at /commit and /validators for ``{signed_header, validators}``."""
    commit = {"jsonrpc": "2.0", "id": -1, "result": {"signed_header": given["signed_header"], "canonical": True}}
    validators = given["validators"]
    page = {"block_height": str(height), "validators": validators, "total": str(len(validators))}
    return json.dumps(commit).encode(), json.dumps({"jsonrpc": "2.0", "id": -1, "result": page}).encode()


def as_light_block(given: dict[str, Any], height: int) -> LightBlock:
    """Raises what ``comet_rpc.light_block`` raises."""
    commit, page = answers(given, height)
    return comet_rpc.light_block(commit, [page])


def recorded(height: int) -> LightBlock:
    """A block of the chain."""
    return as_light_block(comet_cases.block(chain(), height), height)
