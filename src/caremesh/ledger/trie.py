"""The authenticated map: one root for all of state, whatever the order of insertion.

A key lives in the bucket that the first 16 bits of SHA-256(key) name; a bucket is a binary trie on the
remaining 240 bits; a flat binary tree of depth 16 stands over the buckets.

    empty = 32 zero bytes
    leaf  = H(0 ‖ H(key) ‖ H(value))
    inner = H(1 ‖ left ‖ right)        a lone leaf rises: it stands for the whole subtree it is alone in
    upper = H(2 ‖ left ‖ right)

Keys ground into one bucket deepen that bucket's trie alone, and tries once read are kept (within a budget),
so a change there costs as many hashes as the trie is deep, not as it is large.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple, TypeAlias

BUCKET_BITS: Final = 16
BUCKETS: Final = 1 << BUCKET_BITS
EMPTY: Final = bytes(32)
KEPT_FROM: Final = 64
"""From this many leaves on a bucket's trie is kept in memory; below, hashing it anew is as cheap."""
CACHED_LEAVES: Final = 200_000
"""Leaves whose tries stay in memory (about 300 bytes each)."""

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


def bit(digest: bytes, depth: int) -> int:
    """Bit number ``depth`` of a digest, from the left."""
    return digest[depth >> 3] >> (7 - (depth & 7)) & 1


def subtree_root(entries: Sequence[Entry], depth: int = BUCKET_BITS) -> bytes:
    """The hash of the trie of these entries, which are in order of digests and agree on the first ``depth`` bits."""
    if len(entries) == 1:
        return entries[0][1]
    if not entries:
        return EMPTY
    at = _split(entries, depth)
    return sha256(b"\1" + subtree_root(entries[:at], depth + 1) + subtree_root(entries[at:], depth + 1)).digest()


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
        left, right = node.left, remove(node.right, digest, depth + 1)
    else:
        left, right = remove(node.left, digest, depth + 1), node.right
    if left is None and right is None:
        return None
    if left is None and right is not None and right.digest is not None:
        return right
    if right is None and left is not None and left.digest is not None:
        return left
    return _inner(left, right)


def root_of(node: Node | None) -> bytes:
    """The hash of a trie."""
    return EMPTY if node is None else node.hash


def walk(node: Node | None, digest: bytes) -> tuple[Node | None, list[bytes]]:
    """Where the path of ``digest`` ends (its leaf, another's, or nothing), and the siblings on it, deepest first."""
    siblings: list[bytes] = []
    depth = BUCKET_BITS
    while node is not None and node.digest is None:
        near, far = (node.right, node.left) if bit(digest, depth) else (node.left, node.right)
        siblings.append(root_of(far))
        node, depth = near, depth + 1
    siblings.reverse()
    return node, siblings


Change: TypeAlias = tuple[bytes, bytes | None]
"""(SHA-256 of a key, the leaf hash it gets), None to remove it."""


class Staged(NamedTuple):
    """What a set of changes would make of the map; nothing is changed until it is applied."""

    root: bytes
    nodes: dict[int, bytes]
    tries: dict[int, tuple[Node | None, int]]
    before: dict[int, bytes]
    """Root, before the changes, of every bucket touched."""


class UpperTree:
    """The tree over the buckets, flat in one bytearray: node i has the children 2i and 2i + 1, the root is 1."""

    def __init__(self) -> None:
        levels = [EMPTY]
        for _ in range(BUCKET_BITS):
            levels.append(upper_hash(levels[-1], levels[-1]))
        self._nodes: Final = bytearray(32)
        for level in range(BUCKET_BITS, -1, -1):
            self._nodes.extend(levels[level] * (1 << (BUCKET_BITS - level)))

    def __getitem__(self, index: int) -> bytes:
        return bytes(self._nodes[32 * index : 32 * index + 32])

    def stage(self, buckets: dict[int, bytes], below: dict[int, bytes] | None = None) -> dict[int, bytes]:
        """The nodes that these bucket roots change, on top of ``below`` (nodes that differ from the tree)."""
        nodes = dict(below or {})
        nodes.update((BUCKETS + bucket, root) for bucket, root in buckets.items())
        level = sorted({(BUCKETS + bucket) >> 1 for bucket in buckets})
        flat = self._nodes
        while level and level[0]:
            for index in level:
                left, right = nodes.get(2 * index), nodes.get(2 * index + 1)
                at = 64 * index
                nodes[index] = sha256(
                    b"\2" + (left or flat[at : at + 32]) + (right or flat[at + 32 : at + 64])
                ).digest()
            level = sorted({index >> 1 for index in level})
        return nodes

    def apply(self, nodes: dict[int, bytes]) -> None:
        """Write staged nodes."""
        for index, value in nodes.items():
            self._nodes[32 * index : 32 * index + 32] = value

    def siblings(self, bucket: int, above: dict[int, bytes]) -> list[bytes]:
        """The 16 siblings on the way from a bucket to the root, with ``above`` in place of the tree's own nodes."""
        index = BUCKETS + bucket
        found = []
        while index > 1:
            found.append(above.get(index ^ 1) or self[index ^ 1])
            index >>= 1
        return found


