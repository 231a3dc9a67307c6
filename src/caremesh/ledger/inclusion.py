"""What a client that trusts headers believes besides values: what became of a transaction, and what is in a block.

A transaction stands, with the code of its result and its events, in the log of all of them (``ledger/history.py``),
whose root is a value of the state; and it stands in its block, whose header holds the root of its transactions: their
bytes with the embedded engine, their SHA-256 with CometBFT.

What is for people alone (the sentence of a refusal) stands under no header.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from caremesh import codec
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, ErrorCode, Tampered
from caremesh.ledger import history
from caremesh.ledger.application import Event, Told
from caremesh.ledger.blocks import Block, BlockHeader, Header, header_hash, txs_root
from caremesh.ledger.comet import CometHeader
from caremesh.ledger.light import Answer, check_answer
from caremesh.ledger.transactions import tx_id
from caremesh.types import Count, Digest, Height

NOT_IT = ErrorCode("light.16", "This does not prove what became of transactions.", "Ask another node.")
OTHER_BLOCK = ErrorCode("light.17", "This is not the block that its header names.", "Ask another node.")
_NONE: Final = bytes(32)


class Inclusion(Struct, frozen=True, forbid_unknown_fields=True):
    """That a block holds a transaction, and what became of it.

    ``signed``: as it travelled; ``position`` of ``count`` in the block of ``height``, with its audit path there;
    ``index``: in the log of all, with its path in the log that ``log`` proves.
    """

    height: Height
    code: str
    events: list[Event]
    signed: bytes
    position: Count
    count: Count
    block_path: list[Digest]
    index: Count
    path: list[Digest]
    log: Answer


class Entries(Struct, frozen=True, forbid_unknown_fields=True):
    """Leaves of the history, one after the other, of whole blocks: from the place ``start`` in the log on.

    ``through``: the last block that was looked at, by the node's word; ``beside``: see ``history.outside``, in the log
    that ``log`` proves.
    """

    through: Height
    start: Count
    told: list[Told]
    beside: list[Digest]
    log: Answer

    @property
    def end(self) -> Count:
        """The place after the last of them."""
        return self.start + len(self.told)


def leaves_of(txs: Sequence[bytes], *, of_comet: bool) -> list[Digest]:
    """The leaves under a header's ``txs``."""
    return [history.leaf_hash(sha256(tx) if of_comet else tx) for tx in txs]


def block_path(txs: Sequence[bytes], position: Count, *, of_comet: bool) -> list[Digest]:
    """The audit path of a transaction to its header's ``txs``. Raises BadInput history.02."""
    made = {
        (level, index): node
        for level, index, node in history.append(history.NO_LEAVES, leaves_of(txs, of_comet=of_comet))[1]
    }
    return history.path(lambda level, index: made[level, index], position, len(txs))


def check_inclusion(found: Inclusion, tx: bytes, own: BlockHeader, header: BlockHeader) -> None:
    """Return when all of it is proven. ``tx``: the id; ``own``: the verified header of the block that holds it;
    ``header``: the one that proves the log.

    Raises Tampered light.08, light.18, proof.01, history.01.
    """
    if found.height != own.height:
        raise Tampered(NOT_IT)
    log = _proven_log(found.log, header)
    try:
        parts: Any = codec.decode(found.signed)
        named = bytes(tx_id(parts[0]))
    except (BadInput, TypeError, LookupError) as error:
        raise Tampered(NOT_IT) from error
    if named != tx:
        raise Tampered(NOT_IT)
    history.check_path(log.root, log.size, found.index, history.tx_leaf(tx, found.code, found.events), found.path)
    [leaf] = leaves_of([found.signed], of_comet=isinstance(own, CometHeader))
    history.check_path(own.txs, found.count, found.position, leaf, found.block_path)


def check_entries(found: Entries, header: BlockHeader) -> Count:
    """How long the log is under this header, when all of them stand in it.

    Raises Tampered light.08, light.16, proof.01, history.01.
    """
    log = _proven_log(found.log, header)
    if found.told:
        leaves = [told.leaf() for told in found.told]
        history.check_leaves(log.root, log.size, found.start, leaves, found.beside)
    return log.size


def _proven_log(answer: Answer, header: BlockHeader) -> history.Frontier:
    if answer.key != history.STATE_KEY:
        raise Tampered(NOT_IT)
    value = check_answer(header, answer)
    try:
        return codec.decode_as(value or b"", history.Frontier)
    except BadInput as error:
        raise Tampered(NOT_IT) from error


def check_block(block: Block, own: BlockHeader, proving: BlockHeader) -> None:
    """Return when the block is that of its verified header ``own``, and leads to the root in ``proving``.

    Of misbehaviour only that there is some is in a header of CometBFT; what it is, is the node's word.
    Raises Tampered light.17.
    """
    place = f"height {own.height}"
    if own.txs != history.tree_root(leaves_of(block.txs, of_comet=isinstance(own, CometHeader))):
        raise Tampered(OTHER_BLOCK, place)
    if isinstance(own, Header):
        if header_hash(block.signed.header) != own.hash() or block.misbehaviour:
            raise Tampered(OTHER_BLOCK, place)
        return
    kept = Header(
        chain=own.chain,
        height=own.height,
        time=own.time,
        previous=own.previous.hash or _NONE,
        txs=txs_root(block.txs),
        app_hash=proving.app_hash,
        validators=own.validators,
        next_validators=own.next_validators,
    )
    if block.signed.header != codec.encode(kept) or (block.misbehaviour and own.evidence == history.NO_LEAVES.root):
        raise Tampered(OTHER_BLOCK, place)
