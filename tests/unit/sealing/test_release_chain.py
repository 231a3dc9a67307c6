"""A release log that omits, reorders or changes an entry does not hold together."""

import msgspec
import pytest

from caremesh import codec
from caremesh.crypto.hashes import sha256, tagged_hash
from caremesh.errors import Tampered
from caremesh.sealing.release_log import (
    START,
    Anchor,
    LogEntry,
    LogHead,
    check_anchored,
    check_chain,
    check_head,
    link_of,
)

STREAM = bytes(range(32))


def chain(length: int) -> tuple[list[LogEntry], LogHead]:
    entries: list[LogEntry] = []
    link = START
    for index in range(length):
        entry = LogEntry(STREAM, index, link, bytes([index]) * 32, codec.cid_of_raw(bytes([index])), 100 + index)
        entries.append(entry)
        link = link_of(entry)
    return entries, LogHead(length, link)


@pytest.mark.parametrize("length", [0, 1, 5])
def test_a_true_chain_holds(length: int) -> None:
    check_chain(STREAM, *chain(length))


@pytest.mark.promise("P2")
def test_every_way_to_lie_is_named() -> None:
    entries, head = chain(4)
    changed = [*entries[:2], msgspec.structs.replace(entries[2], receipt=bytes(32)), entries[3]]
    lies = {
        "omits the last": (entries[:3], head, "head"),
        "omits one": ([entries[0], *entries[2:]], head, "entry 1"),
        "omits the first": (entries[1:], head, "entry 0"),
        "swaps two": ([entries[0], entries[2], entries[1], entries[3]], head, "entry 1"),
        "changes one": (changed, head, "entry 3"),
        "changes the last": ([*entries[:3], msgspec.structs.replace(entries[3], at=0)], head, "head"),
        "counts wrong": (entries, LogHead(5, head.link), "head"),
        "hides all": ([], head, "head"),
        "claims one": (entries, LogHead(0, START), "head"),
        "forks": (entries, LogHead(4, bytes(32)), "head"),
    }
    for name, (told, told_head, place) in lies.items():
        with pytest.raises(Tampered, match=r"custody\.04") as caught:
            check_chain(STREAM, told, told_head)
        assert caught.value.place == place, name


def test_entries_of_another_stream_do_not_count() -> None:
    entries, head = chain(2)
    with pytest.raises(Tampered, match=r"custody\.04") as caught:
        check_chain(bytes(32), entries, head)
    assert caught.value.place == "entry 0"


def test_indices_are_checked_even_when_links_are_right() -> None:
    first = LogEntry(STREAM, 1, START, bytes(32), codec.cid_of_raw(b""), 1)
    with pytest.raises(Tampered, match=r"custody\.04"):
        check_chain(STREAM, [first], LogHead(1, link_of(first)))


def test_a_log_begins_with_what_was_anchored_of_it() -> None:
    entries, head = chain(3)
    other = bytes([9]) * 32
    for anchored in range(4):
        part = LogHead(anchored, link_of(entries[anchored - 1]) if anchored else START)
        anchor = Anchor({STREAM: part} if anchored else {other: LogHead(1, other)})
        proof = anchor.prove(STREAM)
        assert check_anchored(STREAM, entries, anchor.root, proof) == part
        assert check_anchored(STREAM, entries[:anchored], anchor.root, proof) == part
        if anchored:
            for told in (entries[: anchored - 1], [*entries[: anchored - 1], entries[0 if anchored > 1 else 1]]):
                with pytest.raises(Tampered, match=r"custody\.07") as caught:
                    check_anchored(STREAM, told, anchor.root, proof)
                assert caught.value.place == f"entry {anchored}"
    with pytest.raises(Tampered, match=r"custody\.07") as caught:
        check_anchored(STREAM, entries, bytes(32), Anchor({STREAM: head}).prove(STREAM))
    assert caught.value.place == "root"


def test_roots_and_leaves_follow_from_the_design() -> None:
    """RFC 6962: H(0 ‖ leaf), H(1 ‖ left ‖ right); of nothing H()."""
    heads = {bytes([number]) * 32: LogHead(number, bytes([9]) * 32) for number in (1, 2)}
    leaves = [sha256(b"\0" + codec.encode([stream, head])) for stream, head in sorted(heads.items())]
    for tree, anchor in (
        (sha256(b""), Anchor({})),
        (leaves[0], Anchor({bytes([1]) * 32: heads[bytes([1]) * 32]})),
        (sha256(b"\1" + leaves[0] + leaves[1]), Anchor(heads)),
    ):
        size = len(anchor.heads())
        assert anchor.root == tagged_hash("caremesh/v1/release-log/root", size.to_bytes(8), tree)
    assert Anchor(heads).count == 3


STREAMS = [bytes([number]) * 32 for number in (2, 4, 6, 8)]
ANCHOR = Anchor({stream: LogHead(1, stream) for stream in STREAMS})
LEAVES = [ANCHOR.prove(stream).leaves[0] for stream in STREAMS]
ABSENT = [bytes([number]) * 32 for number in (1, 3, 5, 7, 9)]


def test_neighbours_show_what_is_not_there() -> None:
    assert [len(ANCHOR.prove(stream).leaves) for stream in ABSENT] == [1, 2, 2, 2, 1]
    for stream in ABSENT:
        assert check_head(ANCHOR.root, stream, ANCHOR.prove(stream)) == LogHead(0, START)
    for stream in STREAMS:
        assert check_head(ANCHOR.root, stream, ANCHOR.prove(stream)) == LogHead(1, stream)


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("stream", "shown"),
    [
        (STREAMS[1], [1, 2]),
        (STREAMS[1], [0, 1]),
        (STREAMS[1], [0, 2]),
        (STREAMS[0], [3]),
        (STREAMS[3], [0]),
        (STREAMS[1], []),
        (ABSENT[1], [1, 0]),
        (ABSENT[1], [1]),
        (ABSENT[1], [0]),
        (ABSENT[0], [3]),
        (ABSENT[4], [2]),
        (ABSENT[4], [0]),
        (ABSENT[0], [0, 1]),
        (ABSENT[1], [0, 1, 2]),
        (ABSENT[1], []),
    ],
)
def test_nothing_else_shows_it(stream: bytes, shown: list[int]) -> None:
    proof = msgspec.structs.replace(ANCHOR.prove(STREAMS[0]), leaves=[LEAVES[at] for at in shown])
    with pytest.raises(Tampered, match=r"custody\.07") as caught:
        check_head(ANCHOR.root, stream, proof)
    assert caught.value.place == "neighbours"


@pytest.mark.promise("P6")
def test_a_leaf_is_under_the_root_at_its_place() -> None:
    proof = ANCHOR.prove(STREAMS[1])
    [leaf] = proof.leaves
    replace = msgspec.structs.replace
    for other in (
        replace(leaf, head=LogHead(2, STREAMS[1])),
        replace(leaf, stream=ABSENT[1]),
        replace(leaf, index=0),
        replace(leaf, path=leaf.path[:1]),
    ):
        with pytest.raises(Tampered, match=r"custody\.07") as caught:
            check_head(ANCHOR.root, STREAMS[1], replace(proof, leaves=[other]))
        assert caught.value.place == "path"
