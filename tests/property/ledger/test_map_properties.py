"""The authenticated map against a model that does nothing but follow the definition."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caremesh.errors import Tampered
from caremesh.ledger import authenticated_map, trie
from caremesh.ledger.authenticated_map import AuthenticatedMap, Change, FlatTree
from caremesh.ledger.proofs import Proof
from caremesh.ledger.trie import BUCKETS, EMPTY, Entry, bucket_of, leaf_hash, slot_of

Content = dict[bytes, bytes]
contents = st.dictionaries(st.binary(min_size=1, max_size=6), st.binary(max_size=6), max_size=40)


def hashed(*parts: bytes) -> bytes:
    return sha256(b"".join(parts)).digest()


def model_trie(leaves: dict[bytes, bytes], depth: int) -> bytes:
    """The definition: empty, a lone leaf, or an inner node over the two halves."""
    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        (digest, value) = next(iter(leaves.items()))
        return hashed(b"\0", digest, hashed(value))
    halves: tuple[dict[bytes, bytes], dict[bytes, bytes]] = ({}, {})
    for digest, value in leaves.items():
        halves[int.from_bytes(digest, "big") >> (255 - depth) & 1][digest] = value
    return hashed(b"\1", model_trie(halves[0], depth + 1), model_trie(halves[1], depth + 1))


def model_root(by_digest: dict[bytes, bytes]) -> bytes:
    """The definition, over all 2^16 buckets; equal empty subtrees are hashed once."""
    buckets: dict[int, dict[bytes, bytes]] = {}
    for digest, value in by_digest.items():
        buckets.setdefault(int.from_bytes(digest[:2], "big"), {})[digest] = value
    level = {number: model_trie(leaves, 16) for number, leaves in buckets.items()}
    empty = bytes(32)
    for _ in range(16):
        parents = {number >> 1 for number in level}
        level = {
            number: hashed(b"\2", level.get(2 * number, empty), level.get(2 * number + 1, empty)) for number in parents
        }
        empty = hashed(b"\2", empty, empty)
    return level.get(0, empty)


class Kept:
    """A map with the entries that a store would hold."""

    def __init__(self, cached: int = authenticated_map.CACHED_LEAVES, bits: int = trie.SLOT_BITS) -> None:
        self.map = AuthenticatedMap(cached, bits)
        self.entries: dict[bytes, bytes] = {}
        self.values: dict[bytes, bytes] = {}

    def slot(self, number: int) -> list[Entry]:
        return sorted(entry for entry in self.entries.items() if slot_of(entry[0], self.map.flat.bits) == number)

    def change(self, rows: dict[bytes, bytes | None]) -> None:
        """Rows by digest of the key."""
        changes: list[Change] = [
            (digest, None if value is None else leaf_hash(digest, sha256(value).digest()))
            for digest, value in rows.items()
        ]
        staged = self.map.stage(changes, self.slot, rows.keys() & self.entries.keys())
        assert self.map.stage(changes, self.slot) == staged  # knowing what is replaced saves reads, nothing else
        before = self.map.root
        assert self.map.root == before  # staging changes nothing
        self.map.apply(staged)
        assert self.map.root == staged.root
        for digest, leaf in changes:
            if leaf is None:
                self.entries.pop(digest, None)
                self.values.pop(digest, None)
            else:
                self.entries[digest] = leaf
                self.values[digest] = rows[digest] or b""

    def prove(self, digest: bytes) -> Proof:
        number = bucket_of(digest)
        end, beside = trie.walk(self.map.trie(number, self.slot), digest)
        stands = None if end is None else end.digest
        assert self.map.find(digest, self.slot) == (stands, beside)  # the short way ends at the same place
        siblings = beside + self.map.flat.siblings(number, {})
        if end is None or end.digest is None:
            return Proof(siblings=siblings)
        if end.digest == digest:
            return Proof(siblings=siblings, value=self.values[digest])
        return Proof(siblings=siblings, other=[end.digest, sha256(self.values[end.digest]).digest()])


def digests(content: Content) -> dict[bytes, bytes | None]:
    return {sha256(key).digest(): value for key, value in content.items()}


@settings(max_examples=60)
@given(contents, st.randoms(use_true_random=False), st.sampled_from([17, 20, 24]))
def test_the_root_is_that_of_the_definition_in_any_order(content: Content, random: object, bits: int) -> None:
    rows = digests(content)
    expected = model_root({digest: value or b"" for digest, value in rows.items()})
    at_once, one_by_one, rebuilt = Kept(), Kept(bits=bits), AuthenticatedMap(bits=bits)
    at_once.change(rows)
    order = list(rows)
    random.shuffle(order)  # type: ignore[attr-defined]
    for digest in order:
        one_by_one.change({digest: b"first"})
    for digest in reversed(order):
        one_by_one.change({digest: rows[digest]})
    rebuilt.load(sorted(at_once.entries.items()))
    assert at_once.map.root == one_by_one.map.root == rebuilt.root == expected


@settings(max_examples=60)
@given(contents, contents)
def test_what_is_removed_leaves_no_trace(stays: Content, goes: Content) -> None:
    kept, clean = Kept(), Kept()
    kept.change(digests(stays | goes))
    kept.change(dict.fromkeys((digest for digest in digests(goes) if digest not in digests(stays)), None))
    kept.change(digests(stays))
    clean.change(digests(stays))
    assert kept.map.root == clean.map.root


def ground(prefix: bytes, count: int) -> list[bytes]:
    """Digests that share a prefix, as grinding would give."""
    return sorted(prefix + sha256(b"%d" % number).digest()[: 32 - len(prefix)] for number in range(count))


# Digests that crowd one bucket, some agreeing on nearly all bits.
crowded = st.lists(
    st.one_of(
        st.sampled_from(ground(b"\x07\x07", 401)),
        st.integers(0, 255).map(lambda n: b"\x07\x07" + bytes(29) + bytes([n])),
        st.integers(0, 29).map(lambda n: b"\x07\x07" + bytes(n) + b"\x80" + bytes(29 - n)),
    ),
    unique=True,
    max_size=60,
)


@settings(max_examples=80)
@given(crowded, crowded, st.sampled_from([0, 3, 200_000]))
def test_keys_ground_into_one_bucket(first: list[bytes], second: list[bytes], cached: int) -> None:
    kept = Kept(cached)
    kept.change(dict.fromkeys(first, b"1"))
    kept.change({digest: b"2" if number % 2 else None for number, digest in enumerate(second)})
    assert kept.map.root == model_root(kept.values)
    for digest in {*first, *second, b"\x07\x07" + b"\xff" * 30, b"\x08" * 32}:
        assert climb(kept.prove(digest), digest) == kept.map.root


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_key_is_replaced_removed_and_joined_by_others_in_its_slot(count: int) -> None:
    one, *others = few = ground(b"\x07\x07\x07", 4)
    kept = Kept()
    rounds: list[dict[bytes, bytes | None]] = [
        dict.fromkeys(few[:count], b"1"),
        {one: b"2"},
        {one: b"3", others[2]: b"1"},
        {others[2]: None, one: b"4"},
        {one: None},
        {one: b"5", others[0]: None},
    ]
    for rows in rounds:
        kept.change(rows)
        assert kept.map.root == model_root(kept.values)


@pytest.mark.slow
def test_a_crowded_bucket_is_kept_and_changed_by_path() -> None:
    kept = Kept()
    crowd = ground(b"\x07\x07", 3_000)
    kept.change(dict.fromkeys(crowd, b"1"))
    reads = 0

    def reading(number: int) -> list[Entry]:
        nonlocal reads
        reads += 1
        return kept.slot(number)

    staged = kept.map.stage([(crowd[5], None), (crowd[7], EMPTY)], reading)
    assert not reads
    expected = dict(kept.entries)
    del expected[crowd[5]]
    expected[crowd[7]] = EMPTY
    assert staged.above[BUCKETS + 0x0707] == trie.subtree_root(sorted(expected.items()))


def climb(proof: Proof, digest: bytes) -> bytes:
    """The root a proof leads to, by the definition (keys here are known by their digests only)."""
    if proof.value is not None:
        node = hashed(b"\0", digest, hashed(proof.value))
    elif proof.other is not None:
        node = hashed(b"\0", *proof.other)
        depth = len(proof.siblings)
        assert int.from_bytes(proof.other[0], "big") >> (256 - depth) == int.from_bytes(digest, "big") >> (256 - depth)
        assert proof.other[0] != digest
    else:
        node = bytes(32)
    for height, sibling in enumerate(proof.siblings):
        depth = len(proof.siblings) - 1 - height
        right = int.from_bytes(digest, "big") >> (255 - depth) & 1
        pair = sibling + node if right else node + sibling
        node = hashed(b"\1" if depth >= 16 else b"\2", pair)
    return node


@settings(max_examples=60)
@given(contents, st.binary(min_size=1, max_size=6), st.data())
def test_proofs_hold_for_what_is_there_and_what_is_not(content: Content, key: bytes, data: st.DataObject) -> None:
    kept = Kept()
    kept.change(digests(content))
    root = kept.map.root
    for wanted in (*content, key):
        proof = kept.prove(sha256(wanted).digest())
        assert proof.verify(root, wanted) == content.get(wanted)
    proof = kept.prove(sha256(key).digest())
    if proof.value is not None:
        with pytest.raises(Tampered):
            proof.verify(root, key + b"x" * 9)
    for wrong in forgeries(proof, content, data):
        with pytest.raises(Tampered):
            wrong.verify(root, key)


def forgeries(proof: Proof, content: Content, data: st.DataObject) -> list[Proof]:
    """Proofs that say something else than this one, or nothing."""
    at = data.draw(st.integers(0, len(proof.siblings) - 1))
    bent = [*proof.siblings]
    bent[at] = bytes([bent[at][0] ^ 1]) + bent[at][1:]
    other = [sha256(b"other").digest(), sha256(b"value").digest()]
    wrong = [
        Proof(siblings=bent, value=proof.value, other=proof.other),
        Proof(siblings=proof.siblings[1:], value=proof.value, other=proof.other),
        Proof(siblings=[EMPTY, *proof.siblings], value=proof.value, other=proof.other),
        Proof(siblings=[], value=proof.value, other=proof.other),
        Proof(siblings=[EMPTY] * 257, value=proof.value, other=proof.other),
        Proof(siblings=proof.siblings, value=b"another value", other=None),
        Proof(siblings=proof.siblings, value=None, other=other),
        Proof(siblings=proof.siblings, value=b"both", other=other),
    ]
    if proof.value is not None:
        digest = sha256(next(key for key, value in content.items() if value == proof.value)).digest()
        wrong += [
            Proof(siblings=proof.siblings),
            Proof(siblings=proof.siblings, other=[digest, sha256(proof.value).digest()]),
        ]
    if proof.other is not None:
        wrong += [Proof(siblings=proof.siblings), Proof(siblings=proof.siblings, other=proof.other[:1])]
    return wrong


def test_the_empty_map_has_one_root() -> None:
    assert AuthenticatedMap().root == FlatTree()[1] == model_root({})


def test_a_leaf_from_elsewhere_proves_no_absence() -> None:
    """Even if a root were made to fit: what stands at a key's place agrees with it on the bits that lead there."""
    key = b"key"
    digest = sha256(key).digest()
    elsewhere = bytes([digest[0] ^ 0x80]) + digest[1:]
    beside = bytes([digest[0], digest[1], digest[2] ^ 0x80]) + digest[3:]
    value = sha256(b"value").digest()
    for other, holds in ((elsewhere, False), (beside, True)):
        proof = Proof(siblings=[EMPTY] * 16, other=[other, value])
        root = climb_blindly(leaf_hash(other, value), digest, 16)
        if holds:
            assert proof.verify(root, key) is None
        else:
            with pytest.raises(Tampered):
                proof.verify(root, key)


def climb_blindly(node: bytes, digest: bytes, depth: int) -> bytes:
    """The root over a node at the place of ``digest`` with nothing beside it."""
    for at in range(depth - 1, -1, -1):
        right = int.from_bytes(digest, "big") >> (255 - at) & 1
        node = hashed(b"\2", EMPTY + node if right else node + EMPTY)
    return node
