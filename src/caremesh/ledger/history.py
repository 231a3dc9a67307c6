"""The log of all transactions ever committed: an RFC 6962 Merkle tree, kept as its frontier in the state.

The frontier (the roots of the perfect subtrees, largest first) is a value of the authenticated state, so size and
root of the log are proven under the app hash of every block. Appending needs the frontier only; a path for one
transaction needs the hashes of all leaves, which the store keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from caremesh.crypto.hashes import sha256
from caremesh.errors import ErrorCode, Tampered
from caremesh.types import Count, Digest

STATE_KEY: Final = b"ledger/history"

NOT_INCLUDED = ErrorCode("ledger.21", "The transaction is not at this place of the history.", "Ask another node.")


class Frontier(Struct, frozen=True):
    """``size`` leaves, as the roots of perfect subtrees for the one-bits of ``size``, largest first."""

    size: Count
    roots: list[Digest]


EMPTY: Final = Frontier(0, [])


def leaf_hash(data: bytes) -> Digest:
    """RFC 6962 section 2.1: H(0x00 ‖ data)."""
    return sha256(b"\x00" + data)


def append(frontier: Frontier, leaves: Sequence[Digest]) -> Frontier:
    """The frontier after appending leaf hashes."""
    size, roots = frontier.size, list(frontier.roots)
    for leaf in leaves:
        node = leaf
        trailing = size
        while trailing & 1:
            node = _node(roots.pop(), node)
            trailing >>= 1
        roots.append(node)
        size += 1
    return Frontier(size, roots)


def root(frontier: Frontier) -> Digest:
    """RFC 6962 tree head; of the empty tree it is H()."""
    if not frontier.roots:
        return sha256(b"")
    node = frontier.roots[-1]
    for larger in reversed(frontier.roots[:-1]):
        node = _node(larger, node)
    return node


def tree_root(leaves: Sequence[Digest]) -> Digest:
    """The tree head of a list of leaf hashes."""
    return root(append(EMPTY, leaves))


def path(leaves: Sequence[Digest], index: Count) -> list[Digest]:
    """The audit path of one leaf among all (RFC 6962 section 2.1.1), from the leaf upwards."""
    if len(leaves) == 1:
        return []
    split = _largest_power_below(len(leaves))
    if index < split:
        return [*path(leaves[:split], index), tree_root(leaves[split:])]
    return [*path(leaves[split:], index - split), tree_root(leaves[:split])]


def check_path(head: Digest, size: Count, index: Count, leaf: Digest, audit_path: Sequence[Digest]) -> None:
    """Return when ``leaf`` stands at ``index`` of the tree (RFC 9162 section 2.1.3.2). Raises Tampered ledger.21."""
    if not 0 <= index < size:
        raise Tampered(NOT_INCLUDED, f"leaf {index}")
    node, place, last = leaf, index, size - 1
    for sibling in audit_path:
        if last == 0:
            raise Tampered(NOT_INCLUDED, f"leaf {index}")
        if place & 1 or place == last:
            node = _node(sibling, node)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            node = _node(node, sibling)
        place >>= 1
        last >>= 1
    if last or node != head:
        raise Tampered(NOT_INCLUDED, f"leaf {index}")


def _node(left: Digest, right: Digest) -> Digest:
    return sha256(b"\x01" + left + right)


def _largest_power_below(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1
