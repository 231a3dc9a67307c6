"""Messages of ABCI: whole again after any cut, refused when they are none, and as the .proto says."""

from __future__ import annotations

from pathlib import Path

import pytest

from caremesh.consensus.cometbft.abci_pb2 import Request, RequestCheckTx, RequestEcho, Response, ResponseFinalizeBlock
from caremesh.consensus.cometbft.framing import MAX_MESSAGE_BYTES, Frames, framed
from caremesh.errors import BadInput
from caremesh.ledger.comet import varint
from tools import abci_messages

REQUESTS = [
    Request(echo=RequestEcho(message="a" * 300)),
    Request(),
    Request(check_tx=RequestCheckTx(tx=bytes(20_000))),
    Request(echo=RequestEcho(message="b")),
]


def framed_request(request: Request) -> bytes:
    message = request.SerializeToString()
    return varint(len(message)) + message


@pytest.mark.parametrize("piece", [1, 2, 7, 300, 10**6])
def test_requests_are_whole_in_whatever_pieces_they_come(piece: int) -> None:
    data = b"".join(map(framed_request, REQUESTS))
    frames = Frames()
    found = [request for at in range(0, len(data), piece) for request in frames.feed(data[at : at + piece])]
    assert found == REQUESTS


def test_all_requests_of_a_piece_come_at_once() -> None:
    assert len(list(Frames().feed(b"".join(map(framed_request, REQUESTS)) + b"\x05\x0a"))) == len(REQUESTS)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80" * 10,
        varint(MAX_MESSAGE_BYTES + 1),
        b"\x02\x0a\x05",  # a field longer than its message
        framed_request(Request(echo=RequestEcho(message="ab"))).replace(b"ab", b"\xff\xfe"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match=r"consensus\.20"):
        list(Frames().feed(data))


def test_the_longest_message_is_waited_for() -> None:
    assert list(Frames().feed(varint(MAX_MESSAGE_BYTES))) == []


def test_requests_before_one_that_is_none_are_heard() -> None:
    frames = Frames().feed(framed_request(REQUESTS[0]) + b"\x01\x0a")
    assert next(frames) == REQUESTS[0]
    with pytest.raises(BadInput, match=r"consensus\.20"):
        next(frames)


def test_a_response_travels_with_its_length() -> None:
    answer = Response(finalize_block=ResponseFinalizeBlock(app_hash=bytes(200)))
    data = framed(answer)
    assert data[:2] == varint(len(data) - 2)
    assert Response.FromString(data[2:]) == answer


def test_fields_that_we_do_not_read_are_skipped() -> None:
    """RequestFinalizeBlock with fields of CometBFT's that are not in our .proto, as the specification numbers them."""
    body = (
        b"\x0a\x02tx" + b"\x12\x02\x08\x01" + b"\x22\x20" + bytes(32) + b"\x28\x07" + b"\x32\x02\x08\x09" + b"\x42\x01p"
    )
    request = Request.FromString(b"\xa2\x01" + varint(len(body)) + body)
    assert request.WhichOneof("value") == "finalize_block"
    block = request.finalize_block
    assert (list(block.txs), block.hash, block.height, block.time.seconds) == ([b"tx"], bytes(32), 7, 9)


def test_the_code_is_what_the_proto_says(tmp_path: Path) -> None:
    abci_messages.write(tmp_path)
    for name in abci_messages.WRITTEN:
        written, kept = (tmp_path / name).read_text("utf-8"), (abci_messages.FOLDER / name).read_text("utf-8")
        assert written == kept, "say: python -m tools.abci_messages"
