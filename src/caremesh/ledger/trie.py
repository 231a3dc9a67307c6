"""The authenticated map: one root for all of state, whatever the order of insertion.

A key lives in the bucket that the first 16 bits of SHA-256(key) name; a bucket is a binary trie on the
remaining 240 bits; a binary tree of depth 16 stands over the buckets.

    empty = 32 zero bytes
    leaf  = H(0 ‖ H(key) ‖ H(value))
    inner = H(1 ‖ left ‖ right)        a lone leaf rises: it stands for the whole subtree it is alone in
    upper = H(2 ‖ left ‖ right)

In memory the first 20 levels are one flat array (its last four those of the buckets' tries), so a change reads
only the keys that share 20 bits, one with a million keys, and hashes 20 nodes. Where more than a few share 20
bits, because there are many keys or because somebody ground them, their trie is kept in memory, within a budget:
a change then costs as many hashes as the trie is deep, not as it is large.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import groupby
from mmap import mmap
from typing import Final, NamedTuple, TypeAlias

BUCKET_BITS: Final = 16
BUCKETS: Final = 1 << BUCKET_BITS
EMPTY: Final = bytes(32)
SLOT_BITS: Final = 20
SLOTS: Final = 1 << SLOT_BITS
KEPT_FROM: Final = 64
"""From this many leaves on a slot's trie is kept in memory; below, hashing it anew is as cheap."""
CACHED_LEAVES: Final = 200_000
"""Leaves whose tries stay in memory (about 300 bytes each)."""

_LOAD_BITS: Final = 10
"""At start the slots are taken in runs of 2^10, so that little besides the array is in memory."""

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


def slot_of(key_digest: bytes) -> int:
    """The number that the first 20 bits of a digest are."""
    return int.from_bytes(key_digest[:3], "big") >> 4


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
        return _over(node.left, remove(node.right, digest, depth + 1))
    return _over(remove(node.left, digest, depth + 1), node.right)


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


Change: TypeAlias = tuple[bytes, bytes | None]
"""(SHA-256 of a key, the leaf hash it gets), None to remove it."""


class Staged(NamedTuple):
    """What a set of changes would make of the map; nothing is changed until it is applied."""

    root: bytes
    nodes: dict[int, Part]
    tries: dict[int, tuple[Node | None, int]]
    before: dict[int, bytes]
    """Root, before the changes, of every bucket touched."""


