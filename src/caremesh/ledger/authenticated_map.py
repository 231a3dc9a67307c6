"""The authenticated map at the head of the ledger, in memory: the upper levels of the tree that ``trie.py`` defines.

The first 20 levels are one flat array (its last four those of the buckets' tries), so a change reads only the keys that
share 20 bits, its slot, and hashes 20 nodes. A map that is made for more keys has up to 24 such levels, so that a slot
holds one to four; the root is the same. Where more than a few share a slot, because there are many keys or because
somebody ground them, their trie is kept in memory, within a budget: a change then costs as many hashes as the trie is
deep, not as it is large.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from hashlib import sha256
from itertools import groupby
from mmap import mmap
from typing import Final, NamedTuple, TypeAlias

from caremesh.ledger.trie import (
    BUCKET_BITS,
    BUCKETS,
    EMPTY,
    INNER,
    LEAF,
    NOTHING,
    SLOT_BITS,
    Entry,
    Node,
    Part,
    bit,
    bucket_of,
    build,
    insert,
    joined,
    over,
    part_of,
    remove,
    slot_of,
    subtree_root,
    upper_hash,
    walk,
)

_NOTHING: Final[Part] = (NOTHING, EMPTY)
MOST_SLOT_BITS: Final = 24
"""The array takes 64 bytes a slot: 64 MiB with the fewest slots, 1 GiB with the most."""
KEPT_FROM: Final = 64
"""From this many leaves on a slot's trie is kept in memory; below, hashing it anew is as cheap."""
CACHED_LEAVES: Final = 200_000
"""Leaves whose tries stay in memory (about 300 bytes each)."""

Change: TypeAlias = tuple[bytes, bytes | None]
"""(SHA-256 of a key, the leaf hash it gets), None to remove it."""


class Staged(NamedTuple):
    """What a set of changes would make of the map; nothing is changed until it is applied."""

    root: bytes
    below: dict[int, Part]
    """By place: nodes of buckets, their roots among them."""
    above: dict[int, bytes]
    """By number: the buckets' roots, and what is over them."""
    tries: dict[int, tuple[Node | None, int]]
    before: dict[int, bytes]
    """Root, before the changes, of every bucket touched."""


