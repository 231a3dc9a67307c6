"""A snapshot with one flipped bit anywhere, in its metadata or in a chunk, is never taken for the state."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from caremesh.consensus.cometbft.abci_pb2 import ResponseApplySnapshotChunk, ResponseOfferSnapshot, Snapshot
from caremesh.ledger.snapshot import CHUNKS
from tests.support.comet_chain import Chain, Node
from tests.support.kv import Put, transaction

ACCEPT = ResponseOfferSnapshot.ACCEPT
TAKEN = ResponseApplySnapshotChunk.ACCEPT


class Offered:
    """A snapshot; a node that would like to have it, and one that waits for its chunks."""

    def __init__(self, one: Node, late: Node, taking: Node, app_hash: bytes) -> None:
        self.late, self.taking, self.snapshot, self.app_hash = late, taking, one.listed()[0], app_hash
        self.chunks = [one.chunk(2, number) for number in range(CHUNKS)]
        self.full = [number for number, chunk in enumerate(self.chunks) if len(chunk) > 1]


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offered]:
    chain, one = Chain(), Node(tmp_path_factory.mktemp("one"))
    one.take(chain.next(one.machine.head.app_hash), transaction(*(Put(key=b"%d" % at, value=b"1") for at in range(60))))
    one.take(chain.next(one.machine.head.app_hash))
    app_hash = one.machine.head.app_hash
    one.take(chain.next(app_hash))
    one.take(chain.next(app_hash))
    late, taking = (Node(tmp_path_factory.mktemp(name), joining=chain.joining()) for name in ("late", "taking"))
    found = Offered(one, late, taking, app_hash)
    assert taking.offer(found.snapshot, app_hash) == ACCEPT
    yield found
    assert taking.apply(found.full[0], found.chunks[found.full[0]]).result == TAKEN, "it still waits"
    for node in (late, taking, one):
        node.close()


def flipped(data: bytes, at: int, bit: int) -> bytes:
    place = at % len(data)
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


@pytest.mark.promise("P6")
@given(at=st.integers(0, 2**20), bit=st.integers(0, 7))
def test_a_changed_bit_of_the_metadata_is_never_accepted(offered: Offered, at: int, bit: int) -> None:
    metadata = flipped(offered.snapshot.metadata, at, bit)
    name = sha256(metadata).digest()  # a liar's, who names what he offers rightly
    snapshot = Snapshot(height=2, format=1, chunks=CHUNKS, hash=name, metadata=metadata)
    assert offered.late.offer(snapshot, offered.app_hash) != ACCEPT
    assert offered.late.machine.head.height == 0


@pytest.mark.promise("P6")
@given(number=st.integers(0, 2**20), at=st.integers(0, 2**20), bit=st.integers(0, 7), empty=st.booleans())
def test_a_changed_bit_of_a_chunk_is_asked_for_again(
    offered: Offered, number: int, at: int, bit: int, empty: bool
) -> None:
    index = number % CHUNKS if empty else offered.full[number % len(offered.full)]
    told = offered.taking.apply(index, flipped(offered.chunks[index], at, bit), "liar")
    assert told.result == ResponseApplySnapshotChunk.RETRY
    assert (list(told.refetch_chunks), list(told.reject_senders)) == ([index], ["liar"])
    assert offered.taking.machine.head.height == 0


@pytest.mark.promise("P6")
@given(number=st.integers(0, CHUNKS - 1), data=st.binary(max_size=60))
def test_any_bytes_in_place_of_a_chunk_are_refused(offered: Offered, number: int, data: bytes) -> None:
    assume(data != offered.chunks[number])
    assert offered.taking.apply(number, data).result == ResponseApplySnapshotChunk.RETRY
    assert offered.taking.machine.head.height == 0