class FlatTree:
    """The first 20 levels in one array: node i has the children 2i and 2i + 1, the root is 1.

    Nodes 2^16 … are the buckets, nodes 2^20 … the slots; from the buckets on the array is zero where nothing is.
    """

    def __init__(self) -> None:
        self._hashes: Final = mmap(-1, 64 * SLOTS)  # anonymous memory: zero, and free until it is written
        self._kinds: Final = bytearray(2 * SLOTS)
        empty = EMPTY
        for depth in range(BUCKET_BITS - 1, -1, -1):
            empty = upper_hash(empty, empty)
            self._hashes[32 << depth : 64 << depth] = empty * (1 << depth)

    def __getitem__(self, index: int) -> bytes:
        return self._hashes[32 * index : 32 * index + 32]

    def part(self, index: int) -> Part:
        """A node with its kind."""
        return self._kinds[index], self[index]

    def kind(self, index: int) -> int:
        """What a node below the buckets is: NOTHING, LEAF or INNER."""
        return self._kinds[index]

    def stage(self, slots: dict[int, Part]) -> dict[int, Part]:
        """The nodes that these slots change, the slots among them."""
        nodes = {SLOTS + slot: part for slot, part in slots.items()}
        level = sorted({index >> 1 for index in nodes})
        while level and level[0] >= BUCKETS:
            for index in level:
                below = 2 * index
                left = nodes.get(below) or (self.part(below) if self._kinds[below] else _NOTHING)
                right = nodes.get(below + 1) or (self.part(below + 1) if self._kinds[below + 1] else _NOTHING)
                nodes[index] = joined(left, right)
            level = _parents(level)
        self._stage_upper(nodes, level)
        return nodes

    def above(self, buckets: dict[int, bytes]) -> dict[int, Part]:
        """The nodes over the buckets, if these had other roots."""
        nodes = {BUCKETS + bucket: (INNER, root) for bucket, root in buckets.items()}
        self._stage_upper(nodes, sorted({index >> 1 for index in nodes}))
        return nodes

    def apply(self, nodes: dict[int, Part]) -> None:
        """Write staged nodes."""
        hashes, kinds = self._hashes, self._kinds
        for index, (kind, value) in nodes.items():
            hashes[32 * index : 32 * index + 32] = value
            kinds[index] = kind

    def siblings(self, bucket: int, above: dict[int, Part]) -> list[bytes]:
        """The 16 siblings on the way from a bucket to the root, with ``above`` in place of the tree's own nodes."""
        index = BUCKETS + bucket
        found = []
        while index > 1:
            staged = above.get(index ^ 1)
            found.append(self[index ^ 1] if staged is None else staged[1])
            index >>= 1
        return found

    def _stage_upper(self, nodes: dict[int, Part], level: list[int]) -> None:
        flat, staged = self._hashes, nodes.get
        while level and level[0]:
            for index in level:
                left, right = staged(2 * index), staged(2 * index + 1)
                at = 64 * index
                pair = (left[1] if left else flat[at : at + 32]) + (right[1] if right else flat[at + 32 : at + 64])
                nodes[index] = INNER, sha256(b"\2" + pair).digest()
            level = _parents(level)


def _parents(level: list[int]) -> list[int]:
    """The nodes over these, which are in order, each once and in order."""
    return list(dict.fromkeys([index >> 1 for index in level]))


