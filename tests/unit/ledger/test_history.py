"""The transaction log is an RFC 6962 tree."""

from __future__ import annotations

from hashlib import sha256

import pytest

from caremesh.errors import BadInput, Tampered
from caremesh.ledger import history

EMPTY = history.Frontier(0, [], sha256(b"").digest())


def test_the_roots_of_the_published_example() -> None:
    """Inputs and roots of the test data that accompanies RFC 6962 (certificate-transparency, merkletree)."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    roots = {
        0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    leaves = [history.leaf_hash(bytes.fromhex(data)) for data in inputs]
    for size, root in roots.items():
        assert history.tree_root(leaves[:size]).hex() == root


def definition(leaves: list[bytes]) -> bytes:
    """Section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\1" + definition(leaves[:split]) + definition(leaves[split:])).digest()


def test_every_size_path_and_peak() -> None:
    leaves = [history.leaf_hash(b"%d" % number) for number in range(40)]
    log, nodes = EMPTY, dict[tuple[int, int], bytes]()
    for size, leaf in enumerate(leaves, start=1):
        log, made = history.append(log, [leaf])
        nodes.update({(level, index): digest for level, index, digest in made})
        assert log.root == definition(leaves[:size])
        for level, index, digest in history.peaks_of(log):
            assert nodes[level, index] == digest
        for index in range(size):
            path = history.path(lambda level, at: nodes[level, at], index, size)
            history.check_path(log.root, size, index, leaves[index], path)
            for wrong in (path[1:], [*path, bytes(32)], [bytes(32)] * len(path)):
                if wrong != path:
                    with pytest.raises(Tampered, match=r"history\.01"):
                        history.check_path(log.root, size, index, leaves[index], wrong)
            with pytest.raises(Tampered):
                history.check_path(log.root, size, index, history.leaf_hash(b"else"), path)
            with pytest.raises(Tampered):
                history.check_path(log.root, size, size, leaves[index], path)


@pytest.mark.promise("P4")
def test_leaves_one_after_the_other_are_proven_together() -> None:
    leaves = [history.leaf_hash(b"%d" % number) for number in range(20)]
    for size in range(1, len(leaves) + 1):
        log, made = history.append(EMPTY, leaves[:size])
        nodes = {(level, index): digest for level, index, digest in made}
        for start in range(size):
            for end in range(start + 1, size + 1):
                beside = history.outside(lambda level, at: nodes[level, at], start, end, size)  # noqa: B023 - used here
                assert len(beside) <= 2 * size.bit_length()
                history.check_leaves(log.root, size, start, leaves[start:end], beside)
                if end == start + 1:
                    assert sorted(beside) == sorted(history.path(lambda level, at: nodes[level, at], start, size))  # noqa: B023


@pytest.mark.promise("P4")
def test_leaves_that_are_others_fewer_more_or_elsewhere_are_not_proven() -> None:
    leaves = [history.leaf_hash(b"%d" % number) for number in range(13)]
    log, made = history.append(EMPTY, leaves)
    nodes = {(level, index): digest for level, index, digest in made}
    beside = history.outside(lambda level, at: nodes[level, at], 3, 9, 13)
    own = leaves[3:9]
    wrong = {
        "another": (13, 3, [*own[:2], bytes(32), *own[3:]], beside),
        "exchanged": (13, 3, [own[1], own[0], *own[2:]], beside),
        "one fewer": (13, 3, own[:-1], beside),
        "one more": (13, 3, [*own, leaves[9]], beside),
        "one later": (13, 4, own, beside),
        "one earlier": (13, 2, own, beside),
        "another length": (12, 3, own, beside),
        "beyond the end": (13, 9, own, beside),
        "none": (13, 3, [], beside),
        "nothing beside": (13, 3, own, []),
        "too little beside": (13, 3, own, beside[:-1]),
        "too much beside": (13, 3, own, [*beside, bytes(32)]),
        "before the first": (13, -1, own, beside),
    }
    for size, start, these, around in wrong.values():
        with pytest.raises(Tampered, match=r"history\.01") as caught:
            history.check_leaves(log.root, size, start, these, around)
        assert caught.value.place == f"leaves {start} to {start + len(these)}"
    for start, end in ((3, 3), (4, 3), (-1, 2), (3, 14)):
        with pytest.raises(BadInput, match=r"history\.02") as missing:
            history.outside(lambda _level, _index: b"", start, end, 13)
        assert missing.value.place == f"leaves {start} to {end} of 13"


def test_appending_one_by_one_or_at_once_is_the_same() -> None:
    leaves = [history.leaf_hash(b"%d" % number) for number in range(23)]
    at_once, nodes = history.append(EMPTY, leaves)
    half, first = history.append(EMPTY, leaves[:9])
    whole, second = history.append(half, leaves[9:])
    assert whole == at_once
    assert sorted(first + second) == sorted(nodes)


def test_a_leaf_that_is_not_there_has_no_path() -> None:
    for index, size in ((0, 0), (3, 3), (-1, 3)):
        with pytest.raises(BadInput, match=r"history\.02") as caught:
            history.path(lambda _level, _index: b"", index, size)
        assert caught.value.place == f"leaf {index} of {size}"


def test_what_is_not_included_is_named() -> None:
    leaves = [history.leaf_hash(b"%d" % number) for number in range(5)]
    root = history.tree_root(leaves)
    for size, index, path in ((5, 5, []), (1, 0, leaves[:1]), (5, 2, leaves[:3])):
        with pytest.raises(Tampered) as caught:
            history.check_path(root, size, index, leaves[0], path)
        assert caught.value.place == f"leaf {index}"


def test_a_frontier_has_a_peak_for_each_bit_of_its_size() -> None:
    log, _ = history.append(EMPTY, [history.leaf_hash(b"%d" % number) for number in range(6)])
    assert [(level, index) for level, index, _ in history.peaks_of(log)] == [(2, 0), (1, 2)]
    with pytest.raises(ValueError, match="zip"):
        history.peaks_of(history.Frontier(6, log.peaks[:1], log.root))