class FlatTree:
    """The first levels, down to 2^bits slots: node i has the children 2i and 2i + 1, the root is 1.

    Nodes 2^16 … are the buckets, nodes 2^bits … the slots. What is in a bucket lies together, for the processor's
    cache: its root at place 1 of 2^(bits - 15), the children of place n at 2n and 2n + 1. Where nothing is, it is zero.
    """

    def __init__(self, bits: int = SLOT_BITS) -> None:
        self.bits: Final = bits
        self.slots: Final = 1 << bits
        self._width: Final = bits - BUCKET_BITS
        self._hashes: Final = mmap(-1, 64 * self.slots)  # anonymous memory: zero, and free until it is written
        self._kinds: Final = bytearray(2 * self.slots)
        self._upper: Final[list[bytes]] = []
        empty = EMPTY
        for depth in range(BUCKET_BITS, -1, -1):
            self._upper[:0] = [empty] * (1 << depth)
            empty = upper_hash(empty, empty)
        self._upper.insert(0, EMPTY)  # there is no node 0

    def __getitem__(self, index: int) -> bytes:
        return self._upper[index] if index < 2 * BUCKETS else self.part(index)[1]

    def part(self, index: int) -> Part:
        """A bucket, or a node in it, with its kind."""
        depth = index.bit_length() - 1 - BUCKET_BITS
        place = ((index >> depth) - BUCKETS << self._width + 1) + (1 << depth | index & (1 << depth) - 1)
        return self._kinds[place], self._hashes[32 * place : 32 * place + 32]

    def kind(self, slot: int) -> int:
        """What a slot holds: NOTHING, LEAF or INNER."""
        width = self._width
        return self._kinds[(slot >> width << width) + slot + (1 << width)]

    def fill(self, bucket: int, slots: Iterable[tuple[int, Part]]) -> bytes:
        """Write the nodes of a bucket that was empty, out of its slots; its root, for ``above``."""
        size, first = 1 << self._width, bucket << self._width
        parts = [_NOTHING] * (2 * size)
        for slot, part in slots:
            parts[size + slot - first] = part
        for place in range(size - 1, 0, -1):
            parts[place] = joined(parts[2 * place], parts[2 * place + 1])
        at = 2 * first
        self._hashes[32 * at : 32 * (at + 2 * size)] = b"".join([value for _, value in parts])
        self._kinds[at : at + 2 * size] = bytes([kind for kind, _ in parts])
        return parts[1][1]

    def stage(self, slots: dict[int, Part]) -> tuple[dict[int, Part], dict[int, bytes]]:
        """The nodes that these slots change: in the buckets by place, the slots among them, and above by number."""
        hashes, kinds, width = self._hashes, self._kinds, self._width
        below: dict[int, Part] = {}
        roots: dict[int, bytes] = {}
        staged, size = below.get, 1 << width
        for slot, part in slots.items():
            bucket = slot >> width
            base, at = bucket << width + 1, slot & size - 1 | size
            below[base + at] = part
            kind, value = part
            while at > 1:
                beside = base + (at ^ 1)
                other, its = staged(beside) or (kinds[beside], hashes[32 * beside : 32 * beside + 32])
                if other + kind > LEAF:  # as ``joined`` says: nothing, and a leaf alone, rise
                    value = sha256(b"\1" + (its + value if at & 1 else value + its)).digest()
                    kind = INNER
                elif other == LEAF:
                    kind, value = other, its
                at >>= 1
                below[base + at] = kind, value
            roots[bucket] = value
        return below, self.above(roots)

    def above(self, roots: dict[int, bytes]) -> dict[int, bytes]:
        """The buckets and the nodes over them, if the buckets had these roots."""
        nodes = {BUCKETS + bucket: root for bucket, root in roots.items()}
        upper, staged, level = self._upper, nodes.get, sorted(nodes)
        while level and level[0] > 1:
            level = list(dict.fromkeys([index >> 1 for index in level]))
            for index in level:
                left, right = 2 * index, 2 * index + 1
                pair = (staged(left) or upper[left]) + (staged(right) or upper[right])
                nodes[index] = sha256(b"\2" + pair).digest()
        return nodes

    def apply(self, below: dict[int, Part], above: dict[int, bytes]) -> None:
        """Write staged nodes."""
        hashes, kinds, upper = self._hashes, self._kinds, self._upper
        for place, (kind, value) in below.items():
            hashes[32 * place : 32 * place + 32] = value
            kinds[place] = kind
        for index, value in above.items():
            upper[index] = value

    def siblings(self, bucket: int, above: dict[int, bytes]) -> list[bytes]:
        """The 16 siblings on the way from a bucket to the root, with ``above`` in place of the tree's own nodes."""
        index = BUCKETS + bucket
        found = []
        while index > 1:
            found.append(above.get(index ^ 1) or self._upper[index ^ 1])
            index >>= 1
        return found


