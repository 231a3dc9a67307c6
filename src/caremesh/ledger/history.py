"""The log of all transactions ever committed: a Merkle tree as in RFC 6962, section 2.1.

Its frontier (the roots of its perfect subtrees, largest first) and its root are a value of the authenticated
state, so size and root of the log are proven under every app hash, and a replica made from a snapshot can go on
appending. The store keeps the hash of every perfect subtree, so a path costs as many reads as the tree is high.

A leaf is the DAG-CBOR of [id of the transaction, code of its result, SHA-256 of the DAG-CBOR list of its events].
What a block tells without a transaction (that a validator misbehaved) is a leaf before those of its transactions, whose
id and code are empty. So nobody can leave out, add or change an event, and an event can go while its leaf stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from caremesh import codec
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, ErrorCode, Tampered
from caremesh.ledger.state import Reader, read_value
from caremesh.types import Count, Digest

STATE_KEY: Final = b"ledger/history"

NOT_INCLUDED = ErrorCode("history.01", "This is not at this place of the history.", "Ask another node.")
NO_SUCH_LEAF = ErrorCode("history.02", "The history is not that long.", "Ask for an earlier transaction.")

Subtree = tuple[int, int, Digest]
"""(level, index, hash): the perfect subtree over leaves index·2^level … (index + 1)·2^level - 1."""


class Frontier(msgspec.Struct, frozen=True):
    """``size`` leaves; ``peaks``: roots of the perfect subtrees, largest first; ``root``: of the whole tree."""

    size: Count
    peaks: list[Digest]
    root: Digest


NO_LEAVES: Final = Frontier(0, [], sha256(b""))
_NOTHING_TOLD: Final = sha256(codec.encode([]))


def leaf_hash(data: bytes) -> Digest:
    """H(0 ‖ data)."""
    return sha256(b"\0" + data)


def tx_leaf(tx_id: bytes, code: str, events: Sequence[msgspec.Struct]) -> Digest:
    """The leaf of a transaction, of what became of it and of what it told followers."""
    told = sha256(codec.encode(events)) if events else _NOTHING_TOLD
    return leaf_hash(codec.encode([tx_id, code, told]))


def frontier(reader: Reader) -> Frontier:
    """The frontier in a state."""
    stored = reader.get(STATE_KEY)
    return NO_LEAVES if stored is None else read_value(stored, Frontier)


def append(before: Frontier, leaves: Sequence[Digest]) -> tuple[Frontier, list[Subtree]]:
    """The frontier after appending leaf hashes, and all perfect subtrees that this completes."""
    peaks, size = list(before.peaks), before.size
    made: list[Subtree] = []
    for leaf in leaves:
        node, level = leaf, 0
        made.append((0, size, node))
        while size >> level & 1:
            node = join(peaks.pop(), node)
            level += 1
            made.append((level, size >> level, node))
        peaks.append(node)
        size += 1
    return Frontier(size, peaks, _root(peaks)), made


def peaks_of(state: Frontier) -> list[Subtree]:
    """The peaks with their places: what a replica made from a snapshot starts its log with."""
    found: list[Subtree] = []
    start = 0
    levels = [level for level in range(state.size.bit_length() - 1, -1, -1) if state.size >> level & 1]
    for level, peak in zip(levels, state.peaks, strict=True):
        found.append((level, start >> level, peak))
        start += 1 << level
    return found


def tree_root(leaves: Sequence[Digest]) -> Digest:
    """The root of a list of leaf hashes; of none it is H()."""
    return append(NO_LEAVES, leaves)[0].root


def path(subtree: Callable[[int, int], Digest], index: int, size: int) -> list[Digest]:
    """The audit path of leaf ``index`` in the tree of the first ``size`` leaves, from the leaf upwards.

    ``subtree(level, index)`` gives the hash of a perfect subtree. Raises BadInput history.02.
    """
    if not 0 <= index < size:
        raise BadInput(NO_SUCH_LEAF, f"leaf {index} of {size}")
    start, end = 0, size
    found: list[Digest] = []
    while end - start > 1:
        middle = _middle(start, end)
        if index < middle:
            found.append(_range_root(subtree, middle, end))
            end = middle
        else:
            found.append(_range_root(subtree, start, middle))
            start = middle
    found.reverse()
    return found


def check_path(root: Digest, size: int, index: int, leaf: Digest, audit_path: Sequence[Digest]) -> None:
    """Return when ``leaf`` stands at ``index`` of the tree (RFC 9162, section 2.1.3.2). Raises Tampered history.01."""
    if not 0 <= index < size:
        raise Tampered(NOT_INCLUDED, f"leaf {index}")
    node, place, last = leaf, index, size - 1
    for sibling in audit_path:
        if last == 0:
            raise Tampered(NOT_INCLUDED, f"leaf {index}")
        if place & 1 or place == last:
            node = join(sibling, node)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            node = join(node, sibling)
        place >>= 1
        last >>= 1
    if last or node != root:
        raise Tampered(NOT_INCLUDED, f"leaf {index}")


def outside(subtree: Callable[[int, int], Digest], start: int, end: int, size: int) -> list[Digest]:
    """What proves leaves ``start`` … ``end`` - 1 in the tree of the first ``size``: the roots beside them.

    From left to right; ``subtree`` as for ``path``. Raises BadInput history.02.
    """
    if not 0 <= start < end <= size:
        raise BadInput(NO_SUCH_LEAF, f"leaves {start} to {end} of {size}")
    found: list[Digest] = []

    def walk(low: int, high: int) -> None:
        if high <= start or end <= low:
            found.append(_range_root(subtree, low, high))
        elif not start <= low < high <= end:
            middle = _middle(low, high)
            walk(low, middle)
            walk(middle, high)

    walk(0, size)
    return found


def check_leaves(root: Digest, size: int, start: int, leaves: Sequence[Digest], beside: Sequence[Digest]) -> None:
    """Return when ``leaves`` stand at ``start`` and after it. ``beside``: see ``outside``.

    Raises Tampered history.01.
    """
    end, rest = start + len(leaves), iter(beside)

    def walk(low: int, high: int) -> Digest:
        if high <= start or end <= low:
            return next(rest)
        if high - low == 1:
            return leaves[low - start]
        middle = _middle(low, high)
        left = walk(low, middle)
        return join(left, walk(middle, high))

    place = f"leaves {start} to {end}"
    if not 0 <= start < end <= size:
        raise Tampered(NOT_INCLUDED, place)
    try:
        found = walk(0, size)
    except StopIteration as error:
        raise Tampered(NOT_INCLUDED, place) from error
    if found != root or next(rest, None) is not None:
        raise Tampered(NOT_INCLUDED, place)


def _middle(start: int, end: int) -> int:
    """Where RFC 6962 splits leaves start … end - 1."""
    return start + (1 << (end - start - 1).bit_length() - 1)


def _range_root(subtree: Callable[[int, int], Digest], start: int, end: int) -> Digest:
    """Root over leaves start … end - 1, where start is a multiple of the largest power of two in the range."""
    width = end - start
    level = width.bit_length() - 1
    if width == 1 << level:
        return subtree(level, start >> level)
    middle = start + (1 << level)
    return join(subtree(level, start >> level), _range_root(subtree, middle, end))


def _root(peaks: Sequence[Digest]) -> Digest:
    if not peaks:
        return sha256(b"")
    node = peaks[-1]
    for larger in reversed(peaks[:-1]):
        node = join(larger, node)
    return node


def join(left: Digest, right: Digest) -> Digest:
    """H(1 ‖ left ‖ right)."""
    return sha256(b"\1" + left + right)
