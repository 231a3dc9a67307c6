"""Tries that change a leaf at a time are those that are built at once; crowded slots are no exception."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caremesh.ledger import authenticated_map, trie
from caremesh.ledger.authenticated_map import AuthenticatedMap, Change
from caremesh.ledger.trie import EMPTY, INNER, LEAF, NOTHING, Entry, Node

CROWD = (b"\x07\x07\x00", b"\x07\x07\x10", b"\x07\x08\x00")
"""What three slots' digests begin with; the first two are of one bucket."""

tails = st.one_of(st.integers(0, 15), st.integers(0, 15).map(lambda n: n << 225), st.integers(0, 2**228 - 1))
digests = st.builds(
    lambda n, tail: (int.from_bytes(CROWD[n], "big") << 232 | tail).to_bytes(32, "big"), st.integers(0, 2), tails
)
leaves = st.binary(min_size=32, max_size=32)
changes = st.dictionaries(digests, st.none() | leaves, max_size=24)


@pytest.fixture(scope="module")
def soon_kept() -> Iterator[None]:
    """Tries are kept in memory from the second leaf on, not from the 64th."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(authenticated_map, "KEPT_FROM", 2)
        yield


@pytest.mark.parametrize("depth", [0, 16, 20])
@settings(max_examples=40)
@given(rows=st.lists(st.tuples(digests, st.none() | leaves), max_size=40), other=digests)
def test_a_changed_trie_is_the_built_one(rows: list[tuple[bytes, bytes | None]], other: bytes, depth: int) -> None:
    node: Node | None = None
    entries: dict[bytes, bytes] = {}
    for far, leaf in rows:
        digest = near(far, depth)
        if leaf is None:
            node = trie.remove(node, digest, depth)
            entries.pop(digest, None)
        else:
            node = trie.insert(node, digest, leaf, depth)
            entries[digest] = leaf
        built = trie.build(sorted(entries.items()), depth)
        assert node == built
        assert trie.root_of(built) == trie.subtree_root(sorted(entries.items()), depth)
    other = near(other, depth)
    end, siblings = trie.walk(node, other, depth)
    assert (end is not None and end.digest == other) == (other in entries)
    assert len(siblings) == shared_depth(entries, other, depth)
    kind = INNER if len(entries) > 1 else LEAF if entries else NOTHING
    assert trie.part_of(node) == (kind, trie.root_of(node))


def near(digest: bytes, depth: int) -> bytes:
    """This digest with the first ``depth`` bits of the first crowd."""
    rest = (1 << 256 - depth) - 1
    return (int.from_bytes(CROWD[0] + bytes(29), "big") & ~rest | int.from_bytes(digest, "big") & rest).to_bytes(
        32, "big"
    )


def shared_depth(entries: dict[bytes, bytes], digest: bytes, depth: int) -> int:
    """How many inner nodes stand on the way of a digest."""
    number = int.from_bytes(digest, "big")
    at = depth
    while at < 256 and sum(int.from_bytes(one, "big") >> (256 - at) == number >> (256 - at) for one in entries) > 1:
        at += 1
    return at - depth


class Crowded:
    """A map, and all that was put into it."""

    def __init__(self, cached: int, bits: int = trie.SLOT_BITS) -> None:
        self.map = AuthenticatedMap(cached, bits)
        self.entries: dict[bytes, bytes] = {}

    def slot(self, number: int) -> list[Entry]:
        return sorted(row for row in self.entries.items() if trie.slot_of(row[0], self.map.flat.bits) == number)

    def change(self, rows: dict[bytes, bytes | None]) -> None:
        staged = self.map.stage(list(rows.items()), self.slot)
        self.map.apply(staged)
        assert self.map.root == staged.root
        self.entries = {key: leaf for key, leaf in (self.entries | rows).items() if leaf is not None}


@settings(max_examples=60)
@given(
    blocks=st.lists(changes, max_size=5), cached=st.sampled_from([0, 3, 12, 1000]), bits=st.sampled_from([17, 20, 23])
)
@pytest.mark.usefixtures("soon_kept")
def test_kept_tries_change_nothing(blocks: list[dict[bytes, bytes | None]], cached: int, bits: int) -> None:
    crowded = Crowded(cached, bits)
    for rows in blocks:
        crowded.change(rows)
        fresh = AuthenticatedMap()
        fresh.load(sorted(crowded.entries.items()))
        assert crowded.map.root == fresh.root
        for bucket in (0x0707, 0x0708):
            members = sorted(row for row in crowded.entries.items() if trie.bucket_of(row[0]) == bucket)
            assert crowded.map.trie(bucket, crowded.slot) == trie.build(members)
            assert crowded.map.flat[trie.BUCKETS + bucket] == trie.subtree_root(members)


A, B, C = ([prefix + bytes(28) + bytes([n]) for n in range(8)] for prefix in CROWD)


class Watched:
    """A map whose reads of slots are counted."""

    def __init__(self, cached: int) -> None:
        self.crowded = Crowded(cached)

    def put(self, digests: list[bytes], leaf: bytes | None = b"1" * 32) -> None:
        self.crowded.change(dict.fromkeys(digests, leaf))

    def kept(self, *crowds: list[bytes]) -> list[bool]:
        """Whether each of these slots can be changed without reading it. Asking changes nothing."""
        return [not self._reads(crowd[0]) for crowd in crowds]

    def _reads(self, digest: bytes) -> int:
        reads = 0

        def reading(number: int) -> list[Entry]:
            nonlocal reads
            reads += 1
            return self.crowded.slot(number)

        changes: list[Change] = [(digest, b"2" * 32)]
        self.crowded.map.stage(changes, reading)
        return reads


@pytest.fixture
def four_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticated_map, "KEPT_FROM", 4)


@pytest.mark.usefixtures("four_kept")
def test_a_trie_is_kept_from_its_size_on() -> None:
    watched = Watched(100)
    watched.put(A[:3])
    assert watched.kept(A) == [False]
    watched.put(A[3:4])
    assert watched.kept(A) == [True]


@pytest.mark.usefixtures("four_kept")
def test_an_empty_slot_is_not_read() -> None:
    watched = Watched(100)
    assert watched.kept(A) == [True]

    def fail(number: int) -> list[Entry]:
        raise AssertionError(number)

    assert watched.crowded.map.trie(0x0707, fail) is None
    watched.put(A)
    assert trie.root_of(watched.crowded.map.trie(0x0707, fail)) == watched.crowded.map.flat[trie.BUCKETS + 0x0707]
    assert watched.crowded.map.find(A[0], fail)[0] == A[0]


@pytest.mark.usefixtures("four_kept")
def test_the_budget_is_of_leaves_and_the_oldest_trie_goes() -> None:
    watched = Watched(12)
    watched.put(A[:6])
    watched.put(B[:6])
    assert watched.kept(A, B) == [True, True]
    watched.put(C[:4])
    assert watched.kept(A, B, C) == [False, True, True]
    watched.put(B[:1], b"3" * 32)  # used again, so younger than C; 10 leaves as before
    assert watched.kept(A, B, C) == [False, True, True]
    watched.put(A[:1], b"3" * 32)
    assert watched.kept(A, B, C) == [True, True, False]


@pytest.mark.usefixtures("four_kept")
def test_the_budget_counts_what_comes_and_goes() -> None:
    watched = Watched(12)
    watched.put(A[:6])
    watched.put(B[:4])
    for _ in range(3):
        watched.put(A[:3], b"3" * 32)  # replaced: still 10
        watched.put(A[3:5], None)
        watched.put([*A[6:], *A[3:5]])  # two went and four came
        watched.put(A[6:], None)
        watched.put(A[6:], None)  # what is not there counts nothing
    assert watched.kept(A, B) == [True, True]
    watched.put(B[4:6])  # 12
    assert watched.kept(A, B) == [True, True]
    watched.put(B[6:7])  # 13
    assert watched.kept(A, B) == [False, True]
    watched.put(B[4:7], None)
    watched.put(C)  # 4 and 8
    assert watched.kept(A, B, C) == [False, True, True]
    watched.put(A)
    assert watched.kept(A, B, C) == [True, False, False]


@pytest.mark.usefixtures("four_kept")
def test_the_last_trie_stays_however_large() -> None:
    watched = Watched(0)
    watched.put(A)
    assert watched.kept(A) == [True]
    watched.put(B)
    assert watched.kept(A, B) == [False, True]


def test_the_hashes_are_those_of_the_definition() -> None:
    one, two = b"1" * 32, b"2" * 32
    assert trie.leaf_hash(one, two) == trie.sha256(b"\0" + one + two).digest()
    assert trie.inner_hash(one, two) == trie.sha256(b"\1" + one + two).digest()
    assert trie.upper_hash(one, two) == trie.sha256(b"\2" + one + two).digest()
    assert trie.root_of(None) == EMPTY == bytes(32)


@pytest.mark.parametrize("bits", [trie.SLOT_BITS, authenticated_map.MOST_SLOT_BITS])
def test_slots_are_loaded_as_they_are_staged(bits: int) -> None:
    """First and last slots of the tree, of a bucket and of its neighbours."""
    slots, width = 1 << bits, 1 << bits - 16
    numbers = [0, 1, width - 1, width, width + 1, 2 * width - 1, slots // 2 - 1, slots // 2, slots - width, slots - 1]
    entries = [((number << 256 - bits).to_bytes(32, "big"), b"%032d" % number) for number in numbers]
    loaded, staged = AuthenticatedMap(bits=bits), AuthenticatedMap(bits=bits)
    loaded.load(entries)
    staged.apply(staged.stage(entries, lambda _: []))
    assert loaded.root == staged.root
    for digest, leaf in entries:
        place = slots + trie.slot_of(digest, bits)
        assert loaded.flat.part(place) == staged.flat.part(place) == (LEAF, leaf)
        assert (loaded.flat[place], loaded.flat.kind(trie.slot_of(digest, bits))) == (leaf, LEAF)


@pytest.mark.parametrize(
    ("keys", "bits"), [(0, 20), (4 << 20, 21), ((4 << 20) - 1, 20), (11_000_000, 22), (1 << 40, 24)]
)
def test_slots_are_as_many_as_keys_ask_for(keys: int, bits: int) -> None:
    assert authenticated_map.bits_for(keys) == bits
    assert 64 << authenticated_map.bits_for(1 << 60) == 2**30  # bytes of the array: at most a GiB
