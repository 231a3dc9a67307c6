"""Everything in a ledger's database against everything else: what a changed byte anywhere cannot pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from caremesh import codec
from caremesh.crypto.hashes import sha256
from caremesh.errors import Tampered
from caremesh.ledger import history
from caremesh.ledger.authenticated_map import AuthenticatedMap
from caremesh.ledger.blocks import Block, header_hash, txs_root
from caremesh.ledger.execution import Results
from caremesh.ledger.past import Past
from caremesh.ledger.records import DAMAGED
from caremesh.ledger.store import Head, Read, Store
from caremesh.ledger.trie import Entry, leaf_hash
from caremesh.types import Count, Height


class Verified(msgspec.Struct, frozen=True):
    """What was checked."""

    height: Height
    keys: Count
    blocks: Count


def check_store(store: Store, progress: Callable[[str], None] = lambda _: None) -> Verified:
    """Recompute every hash of a database. Raises Tampered ledger.32, which names what does not fit.

    That the blocks lead to the state is another check: execute them again, from a snapshot.
    """
    with store.read() as read:
        head = read.head()
        if head is None:
            return Verified(0, 0, 0)
        progress("state")
        keys = _check_state(read, head)
        for database in ("meta", "undo", "blocks", "results"):
            progress(database)
            read.check_records(database)
        progress("undo records")
        _check_undo(read, head)
        progress("blocks")
        blocks = _check_blocks(read, head)
        progress("history")
        _check_history(read)
    return Verified(head.height, keys, blocks)


def _check_state(read: Read, head: Head) -> int:
    tree, count = AuthenticatedMap(), 0

    def entries() -> Any:
        nonlocal count
        for digest, _, value in read.records():
            count += 1
            entry: Entry = digest, leaf_hash(digest, sha256(value))
            yield entry

    tree.load(entries())
    if tree.root != head.app_hash:
        raise Tampered(DAMAGED, "state: a key is missing, or one too many")
    return count


def _check_undo(read: Read, head: Head) -> None:
    oldest = read.first_height("undo")
    if oldest is not None:
        Past(max(oldest - 1, 0)).extend(read, head)


def _check_blocks(read: Read, head: Head) -> int:
    oldest = read.first_height("blocks")
    if oldest is None:  # made from a snapshot, and no block since
        return 0
    first, previous = max(oldest, 1), None
    for height in range(first, head.height + 1):
        record = read.block(height)
        stored = read.results(height)
        if record is None or stored is None:
            raise Tampered(DAMAGED, f"block {height} is missing")
        block, results = codec.decode_as(record, Block), codec.decode_as(stored, Results)
        header = block.signed.own()
        named = header_hash(block.signed.header)
        fits = (
            header.height == height
            and header.chain == head.chain
            and header.txs == txs_root(block.txs)
            and (previous is None or header.previous == previous)
            and (height != head.height or (named == head.header and header.app_hash == head.app_hash))
            and len(results.txs) == len(results.results) == len(block.txs)
        )
        if not fits:
            raise Tampered(DAMAGED, f"block {height}")
        for position, (tx_id, result) in enumerate(zip(results.txs, results.results, strict=True)):
            # What was refused may have been in an earlier block too, and is listed there while that is kept.
            place, here = read.place_of(tx_id), (height, position)
            if place != here and (not result.code or (place is not None and place > here)):
                raise Tampered(DAMAGED, f"index of transactions, block {height}")
        previous = named
    return max(0, head.height - first + 1)


def _check_history(read: Read) -> None:
    log = history.frontier(read)
    for level, index, digest in history.peaks_of(log):
        if read.subtree(level, index) != digest or not _subtree_fits(read, level, index, digest):
            raise Tampered(DAMAGED, f"history {level}.{index}")


def _subtree_fits(read: Read, level: int, index: int, digest: bytes) -> bool:
    """Whether all that is kept below a subtree leads to it (a replica made from a snapshot keeps nothing below)."""
    pending = [(level, index, digest)]
    while pending:
        level, index, digest = pending.pop()
        below = (
            [(level - 1, at, read.find_subtree(level - 1, at)) for at in (2 * index, 2 * index + 1)] if level else []
        )
        found = [(at_level, at, node) for at_level, at, node in below if node is not None]
        if not found:
            continue
        if len(found) == 1 or history.join(found[0][2], found[1][2]) != digest:
            return False
        pending += found
    return True