class AuthenticatedMap:
    """The map at the head of the ledger: the flat tree, and the tries of crowded slots."""

    def __init__(self, cached_leaves: int = CACHED_LEAVES) -> None:
        self.flat: Final = FlatTree()
        self._tries: Final[OrderedDict[int, tuple[Node | None, int]]] = OrderedDict()
        self._leaves = 0
        self._budget: Final = cached_leaves

    @property
    def root(self) -> bytes:
        """The hash of all of state."""
        return self.flat[1]

    def load(self, entries: Iterable[Entry]) -> None:
        """Build the tree from all entries, in order of digests."""
        for _, run in groupby(_by_slot(entries), key=lambda row: row[0] >> _LOAD_BITS):
            self.flat.apply(self.flat.stage({slot: _part_of_entries(members) for slot, members in run}))

    def trie(self, bucket: int, read: Callable[[int], list[Entry]]) -> Node | None:
        """The trie of a bucket; ``read`` gives the entries of a slot, in order of digests."""
        width = SLOT_BITS - BUCKET_BITS
        level = [self._slot(slot, read) for slot in range(bucket << width, (bucket + 1) << width)]
        while len(level) > 1:
            level = [_over(left, right) for left, right in zip(level[::2], level[1::2], strict=True)]
        return level[0]

    def find(self, digest: bytes, read: Callable[[int], list[Entry]]) -> tuple[bytes | None, list[bytes]]:
        """The digest of the leaf where the path of ``digest`` ends in its bucket (None: nothing is there), and the
        siblings on it, deepest first. As ``walk(trie(…), digest)``, but only the slot at the end is read.
        """
        index, depth = BUCKETS + bucket_of(digest), BUCKET_BITS
        beside: list[bytes] = []
        while index < SLOTS and self.flat.part(index)[0] == INNER:
            near = 2 * index + bit(digest, depth)
            beside.append(self.flat[near ^ 1])
            index, depth = near, depth + 1
        while index < SLOTS and self.flat.part(index)[0] == LEAF:  # a lone leaf, which lies below one of the two
            index = 2 * index + (not self.flat.part(2 * index)[0])
        if index < SLOTS:
            return None, beside[::-1]
        end, below = walk(self._slot(index - SLOTS, read), digest, SLOT_BITS)
        return (None if end is None else end.digest), below + beside[::-1]

    def stage(
        self, changes: Iterable[Change], read: Callable[[int], list[Entry]], replaced: Collection[bytes] = ()
    ) -> Staged:
        """What these changes (one for a key) would make of the map. Nothing is changed.

        ``replaced``: digests of keys that are surely in the map; one that is alone in its slot then costs no read.
        """
        by_slot: dict[int, list[Change]] = {}
        for change in changes:
            by_slot.setdefault(slot_of(change[0]), []).append(change)
        slots: dict[int, Part] = {}
        tries: dict[int, tuple[Node | None, int]] = {}
        for slot, rows in by_slot.items():
            kept = self._tries.get(slot)
            if kept is None:
                alone = self.flat.kind(SLOTS + slot) == NOTHING or (
                    self.flat.kind(SLOTS + slot) == LEAF and rows[0][0] in replaced
                )
                entries = _merged([] if alone else read(slot), rows)
                if len(entries) < KEPT_FROM:
                    slots[slot] = _part_of_entries(entries)
                    continue
                made = build(entries, SLOT_BITS), len(entries)
            else:
                made = _changed(kept, rows)
            tries[slot] = made
            slots[slot] = part_of(made[0])
        nodes = self.flat.stage(slots)
        buckets = {slot >> (SLOT_BITS - BUCKET_BITS) for slot in slots}
        before = {bucket: self.flat[BUCKETS + bucket] for bucket in sorted(buckets)}
        return Staged(nodes[1][1] if nodes else self.root, nodes, tries, before)

    def apply(self, staged: Staged) -> None:
        """Make staged changes those of the map."""
        self.flat.apply(staged.nodes)
        for slot, made in staged.tries.items():
            gone = self._tries.pop(slot, None)
            self._leaves += made[1] - (gone[1] if gone is not None else 0)
            self._tries[slot] = made
        while self._leaves > self._budget and len(self._tries) > 1:
            _, (_, leaves) = self._tries.popitem(last=False)
            self._leaves -= leaves

    def _slot(self, slot: int, read: Callable[[int], list[Entry]]) -> Node | None:
        if not self.flat.part(SLOTS + slot)[0]:
            return None
        kept = self._tries.get(slot)
        return kept[0] if kept is not None else build(read(slot), SLOT_BITS)


def _by_slot(entries: Iterable[Entry]) -> Iterator[tuple[int, list[Entry]]]:
    for slot, members in groupby(entries, key=lambda entry: slot_of(entry[0])):
        yield slot, list(members)


def _part_of_entries(entries: Sequence[Entry]) -> Part:
    kind = INNER if len(entries) > 1 else LEAF if entries else NOTHING
    return kind, subtree_root(entries, SLOT_BITS)


def _over(left: Node | None, right: Node | None) -> Node | None:
    """The trie over two halves."""
    if left is None and (right is None or right.digest is not None):
        return right
    if right is None and left is not None and left.digest is not None:
        return left
    return _inner(left, right)


def _changed(kept: tuple[Node | None, int], rows: list[Change]) -> tuple[Node | None, int]:
    node, count = kept
    for digest, leaf in rows:
        was = _is_there(node, digest)
        node = remove(node, digest, SLOT_BITS) if leaf is None else insert(node, digest, leaf, SLOT_BITS)
        count += (leaf is not None) - was
    return node, count


def _merged(entries: list[Entry], rows: list[Change]) -> list[Entry]:
    if not entries and len(rows) == 1:
        digest, only = rows[0]
        return [] if only is None else [(digest, only)]
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
    end, _ = walk(node, digest, SLOT_BITS)
    return end is not None and end.digest == digest


def _inner(left: Node | None, right: Node | None) -> Node:
    pair = (left.hash if left else EMPTY) + (right.hash if right else EMPTY)
    return Node(sha256(b"\1" + pair).digest(), None, left, right)
