"""The authenticated map: every key is provably present with its value, or provably absent, under one root hash.

2^16 buckets by the first 16 bits of H(key); a bucket is a binary trie on the remaining bits; above the buckets stands
a full binary tree.

    empty       = 32 zero bytes
    leaf        = H(0 ‖ H(key) ‖ H(value))
    inner       = H(1 ‖ left ‖ right), a lone leaf rising to where it is alone
    upper tree  = H(2 ‖ left ‖ right) over the roots of the buckets

The root depends on the contents only, never on the order in which they came. Keys ground into one bucket make that
bucket's trie deeper for their maker, and nothing else slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, ErrorCode, Tampered
from caremesh.types import Digest

BUCKET_BITS: Final = 16
BUCKETS: Final = 1 << BUCKET_BITS
EMPTY: Final = bytes(32)
_MAX_DEPTH: Final = 256

BAD_PROOF = ErrorCode("ledger.20", "The proof does not lead to the app hash of this block.", "Ask another node.")

Leaf = tuple[Digest, Digest]
"""(H(key), H(value))"""


class Proof(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A path from a key to the root. About 0.8 kB with a million keys.

    ``siblings``: hashes beside the path, from the lowest to the root. ``other``: the lone leaf that stands where the
    key would be, when that is another key's (then the key is absent); ``value``: absent when the key is.
    """

    siblings: list[Digest]
    value: bytes | None = None
    other: list[Digest] | None = None


def check_proof(root: Digest, key: bytes, proof: Proof) -> bytes | None:
    """The proven value, or None when the key is proven absent. Raises Tampered ledger.20."""
    hashed = sha256(key)
    if not BUCKET_BITS <= len(proof.siblings) <= _MAX_DEPTH:
        raise Tampered(BAD_PROOF)
    if proof.value is not None:
        if proof.other is not None:
            raise Tampered(BAD_PROOF)
        node = _leaf((hashed, sha256(proof.value)))
    elif proof.other is not None:
        depth = len(proof.siblings)
        if len(proof.other) != 2 or proof.other[0] == hashed or not _same_prefix(proof.other[0], hashed, depth):
            raise Tampered(BAD_PROOF)
        node = _leaf((proof.other[0], proof.other[1]))
    else:
        node = EMPTY
    for above, sibling in enumerate(proof.siblings):
        depth = len(proof.siblings) - 1 - above
        left, right = (sibling, node) if _bit(hashed, depth) else (node, sibling)
        node = _inner(left, right) if depth >= BUCKET_BITS else _upper(left, right)
    if node != root:
        raise Tampered(BAD_PROOF)
    return proof.value


class Tree(Struct, frozen=True):
    """Nodes that changed, by their place in the upper tree; and the root. What a block does to the map."""

    nodes: dict[int, Digest]
    root: Digest


