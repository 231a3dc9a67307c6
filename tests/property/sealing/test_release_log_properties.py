"""Anchored heads: what is there is proven, what is not is proven absent, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from caremesh.errors import Tampered
from caremesh.sealing.release_log import START, Anchor, LogHead, check_head, root_of

STREAMS = st.binary(min_size=32, max_size=32)
HEADS = st.builds(LogHead, st.integers(1, 99), STREAMS)
NONE = LogHead(0, START)


@given(heads=st.dictionaries(STREAMS, HEADS, max_size=20), asked=STREAMS)
def test_every_head_and_every_absence_is_proven(heads: dict[bytes, LogHead], asked: bytes) -> None:
    anchor = Anchor(heads)
    for stream in [*heads, asked]:
        assert check_head(anchor.root, stream, anchor.prove(stream)) == heads.get(stream, NONE)
        assert root_of(anchor.prove(stream)) == anchor.root


@pytest.mark.promise("P6")
@given(heads=st.dictionaries(STREAMS, HEADS, min_size=1, max_size=20), data=st.data())
def test_no_stream_that_is_there_is_shown_absent_nor_another_head_shown(
    heads: dict[bytes, LogHead], data: st.DataObject
) -> None:
    anchor, names = Anchor(heads), sorted(heads)
    victim = data.draw(st.sampled_from(names))
    leaves = [anchor.prove(name).leaves[0] for name in names]
    picked = data.draw(st.lists(st.sampled_from(leaves), max_size=2))
    size = data.draw(st.sampled_from([len(names), 0, len(names) + 1, max(0, len(names) - 1)]))
    proof = replace(anchor.prove(victim), leaves=picked, size=size)
    try:
        found = check_head(anchor.root, victim, proof)
    except Tampered:
        return
    assert found == heads[victim]


@given(heads=st.dictionaries(STREAMS, HEADS, min_size=1, max_size=9), other=STREAMS)
def test_a_proof_is_of_one_root(heads: dict[bytes, LogHead], other: bytes) -> None:
    anchor = Anchor(heads)
    stream = min(heads)
    if other != anchor.root:
        with pytest.raises(Tampered, match=r"custody\.07"):
            check_head(other, stream, anchor.prove(stream))
