"""The authenticated map: one root for all of state, whatever the order of insertion.

A key lives in the bucket that the first 16 bits of SHA-256(key) name; a bucket is a binary trie on the
remaining 240 bits; a binary tree of depth 16 stands over the buckets.

    empty = 32 zero bytes
    leaf  = H(0 ‖ H(key) ‖ H(value))
    inner = H(1 ‖ left ‖ right)        a lone leaf rises: it stands for the whole subtree it is alone in
    upper = H(2 ‖ left ‖ right)

What of it is kept in memory, and how a change is worked out, is in ``authenticated_map.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple, TypeAlias

BUCKET_BITS: Final = 16
BUCKETS: Final = 1 << BUCKET_BITS
EMPTY: Final = bytes(32)
SLOT_BITS: Final = 20
SLOTS: Final = 1 << SLOT_BITS

NOTHING: Final = 0
LEAF: Final = 1
INNER: Final = 2
Part: TypeAlias = tuple[int, bytes]
"""(NOTHING, LEAF or INNER; hash) of a subtree: what its parent needs to know."""

_NOTHING: Final[Part] = (NOTHING, EMPTY)

Entry: TypeAlias = tuple[bytes, bytes]
"""(SHA-256 of a key, its leaf hash)."""


class Node(NamedTuple):
    """A leaf (``digest`` set) or an inner node of a bucket's trie; an empty subtree is None."""

    hash: bytes
    digest: bytes | None
    left: Node | None
    right: Node | None


def leaf_hash(key_digest: bytes, value_digest: bytes) -> bytes:
    """The leaf of a key and its value, both given as their SHA-256."""
    return sha256(b"\0" + key_digest + value_digest).digest()


def inner_hash(left: bytes, right: bytes) -> bytes:
    """An inner node of a bucket."""
    return sha256(b"\1" + left + right).digest()


def upper_hash(left: bytes, right: bytes) -> bytes:
    """A node above the buckets."""
    return sha256(b"\2" + left + right).digest()


def bucket_of(key_digest: bytes) -> int:
    """The number of the bucket that a key belongs to."""
    return int.from_bytes(key_digest[:2], "big")


def slot_of(key_digest: bytes, bits: int = SLOT_BITS) -> int:
    """The number that the first bits of a digest are, 32 of them at most."""
    return int.from_bytes(key_digest[:4], "big") >> 32 - bits


def bit(digest: bytes, depth: int) -> int:
    """Bit number ``depth`` of a digest, from the left."""
    return digest[depth >> 3] >> (7 - (depth & 7)) & 1


def subtree_root(entries: Sequence[Entry], depth: int = BUCKET_BITS) -> bytes:
    """The hash of the trie of these entries, which are in order of digests and agree on the first ``depth`` bits."""
    if len(entries) < 2:
        return entries[0][1] if entries else EMPTY
    first = entries[0][0]
    parts_at = 256 - (int.from_bytes(first, "big") ^ int.from_bytes(entries[-1][0], "big")).bit_length()
    at = 1 if len(entries) == 2 else _split(entries, parts_at)
    left = entries[0][1] if at == 1 else subtree_root(entries[:at], parts_at + 1)
    right = entries[-1][1] if at == len(entries) - 1 else subtree_root(entries[at:], parts_at + 1)
    node = sha256(b"\1" + left + right).digest()
    for above in range(parts_at - 1, depth - 1, -1):  # there all of them are on one side
        node = sha256(b"\1" + (EMPTY + node if bit(first, above) else node + EMPTY)).digest()
    return node


def build(entries: Sequence[Entry], depth: int = BUCKET_BITS) -> Node | None:
    """The trie whose hash is ``subtree_root``, with all its nodes."""
    if not entries:
        return None
    if len(entries) == 1:
        digest, leaf = entries[0]
        return Node(leaf, digest, None, None)
    at = _split(entries, depth)
    return _inner(build(entries[:at], depth + 1), build(entries[at:], depth + 1))


def insert(node: Node | None, digest: bytes, leaf: bytes, depth: int = BUCKET_BITS) -> Node:
    """The trie with this leaf added or replaced."""
    if node is None or node.digest == digest:
        return Node(leaf, digest, None, None)
    if node.digest is not None:  # a lone leaf makes room
        here, there = (node, None) if not bit(node.digest, depth) else (None, node)
        return insert(Node(EMPTY, None, here, there), digest, leaf, depth)
    if bit(digest, depth):
        return _inner(node.left, insert(node.right, digest, leaf, depth + 1))
    return _inner(insert(node.left, digest, leaf, depth + 1), node.right)


def remove(node: Node | None, digest: bytes, depth: int = BUCKET_BITS) -> Node | None:
    """The trie without this leaf (which may not be there)."""
    if node is None or node.digest == digest:
        return None
    if node.digest is not None:
        return node
    if bit(digest, depth):
        return over(node.left, remove(node.right, digest, depth + 1))
    return over(remove(node.left, digest, depth + 1), node.right)


def root_of(node: Node | None) -> bytes:
    """The hash of a trie."""
    return EMPTY if node is None else node.hash


def part_of(node: Node | None) -> Part:
    """What a parent needs to know of a trie."""
    return (NOTHING, EMPTY) if node is None else (INNER if node.digest is None else LEAF, node.hash)


def joined(left: Part, right: Part) -> Part:
    """The node over two halves in a bucket: a lone leaf rises, nothing over nothing is nothing."""
    if left[0] == NOTHING and right[0] != INNER:
        return right
    if right[0] == NOTHING and left[0] == LEAF:
        return left
    return INNER, sha256(b"\1" + left[1] + right[1]).digest()


def walk(node: Node | None, digest: bytes, depth: int = BUCKET_BITS) -> tuple[Node | None, list[bytes]]:
    """Where the path of ``digest`` ends (its leaf, another's, or nothing), and the siblings on it, deepest first."""
    siblings: list[bytes] = []
    while node is not None and node.digest is None:
        near, far = (node.right, node.left) if bit(digest, depth) else (node.left, node.right)
        siblings.append(root_of(far))
        node, depth = near, depth + 1
    siblings.reverse()
    return node, siblings


def over(left: Node | None, right: Node | None) -> Node | None:
    """The trie over two halves."""
    if left is None and (right is None or right.digest is not None):
        return right
    if right is None and left is not None and left.digest is not None:
        return left
    return _inner(left, right)


def _split(entries: Sequence[Entry], depth: int) -> int:
    """How many of the entries, which are in order, have bit number ``depth`` clear."""
    byte, shift = depth >> 3, 7 - (depth & 7)
    at = 0
    for digest, _ in entries:
        if digest[byte] >> shift & 1:
            break
        at += 1
    return at


def _inner(left: Node | None, right: Node | None) -> Node:
    pair = (left.hash if left else EMPTY) + (right.hash if right else EMPTY)
    return Node(sha256(b"\1" + pair).digest(), None, left, right)
