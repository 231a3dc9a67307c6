"""What a validator must not sign: two votes in one round. And how CometBFT is told of it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from caremesh.crypto.keys import SigningKey
from caremesh.ledger.comet import BlockId, CometHeader, Instant, address_of
from caremesh.ledger.light import LightBlock
from tests.support.comet_asked import asked

PRECOMMIT: Final = 2


def two_votes(block: LightBlock, key: SigningKey) -> dict[str, Any]:
    """Proof that a validator of this block has voted for it and for another one: both votes are really its own."""
    header = block.signed.content()
    assert isinstance(header, CometHeader)
    index = [each.key for each in block.validators].index(key.public)
    at = Instant(header.time, header.nanos)
    votes = [
        {
            "type": PRECOMMIT,
            "height": str(header.height),
            "round": header.round,
            "block_id": _block_id(BlockId(name, header.parts)),
            "timestamp": _time(at),
            "validator_address": address_of(key.public).hex().upper(),
            "validator_index": index,
            "signature": base64.b64encode(key.sign(header.signing_input(at, name))).decode(),
        }
        for name in sorted([header.hash(), bytes(32 * [7])])
    ]
    return {
        "type": "tendermint/DuplicateVoteEvidence",
        "value": {
            "vote_a": votes[0],
            "vote_b": votes[1],
            "TotalVotingPower": str(sum(each.power for each in block.validators)),
            "ValidatorPower": str(block.validators[index].power),
            "Timestamp": _time(at),
        },
    }


def report(folder: Path, evidence: dict[str, Any]) -> str:
    """Hand evidence to the CometBFT of a node; what it has against it, nothing when it takes it."""
    error = asked(folder, "broadcast_evidence", evidence=evidence).get("error")
    return "" if error is None else str(error["data"])


def _block_id(block: BlockId) -> dict[str, Any]:
    return {
        "hash": block.hash.hex().upper(),
        "parts": {"total": block.parts.total, "hash": block.parts.hash.hex().upper()},
    }


def _time(at: Instant) -> str:
    whole = datetime.fromtimestamp(at.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{at.nanos:09}".rstrip("0").rstrip(".") + "Z"
