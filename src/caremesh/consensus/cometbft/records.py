"""How a block that CometBFT decided is kept: as all engines keep theirs, but for signatures.

CometBFT's validators sign CometBFT's own header, which CometBFT keeps (``/commit``). What is kept here leads from one
block to the next: ``previous`` is CometBFT's hash of the block before, and the two hashes of validator sets are
CometBFT's, too. ``app_hash`` is that of the state after the block, which CometBFT's header of the *next* block holds.
"""

from __future__ import annotations

from caremesh import codec
from caremesh.consensus import kept
from caremesh.errors import BadInput
from caremesh.ledger.blocks import Block, Header, SignedHeader, txs_root
from caremesh.ledger.machine import Executed, Machine
from caremesh.types import Digest

_UNKNOWN = bytes(32)


def block_record(machine: Machine, done: Executed, txs: list[bytes], next_validators: Digest) -> Block:
    """The record of a block that follows the machine's head."""
    head = machine.head
    header = Header(
        chain=head.chain,
        height=done.height,
        time=done.time,
        previous=head.header,
        txs=txs_root(txs),
        app_hash=done.app_hash,
        validators=_next_validators(machine),
        next_validators=next_validators,
    )
    return Block(SignedHeader(codec.encode(header), []), txs)


def _next_validators(machine: Machine) -> Digest:
    """What the block before says of the set that signs this one; 32 zero bytes where it is not kept."""
    try:
        return kept.block_at(machine, machine.head.height).signed.content().next_validators
    except BadInput:
        return _UNKNOWN
