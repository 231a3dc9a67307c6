"""How a block that CometBFT decided is kept: as all engines keep theirs, but for signatures.

CometBFT's validators sign CometBFT's own header, which CometBFT keeps (``/commit``). What is kept here leads from one
block to the next: ``previous`` is CometBFT's hash of the block before, and the two hashes of validator sets are
CometBFT's, too. ``app_hash`` is that of the state after the block, which CometBFT's header of the *next* block holds.
"""

from __future__ import annotations

from collections.abc import Sequence

from caremesh import codec
from caremesh.consensus import kept
from caremesh.ledger.blocks import Block, Header, Misbehaviour, SignedHeader, Validator, in_comets_order, txs_root
from caremesh.ledger.comet import set_hash
from caremesh.ledger.machine import Executed, Machine
from caremesh.types import Digest


def block_record(
    machine: Machine,
    done: Executed,
    txs: list[bytes],
    next_validators: Digest,
    first: Sequence[Validator],
    misbehaviour: list[Misbehaviour],
) -> Block:
    """The record of a block that follows the machine's head. ``first``: the validators of the genesis."""
    head = machine.head
    header = Header(
        chain=head.chain,
        height=done.height,
        time=done.time,
        previous=head.header,
        txs=txs_root(txs),
        app_hash=done.app_hash,
        validators=_signers(machine, first),
        next_validators=next_validators,
    )
    return Block(SignedHeader(codec.encode(header), []), txs, misbehaviour)


def _signers(machine: Machine, first: Sequence[Validator]) -> Digest:
    """What the block before names as the set that signs this one."""
    if machine.head.height:
        with machine.store.read() as read:
            restored = None if read.block(machine.head.height) else read.signers()
        return restored or kept.block_at(machine, machine.head.height).signed.own().next_validators
    return set_hash((validator.key, validator.power) for validator in sorted(first, key=in_comets_order))
