"""A stream's blocks at the members where it is placed: the source's first, the next in order for each that fails."""

from __future__ import annotations

import pytest

from caremesh import codec
from caremesh.blobs.errors import OVER_QUOTA
from caremesh.blobs.memory import MemoryBlocks
from caremesh.blobs.placed import PlacedBlocks
from caremesh.blobs.placement import placed
from caremesh.errors import CareMeshError, Refused, Unavailable

MEMBERS = [f"did:caremesh:demo:{letter * 32}" for letter in "abcde"]
STREAMS = [bytes([number]) * 32 for number in range(20)]
DATA = b"ciphertext"
NAME = codec.cid_of_raw(DATA)


class Full(MemoryBlocks):
    """Takes nothing."""

    def put_many(self, held: object) -> None:
        raise Refused(OVER_QUOTA, str(held)[:0])


class Told(list[tuple[str, str]]):
    """Who failed, and why."""

    def __call__(self, did: str, error: CareMeshError) -> None:
        self.append((did, error.code))


@pytest.mark.parametrize("source", MEMBERS[:2])
def test_where_blocks_go(source: str) -> None:
    for stream in STREAMS:
        stores, told = {did: MemoryBlocks() for did in MEMBERS}, Told()
        blocks = PlacedBlocks(stream, source, stores, lambda: 3, told)
        blocks.put({})
        blocks.put({NAME: DATA})
        assert {did for did, store in stores.items() if store.has(NAME)} == set(placed(stream, source, MEMBERS)[:3])
        assert blocks.get(NAME) == DATA
        assert {code for _, code in told} <= {"blobs.02"}, "who is asked first and holds none"


@pytest.mark.promise("P10")
def test_who_fails_is_told_and_the_next_takes_its_place() -> None:
    stream, told = STREAMS[0], Told()
    order = placed(stream, MEMBERS[0], MEMBERS)
    stores = {did: Full() if did == order[1] else MemoryBlocks() for did in MEMBERS}
    blocks = PlacedBlocks(stream, MEMBERS[0], stores, lambda: 3, told)
    blocks.put({NAME: DATA})
    assert told == [(order[1], "blobs.05")]
    assert {did for did, store in stores.items() if store.has(NAME)} == {order[0], order[2], order[3]}
    with pytest.raises(Unavailable, match=r"blobs\.09"):
        blocks.get(codec.cid_of_raw(b"another"))
