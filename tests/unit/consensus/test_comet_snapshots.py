"""State sync between two applications, without CometBFT: what is listed, offered, refused, gathered, gone on from."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec import structs

from caremesh import codec
from caremesh.consensus.cometbft.abci_pb2 import (
    Request,
    RequestInfo,
    ResponseApplySnapshotChunk,
    ResponseOfferSnapshot,
    Snapshot,
)
from caremesh.ledger.snapshot import CHUNKS
from caremesh.ledger.verify import check_store
from tests.support.comet_chain import Chain, Node
from tests.support.kv import NODE, START_S, VALUES, Delete, Put, Refuse, transaction

ACCEPT, ABORT, REJECT = ResponseOfferSnapshot.ACCEPT, ResponseOfferSnapshot.ABORT, ResponseOfferSnapshot.REJECT
REJECT_FORMAT, REJECT_SENDER = ResponseOfferSnapshot.REJECT_FORMAT, ResponseOfferSnapshot.REJECT_SENDER
TAKEN, AGAIN = ResponseApplySnapshotChunk.ACCEPT, ResponseApplySnapshotChunk.RETRY


class Source(NamedTuple):
    """A node with a snapshot of height 2, two blocks further on; its transactions, and the chunks."""

    node: Node
    chain: Chain
    sent: list[bytes]
    snapshot: Snapshot
    app_hash: bytes
    chunks: list[bytes]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    node, chain = Node(tmp_path_factory.mktemp("source")), Chain()
    sent = [transaction(Put(key=b"%d" % at, value=b"%d" % at)) for at in range(40)]
    sent += [transaction(Refuse(key=b"1")), transaction(Delete(key=b"3"))]
    node.take(chain.next(node.machine.head.app_hash), *sent)
    node.take(chain.next(node.machine.head.app_hash), transaction(Put(key=b"b", value=b"2")))
    app_hash = node.machine.head.app_hash
    assert node.listed() == [], "CometBFT would look for headers that are not there yet"
    for _ in range(2):
        node.take(chain.next(node.machine.head.app_hash), transaction(Put(key=b"later", value=b"2")))
    (snapshot,) = node.listed()
    chunks = [node.chunk(2, number) for number in range(CHUNKS)]
    yield Source(node, chain, sent, snapshot, app_hash, chunks)
    node.close()


@pytest.fixture
def joiner(tmp_path: Path, source: Source) -> Iterator[Node]:
    made = Node(tmp_path, joining=source.chain.joining())
    yield made
    made.close()


def offer(joiner: Node, source: Source) -> None:
    assert joiner.offer(source.snapshot, source.app_hash) == ACCEPT


def untouched(joiner: Node) -> bool:
    return joiner.machine.head.height == 0 and VALUES.get(joiner.machine.reader(), b"b") is None


@pytest.mark.promise("P7")
def test_who_joins_goes_on_like_those_who_were_there(joiner: Node, source: Source) -> None:
    offer(joiner, source)
    for number in range(CHUNKS):
        assert untouched(joiner)
        assert joiner.apply(number, source.chunks[number]).result == TAKEN
    assert joiner.joined == 1
    info = joiner.application.answer(Request(info=RequestInfo())).info
    assert (info.last_block_height, info.last_block_app_hash) == (2, source.app_hash)
    assert check_store(joiner.machine.store).keys > 40
    joiner.take(source.chain.headers[2], transaction(Put(key=b"later", value=b"2"), salt=b"other..."))
    first = source.chain.headers[2]
    assert joiner.record().signed.own().validators == first.validators
    assert joiner.record().signed.own().previous == source.chain.headers[1].hash()


@pytest.mark.promise("P7")
def test_refused_expired_and_replayed_are_decided_alike(tmp_path: Path, source: Source) -> None:
    chain = Chain()
    one = Node(tmp_path / "one")
    first = transaction(Put(key=b"a", value=b"1"), salt=b"12345678")
    one.take(chain.next(one.machine.head.app_hash), first, *source.sent)
    one.take(chain.next(one.machine.head.app_hash, 30))
    app_hash = one.machine.head.app_hash
    for _ in range(2):
        chain.next(app_hash)
    late = Node(tmp_path / "late", joining=chain.joining())
    late.clock.now += 60
    try:
        one.take(chain.headers[2])
        one.take(chain.headers[3])
        (snapshot,) = one.listed()
        assert late.offer(snapshot, app_hash) == ACCEPT
        for number in range(CHUNKS):
            late.apply(number, one.chunk(2, number))
        late.take(chain.headers[2])
        late.take(chain.headers[3])
        assert late.machine.head == one.machine.head
        block = [
            first,
            source.sent[40],
            transaction(Put(key=b"x", value=b"1"), expires_at=chain.headers[3].time - 1),
            transaction(Put(key=b"x", value=b"1"), expires_at=START_S + 10**6),
            transaction(Put(key=b"x", value=b"1"), key=NODE),
            transaction(Refuse(key=b"x")),
            transaction(Put(key=b"x", value=b"1")),
            b"nonsense",
        ]
        five = chain.next(app_hash)
        told, answer = one.take(five, *block), late.take(five, *block)
        assert told == answer
        codes = [row.data.decode() for row in told.tx_results]
        assert codes[:7] == ["ledger.09", "ledger.09", "ledger.07", "ledger.08", "kv.02", "kv.01", ""]
        assert (late.machine.head, late.record()) == (one.machine.head, one.record())
        one.settle()
        six = chain.next(one.machine.head.app_hash)
        assert one.take(six) == late.take(six)
        assert one.files.listed(6)[-1] == late.files.listed(6)[-1], "and its next snapshot is the same, byte for byte"
        assert [one.chunk(6, at) for at in range(CHUNKS)] == [late.chunk(6, at) for at in range(CHUNKS)]
    finally:
        one.close()
        late.close()


def test_chunks_come_in_any_order_and_more_than_once(joiner: Node, source: Source) -> None:
    offer(joiner, source)
    for number in reversed(range(1, CHUNKS)):
        assert joiner.apply(number, source.chunks[number]).result == TAKEN
        assert joiner.apply(number, source.chunks[number]).result == TAKEN
    assert untouched(joiner)
    assert joiner.apply(0, source.chunks[0]).result == TAKEN
    assert joiner.machine.head.height == 2
    assert joiner.apply(0, source.chunks[0]).result == ResponseApplySnapshotChunk.ABORT, "it is over"


def test_a_chunk_in_the_place_of_another_is_asked_for_again_of_somebody_else(joiner: Node, source: Source) -> None:
    offer(joiner, source)
    full = [at for at, chunk in enumerate(source.chunks) if len(chunk) > 1]
    for at, other in ((full[0], full[1]), (full[1], full[0])):
        answer = joiner.apply(at, source.chunks[other], "liar")
        assert (answer.result, list(answer.refetch_chunks), list(answer.reject_senders)) == (AGAIN, [at], ["liar"])
    assert list(joiner.apply(full[0], b"", "").reject_senders) == []
    wrong = joiner.apply(full[0], source.chunks[full[0]] + b"\0")
    assert wrong.result == AGAIN
    for number in range(CHUNKS):
        assert joiner.apply(number, source.chunks[number]).result == TAKEN
    assert joiner.machine.head.height == 2, "what was refused did no harm"


@pytest.mark.promise("P6")
def test_a_value_that_is_not_the_one_of_the_root_is_asked_for_again(joiner: Node, source: Source) -> None:
    offer(joiner, source)
    at = next(at for at, chunk in enumerate(source.chunks) if len(chunk) > 1)
    rows = codec.decode(source.chunks[at])
    for other in ([rows[0], rows[1] + b"1", *rows[2:]], rows[2:], [*rows[:-1], b""]):
        assert joiner.apply(at, codec.encode(other)).result == AGAIN
    assert joiner.apply(at, source.chunks[at]).result == TAKEN


def test_who_signs_the_next_block_is_said_by_the_newest_record(joiner: Node, source: Source) -> None:
    offer(joiner, source)
    for number in range(CHUNKS):
        joiner.apply(number, source.chunks[number])
    joiner.take(structs.replace(source.chain.headers[2], next_validators=b"n" * 32))
    joiner.take(source.chain.headers[3])
    assert joiner.record().signed.own().validators == b"n" * 32


def test_a_chunk_beyond_the_last_ends_the_snapshot(joiner: Node, source: Source) -> None:
    offer(joiner, source)
    for number in (CHUNKS, 2**32 - 1):
        assert joiner.apply(number, source.chunks[0]).result == ResponseApplySnapshotChunk.REJECT_SNAPSHOT


def test_an_offer_begins_anew(joiner: Node, source: Source) -> None:
    offer(joiner, source)
    for number in range(CHUNKS - 1):
        joiner.apply(number, source.chunks[number])
    offer(joiner, source)
    joiner.apply(CHUNKS - 1, source.chunks[-1])
    assert untouched(joiner)
    for number in range(CHUNKS):
        joiner.apply(number, source.chunks[number])
    assert joiner.machine.head.height == 2


def test_a_crash_in_the_middle_leaves_a_node_that_can_begin_again(tmp_path: Path, source: Source) -> None:
    joiner = Node(tmp_path, joining=source.chain.joining())
    offer(joiner, source)
    for number in range(CHUNKS - 1):
        joiner.apply(number, source.chunks[number])
    assert joiner.snapshots._taking is not None
    joiner.snapshots._taking[1].close()
    joiner.snapshots._taking = None  # as when the process had ended: nothing is cleared up
    joiner.machine.store.close()
    assert (tmp_path / "state" / "joined" / "data.mdb").exists()
    again = Node(tmp_path, joining=source.chain.joining())
    try:
        assert untouched(again)
        offer(again, source)
        for number in range(CHUNKS):
            again.apply(number, source.chunks[number])
        assert again.machine.head.app_hash == source.app_hash
        assert not (tmp_path / "state" / "joined").exists()
    finally:
        again.close()


def bent(source: Source, **changed: object) -> Snapshot:
    """The snapshot with another manifest, and the hash that fits to it."""
    manifest = codec.encode({**codec.decode(source.snapshot.metadata), **changed})
    return Snapshot(height=2, format=1, chunks=CHUNKS, hash=sha256(manifest).digest(), metadata=manifest)


@pytest.mark.promise("P6")
@pytest.mark.parametrize("name", ["chain", "genesis", "height", "time", "app_hash", "header", "roots", "v"])
def test_a_manifest_is_what_verified_headers_say(joiner: Node, source: Source, name: str) -> None:
    fields = codec.decode(source.snapshot.metadata)
    other = {
        "chain": "other",
        "genesis": bytes(32),
        "height": 3,
        "time": fields["time"] - 1,
        "app_hash": bytes(32),
        "header": bytes(32),
        "roots": [*fields["roots"][1:], fields["roots"][0]],
        "v": 2,
    }
    assert joiner.offer(bent(source, **{name: other[name]}), source.app_hash) == REJECT_SENDER
    assert joiner.offer(bent(source), source.app_hash) == ACCEPT


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"height": 3}, REJECT_SENDER),
        ({"format": 2}, REJECT_FORMAT),
        ({"chunks": CHUNKS - 1}, REJECT_SENDER),
        ({"hash": bytes(32)}, REJECT_SENDER),
        ({"metadata": b""}, REJECT_SENDER),
    ],
)
def test_an_offer_is_what_its_manifest_says(
    joiner: Node, source: Source, changed: dict[str, bytes | int], verdict: int
) -> None:
    snapshot = Snapshot()
    snapshot.CopyFrom(source.snapshot)
    for name, value in changed.items():
        setattr(snapshot, name, value)
    assert joiner.offer(snapshot, source.app_hash) == verdict
    assert joiner.offer(source.snapshot, bytes(32)) == REJECT_SENDER, "of the app hash that CometBFT has verified"
    assert joiner.apply(0, source.chunks[0]).result == ResponseApplySnapshotChunk.ABORT


def test_a_snapshot_whose_header_nobody_gives_is_left_alone(tmp_path: Path, source: Source) -> None:
    chain = Chain()
    chain.headers = source.chain.headers[:2]  # the third holds the app hash
    joiner = Node(tmp_path, joining=chain.joining())
    assert joiner.offer(source.snapshot, source.app_hash) == REJECT
    joiner.close()


def test_what_is_here_is_not_exchanged_for_what_is_older(joiner: Node, source: Source) -> None:
    other = Chain()
    for _ in range(3):
        joiner.take(other.next(joiner.machine.head.app_hash))
    assert joiner.offer(source.snapshot, source.app_hash) == REJECT
    assert joiner.machine.head.height == 3


def test_who_does_not_join_takes_nothing(source: Source) -> None:
    assert source.node.offer(source.snapshot, source.app_hash) == ABORT
    assert source.node.apply(0, source.chunks[0]).result == ResponseApplySnapshotChunk.ABORT


def test_a_chunk_that_is_not_here_is_nothing(source: Source) -> None:
    assert source.chunks[0]
    assert [source.node.chunk(*asked) for asked in ((1, 0), (2, 256), (2**63, 0), (2, 2**32 - 1), (2, 0, 2))] == [
        b""
    ] * 5
