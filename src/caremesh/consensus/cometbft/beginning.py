"""How CometBFT's chain of a ledger begins: with its first block, or with the one after the last that one key ordered.

In the second case the state is there already, at all who take part: CometBFT's genesis names its root, the time of the
last block and its hash (``app_state``), and the heights go on (``initial_height``). All of it follows from what the
last header of the old chain proves (``ledger.light.Crossing``), so that everybody makes the same genesis.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from caremesh.errors import ErrorCode, WrongLedger
from caremesh.ledger.blocks import Validator
from caremesh.ledger.light import Crossing, LightClient
from caremesh.ledger.store import Head
from caremesh.types import Digest, Height, Seconds

OTHER_STATE = ErrorCode(
    "consensus.28",
    "This copy of the ledger is not what the chain of its validators begins with.",
    "Let it follow the blocks before, or take the ledger over from the others.",
)


class Beginning(Struct, frozen=True):
    """``chain``: whose headers CometBFT's validators sign; ``height``: of the last block before its first."""

    chain: str
    document: bytes
    """What CometBFT's genesis holds for the application: the genesis document, or the hash of the last header."""
    time: Seconds
    validators: Sequence[Validator]
    height: Height = 0
    app_hash: Digest = b""
    """The root of the state that is there already; empty where the genesis document makes it."""


def after(crossing: Crossing, client: LightClient) -> Beginning:
    """The chain that a crossing leads to. ``client``: trusts who ordered until then; it goes over.

    Raises what ``LightClient.cross`` does.
    """
    header = client.cross(crossing, crossing.block.signed.content().time)
    return Beginning(client.chain, header.hash(), header.time, crossing.validators, header.height, header.app_hash)


def check_begins(head: Head, begins: Beginning) -> None:
    """Whether a copy is one that this chain can go on from. Raises WrongLedger consensus.28."""
    here = head.height > begins.height or (head.app_hash, head.header) == (begins.app_hash, begins.document)
    if begins.height and not (head.height >= begins.height and here):
        raise WrongLedger(OTHER_STATE, f"height {head.height}")
