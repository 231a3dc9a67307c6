"""What tests ask of a node's CometBFT besides what the engine asks: over its RPC, on a unix socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from caremesh.consensus.cometbft.engine import RPC_SOCKET
from tests.support.comet_engine import PATIENT_S


def asked(folder: Path, method: str, **params: Any) -> dict[str, Any]:
    """The answer as it came: ``result`` or ``error``. ``folder``: the node's."""
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(folder / "run" / RPC_SOCKET)), timeout=PATIENT_S) as client:
        answer: dict[str, Any] = client.post("http://cometbft/", json=call).json()
        return answer


def oldest_block(folder: Path) -> int:
    """The first height whose block it still has."""
    return int(asked(folder, "status")["result"]["sync_info"]["earliest_block_height"])