class AuthenticatedMap:
    """The map at the head of the ledger: the flat tree, and the tries of crowded slots."""

    def __init__(self, cached_leaves: int = CACHED_LEAVES, bits: int = SLOT_BITS) -> None:
        """``bits``: how many of a digest's name its slot, from 17 on; ``bits_for`` says which are good."""
        self.flat: Final = FlatTree(bits)
        self._tries: Final[OrderedDict[int, tuple[Node | None, int]]] = OrderedDict()
        self._leaves = 0
        self._budget: Final = cached_leaves

    @property
    def root(self) -> bytes:
        """The hash of all of state."""
        return self.flat[1]

    def load(self, entries: Iterable[Entry]) -> None:
        """Build the tree from all entries, in order of digests."""
        bits = self.flat.bits
        roots = {}
        for bucket, members in groupby(entries, key=lambda entry: bucket_of(entry[0])):
            slots = groupby(members, key=lambda entry: slot_of(entry[0], bits))
            roots[bucket] = self.flat.fill(bucket, [(slot, _part_of_entries(list(row), bits)) for slot, row in slots])
        self.flat.apply({}, self.flat.above(roots))

    def trie(self, bucket: int, read: Callable[[int], list[Entry]]) -> Node | None:
        """The trie of a bucket; ``read`` gives the entries of a slot, in order of digests."""
        width = self.flat.bits - BUCKET_BITS
        level = [self._slot(slot, read) for slot in range(bucket << width, (bucket + 1) << width)]
        while len(level) > 1:
            level = [over(left, right) for left, right in zip(level[::2], level[1::2], strict=True)]
        return level[0]

    def find(self, digest: bytes, read: Callable[[int], list[Entry]]) -> tuple[bytes | None, list[bytes]]:
        """The digest of the leaf where the path of ``digest`` ends in its bucket (None: nothing is there), and the
        siblings on it, deepest first. As ``walk(trie(…), digest)``, but only the slot at the end is read.
        """
        index, depth, slots = BUCKETS + bucket_of(digest), BUCKET_BITS, self.flat.slots
        beside: list[bytes] = []
        while index < slots and self.flat.part(index)[0] == INNER:
            near = 2 * index + bit(digest, depth)
            beside.append(self.flat[near ^ 1])
            index, depth = near, depth + 1
        while index < slots and self.flat.part(index)[0] == LEAF:  # a lone leaf, which lies below one of the two
            index = 2 * index + (not self.flat.part(2 * index)[0])
        if index < slots:
            return None, beside[::-1]
        end, below = walk(self._slot(index - slots, read), digest, self.flat.bits)
        return (None if end is None else end.digest), below + beside[::-1]

    def stage(
        self, changes: Iterable[Change], read: Callable[[int], list[Entry]], replaced: Collection[bytes] = ()
    ) -> Staged:
        """What these changes (one for a key) would make of the map. Nothing is changed.

        ``replaced``: digests of keys that are surely in the map; one that is alone in its slot then costs no read.
        """
        bits, kind_of, kept_of = self.flat.bits, self.flat.kind, self._tries.get
        by_slot: dict[int, list[Change]] = {}
        for change in sorted(changes):  # in the order of the database, and of the array
            by_slot.setdefault(slot_of(change[0], bits), []).append(change)
        slots: dict[int, Part] = {}
        tries: dict[int, tuple[Node | None, int]] = {}
        for slot, rows in by_slot.items():
            kept = kept_of(slot)
            if kept is None:
                kind = kind_of(slot)
                alone = kind == NOTHING or (kind == LEAF and rows[0][0] in replaced)
                entries = _merged([] if alone else read(slot), rows)
                if len(entries) < KEPT_FROM:
                    slots[slot] = _part_of_entries(entries, bits)
                    continue
                made = build(entries, bits), len(entries)
            else:
                made = _changed(kept, rows, bits)
            tries[slot] = made
            slots[slot] = part_of(made[0])
        below, above = self.flat.stage(slots)
        width = bits - BUCKET_BITS
        before = {bucket: self.flat[BUCKETS + bucket] for bucket in sorted({slot >> width for slot in slots})}
        return Staged(above.get(1, self.root), below, above, tries, before)

    def apply(self, staged: Staged) -> None:
        """Make staged changes those of the map."""
        self.flat.apply(staged.below, staged.above)
        for slot, made in staged.tries.items():
            gone = self._tries.pop(slot, None)
            self._leaves += made[1] - (gone[1] if gone is not None else 0)
            self._tries[slot] = made
        while self._leaves > self._budget and len(self._tries) > 1:
            _, (_, leaves) = self._tries.popitem(last=False)
            self._leaves -= leaves

    def _slot(self, slot: int, read: Callable[[int], list[Entry]]) -> Node | None:
        if not self.flat.kind(slot):
            return None
        kept = self._tries.get(slot)
        return kept[0] if kept is not None else build(read(slot), self.flat.bits)


def bits_for(keys: int) -> int:
    """How many bits should name a slot where there are so many keys: four at most share one, as far as memory goes."""
    return min(max(SLOT_BITS, (keys // 4).bit_length()), MOST_SLOT_BITS)


def _part_of_entries(entries: Sequence[Entry], bits: int) -> Part:
    if len(entries) < 2:
        return (LEAF, entries[0][1]) if entries else _NOTHING
    return INNER, subtree_root(entries, bits)


def _changed(kept: tuple[Node | None, int], rows: list[Change], bits: int) -> tuple[Node | None, int]:
    node, count = kept
    for digest, leaf in rows:
        end, _ = walk(node, digest, bits)
        was = end is not None and end.digest == digest
        node = remove(node, digest, bits) if leaf is None else insert(node, digest, leaf, bits)
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