class AuthenticatedMap:
    """The upper tree in one flat array: node i has the children 2i and 2i + 1; buckets start at 2^16.

    The leaves live elsewhere (in the store); ``load(bucket)`` gives those of one bucket, sorted by H(key).
    """

    def __init__(self, load: Callable[[int], Sequence[Leaf]]) -> None:
        self._load = load
        self._nodes = bytearray(2 * BUCKETS * 32)
        self._build_upper()

    @property
    def root(self) -> Digest:
        """The root hash."""
        return self._node(1, {})

    def rebuild(self, leaves: Iterable[Leaf]) -> None:
        """Fill the tree from all leaves, sorted by H(key): about one second for a million."""
        self._nodes = bytearray(2 * BUCKETS * 32)
        bucket: list[Leaf] = []
        number = -1
        for leaf in leaves:
            found = int.from_bytes(leaf[0][:2])
            if found != number:
                self._set_bucket(number, bucket)
                number, bucket = found, []
            bucket.append(leaf)
        self._set_bucket(number, bucket)
        self._build_upper()

    def changed(self, changes: Mapping[Digest, Digest | None]) -> Tree:
        """What the tree would be after H(key) → H(value) changes (None: absent). Changes nothing here."""
        by_bucket: dict[int, dict[Digest, Digest | None]] = {}
        for hashed, value in changes.items():
            by_bucket.setdefault(int.from_bytes(hashed[:2]), {})[hashed] = value
        nodes: dict[int, Digest] = {}
        for bucket, changed in by_bucket.items():
            nodes[BUCKETS + bucket] = _root(_merged(self._load(bucket), changed), BUCKET_BITS)
        level = sorted(nodes)
        while level and level != [1]:
            level = sorted({node // 2 for node in level})
            for node in level:
                nodes[node] = _upper(self._node(2 * node, nodes), self._node(2 * node + 1, nodes))
        return Tree(nodes, self._node(1, nodes))

    def apply(self, tree: Tree) -> None:
        """Make a change real."""
        for node, digest in tree.nodes.items():
            self._nodes[32 * node : 32 * node + 32] = digest

    def prove(
        self, key: bytes, value: bytes | None, undo: Mapping[Digest, Digest | None] | None = None
    ) -> tuple[Proof, Digest]:
        """The proof of a key's value or absence, and the root it leads to.

        ``undo``: H(key) → H(value) of all keys that have changed since the height asked for; none for the head.
        """
        past = self.changed(undo) if undo else Tree({}, self.root)
        hashed = sha256(key)
        bucket = int.from_bytes(hashed[:2])
        since = {changed: old for changed, old in (undo or {}).items() if changed[:2] == hashed[:2]}
        leaves = _merged(self._load(bucket), since)
        siblings: list[Digest] = []
        depth = BUCKET_BITS
        while len(leaves) > 1:
            ones = [leaf for leaf in leaves if _bit(leaf[0], depth)]
            zeros = [leaf for leaf in leaves if not _bit(leaf[0], depth)]
            leaves, beside = (ones, zeros) if _bit(hashed, depth) else (zeros, ones)
            depth += 1
            siblings.insert(0, _root(beside, depth))
        node = BUCKETS + bucket
        while node > 1:
            siblings.append(self._node(node ^ 1, past.nodes))
            node //= 2
        other = None
        if value is None and leaves:
            other = list(leaves[0])
        if (value is not None) != (bool(leaves) and leaves[0] == (hashed, sha256(value or b""))):
            raise BadInput(BAD_PROOF, "the value is not that of the map")
        return Proof(siblings, value, other), past.root

    def _node(self, node: int, overlay: Mapping[int, Digest]) -> Digest:
        return overlay[node] if node in overlay else bytes(self._nodes[32 * node : 32 * node + 32])

    def _set_bucket(self, bucket: int, leaves: list[Leaf]) -> None:
        if leaves:
            self._nodes[32 * (BUCKETS + bucket) : 32 * (BUCKETS + bucket) + 32] = _root(leaves, BUCKET_BITS)

    def _build_upper(self) -> None:
        nodes = self._nodes
        same: dict[bytes, Digest] = {}  # empty subtrees are alike: each height of them is hashed once
        for node in range(BUCKETS - 1, 0, -1):
            pair = bytes(nodes[64 * node : 64 * node + 64])
            digest = same.get(pair) or sha256(b"\x02" + pair)
            if len(same) < 64:
                same[pair] = digest
            nodes[32 * node : 32 * node + 32] = digest


def _merged(leaves: Sequence[Leaf], changes: Mapping[Digest, Digest | None]) -> list[Leaf]:
    merged: dict[Digest, Digest | None] = dict(leaves)
    merged.update(changes)
    return sorted((hashed, value) for hashed, value in merged.items() if value is not None)


def _root(leaves: Sequence[Leaf], depth: int) -> Digest:
    """The root of a bucket's trie, or of a part of it, from its sorted leaves."""
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        return _leaf(leaves[0])
    middle = _first_one(leaves, depth)
    return _inner(_root(leaves[:middle], depth + 1), _root(leaves[middle:], depth + 1))


def _first_one(leaves: Sequence[Leaf], depth: int) -> int:
    """Where, in sorted leaves that agree up to ``depth``, those with that bit set begin."""
    low, high = 0, len(leaves)
    while low < high:
        middle = (low + high) // 2
        if _bit(leaves[middle][0], depth):
            high = middle
        else:
            low = middle + 1
    return low


def _leaf(leaf: Leaf) -> Digest:
    return sha256(b"\x00" + leaf[0] + leaf[1])


def _inner(left: Digest, right: Digest) -> Digest:
    return sha256(b"\x01" + left + right)


def _upper(left: Digest, right: Digest) -> Digest:
    return sha256(b"\x02" + left + right)


def _bit(hashed: bytes, depth: int) -> int:
    return hashed[depth >> 3] >> (7 - (depth & 7)) & 1


def _same_prefix(one: bytes, two: bytes, bits: int) -> bool:
    return int.from_bytes(one) >> (256 - bits) == int.from_bytes(two) >> (256 - bits)