class AuthenticatedMap:
    """The map at the head of the ledger: the upper tree, and the tries of the buckets used last."""

    def __init__(self, cached_leaves: int = CACHED_LEAVES) -> None:
        self.upper: Final = UpperTree()
        self._tries: Final[OrderedDict[int, tuple[Node | None, int]]] = OrderedDict()
        self._leaves = 0
        self._budget: Final = cached_leaves

    @property
    def root(self) -> bytes:
        """The hash of all of state."""
        return self.upper[1]

    def load(self, entries: Iterable[Entry]) -> None:
        """Build the tree from all entries, in order of digests."""
        roots: dict[int, bytes] = {}
        bucket, members = 0, list[Entry]()
        for entry in entries:
            number = bucket_of(entry[0])
            if number != bucket and members:
                roots[bucket] = subtree_root(members)
                members = []
            bucket = number
            members.append(entry)
        if members:
            roots[bucket] = subtree_root(members)
        self.upper.apply(self.upper.stage(roots))

    def trie(self, bucket: int, read: Callable[[int], list[Entry]]) -> Node | None:
        """The trie of a bucket; ``read`` gives its entries, in order of digests, if it is not kept."""
        kept = self._tries.get(bucket)
        return kept[0] if kept is not None else build(read(bucket))

    def stage(self, changes: Iterable[Change], read: Callable[[int], list[Entry]]) -> Staged:
        """What these changes (one for a key) would make of the map. Nothing is changed."""
        by_bucket: dict[int, list[Change]] = {}
        for change in changes:
            by_bucket.setdefault(bucket_of(change[0]), []).append(change)
        roots: dict[int, bytes] = {}
        tries: dict[int, tuple[Node | None, int]] = {}
        for bucket, rows in by_bucket.items():
            kept = self._tries.get(bucket)
            if kept is None:
                entries = _merged(read(bucket), rows)
                if len(entries) < KEPT_FROM:
                    roots[bucket] = subtree_root(entries)
                    continue
                made = build(entries), len(entries)
            else:
                made = _changed(kept, rows)
            tries[bucket] = made
            roots[bucket] = root_of(made[0])
        nodes = self.upper.stage(roots)
        before = {bucket: self.upper[BUCKETS + bucket] for bucket in roots}
        return Staged(nodes.get(1, self.root), nodes, tries, before)

    def apply(self, staged: Staged) -> None:
        """Make staged changes those of the map."""
        self.upper.apply(staged.nodes)
        for bucket, made in staged.tries.items():
            gone = self._tries.pop(bucket, None)
            self._leaves += made[1] - (gone[1] if gone is not None else 0)
            self._tries[bucket] = made
        while self._leaves > self._budget and len(self._tries) > 1:
            _, (_, leaves) = self._tries.popitem(last=False)
            self._leaves -= leaves


def _changed(kept: tuple[Node | None, int], rows: list[Change]) -> tuple[Node | None, int]:
    node, count = kept
    for digest, leaf in rows:
        was = _is_there(node, digest)
        node = remove(node, digest) if leaf is None else insert(node, digest, leaf)
        count += (leaf is not None) - was
    return node, count


def _merged(entries: list[Entry], rows: list[Change]) -> list[Entry]:
    members = dict(entries)
    for digest, leaf in rows:
        if leaf is None:
            members.pop(digest, None)
        else:
            members[digest] = leaf
    return sorted(members.items())


def _split(entries: Sequence[Entry], depth: int) -> int:
    """How many of the entries, which are in order, have bit number ``depth`` clear."""
    byte, shift = depth >> 3, 7 - (depth & 7)
    at = 0
    for digest, _ in entries:
        if digest[byte] >> shift & 1:
            break
        at += 1
    return at


def _is_there(node: Node | None, digest: bytes) -> bool:
    end, _ = walk(node, digest)
    return end is not None and end.digest == digest


def _inner(left: Node | None, right: Node | None) -> Node:
    pair = (left.hash if left else EMPTY) + (right.hash if right else EMPTY)
    return Node(sha256(b"\1" + pair).digest(), None, left, right)
