"""Letters: who carries one sees for whom it is and one of four sizes; only the wallet reads the reply."""

from __future__ import annotations

import pytest

from caremesh import codec
from caremesh.crypto import envelope
from caremesh.errors import (
    BadInput,
    CareMeshError,
    ErrorCode,
    Locked,
    Refused,
    StorageFailed,
    Tampered,
    Unavailable,
)
from caremesh.sealing import letter
from caremesh.sealing.letter import OVERHEAD_BYTES, SIZES

MEMBER, OTHER = (f"did:caremesh:test:{sign * 32}" for sign in "ab")
PRIVATE, PUBLIC = envelope.hpke_from_seed(bytes(32))


def code(call: object, *arguments: object) -> str:
    with pytest.raises(CareMeshError) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value.code


def test_what_is_written_is_read_and_answered() -> None:
    posted = letter.write(MEMBER, PUBLIC, "dispute", b"content", b"r" * 32)
    read = letter.read(MEMBER, PRIVATE, posted.sealed)
    assert (read.kind, read.content, read.about) == ("dispute", b"content", b"r" * 32)
    assert letter.outcome(posted, letter.answer(read, posted.sealed, b"done")) == b"done"


def test_an_error_comes_back_as_itself() -> None:
    posted = letter.write(MEMBER, PUBLIC, "share", b"")
    read = letter.read(MEMBER, PRIVATE, posted.sealed)
    met = Refused(ErrorCode("relay.20", "No.", "Ask."), "place")
    with pytest.raises(Refused) as caught:
        letter.outcome(posted, letter.answer(read, posted.sealed, error=met))
    assert (caught.value.error, caught.value.place) == (met.error, "place")


@pytest.mark.promise("P1")
def test_kind_and_length_of_a_letter_and_its_reply_are_hidden_in_four_sizes() -> None:
    sizes = {
        len(letter.write(MEMBER, PUBLIC, kind, bytes(n)).sealed) for kind in ("share", "profile") for n in (0, 9000)
    }
    assert sizes == {SIZES[0] + OVERHEAD_BYTES}
    assert len(letter.write(MEMBER, PUBLIC, "share", bytes(20_000)).sealed) == SIZES[1] + OVERHEAD_BYTES
    posted = letter.write(MEMBER, PUBLIC, "share", b"")
    read = letter.read(MEMBER, PRIVATE, posted.sealed)
    replies = [
        letter.answer(read, posted.sealed, b"x" * 5_000),
        letter.answer(read, posted.sealed, error=Refused(ErrorCode("relay.20", "No."))),
    ]
    assert {len(reply) for reply in replies} == sizes
    with pytest.raises(BadInput, match=r"relay\.01"):
        letter.write(MEMBER, PUBLIC, "share", bytes(SIZES[-1]))


@pytest.mark.promise("P1")
def test_two_letters_of_one_person_have_nothing_in_common() -> None:
    one, two = (letter.read(MEMBER, PRIVATE, letter.write(MEMBER, PUBLIC, "share", b"").sealed) for _ in range(2))
    assert one.reply_key != two.reply_key
    assert repr(one) == "Letter(…)"
    assert repr(letter.write(MEMBER, PUBLIC, "share", b"")) == "Posted(…)"


@pytest.mark.promise("P6")
def test_a_letter_for_another_changed_or_too_long_is_named() -> None:
    posted = letter.write(MEMBER, PUBLIC, "share", b"content")
    assert code(letter.read, OTHER, PRIVATE, posted.sealed) == "relay.02"
    assert code(letter.read, MEMBER, bytes([1]) * 32, posted.sealed) == "relay.02"
    bent = posted.sealed[:-1] + bytes([posted.sealed[-1] ^ 1])
    assert code(letter.read, MEMBER, PRIVATE, bent) == "relay.02"
    assert code(letter.read, MEMBER, PRIVATE, b"") == "relay.02"
    assert code(letter.read, MEMBER, PRIVATE, posted.sealed + bytes(SIZES[-1])) == "relay.02"


@pytest.mark.promise("P6")
def test_the_reply_to_another_letter_is_not_believed() -> None:
    one, two = (letter.write(MEMBER, PUBLIC, "share", b"") for _ in range(2))
    read = letter.read(MEMBER, PRIVATE, one.sealed)
    reply = letter.answer(read, two.sealed, b"done")
    with pytest.raises(Tampered, match=r"relay\.02"):
        letter.outcome(one, reply)
    with pytest.raises(Tampered, match=r"relay\.02"):
        letter.outcome(two, letter.answer(read, one.sealed, b"done"))


def longest(size: int) -> bytes:
    """Content that fills a frame of this size to its last byte."""
    for spare in range(1_200, 1_500):
        content = bytes(size - spare)
        draft = letter.Letter(kind="share", content=content, about=b"", reply_key=PUBLIC)
        if len(codec.encode(draft)) + 4 == size:
            return content
    raise AssertionError("no content fills it")


@pytest.mark.parametrize("size", [SIZES[0], SIZES[-1]])
def test_a_letter_may_fill_its_size_to_the_last_byte(size: int) -> None:
    content = longest(size)
    posted = letter.write(MEMBER, PUBLIC, "share", content)
    assert len(posted.sealed) == size + OVERHEAD_BYTES
    read = letter.read(MEMBER, PRIVATE, posted.sealed)
    assert (read.content, read.about) == (content, b"")
    if size == SIZES[0]:
        assert len(letter.write(MEMBER, PUBLIC, "share", content + b"1").sealed) == SIZES[1] + OVERHEAD_BYTES
    else:
        assert code(letter.write, MEMBER, PUBLIC, "share", content + b"1") == "relay.01"


def test_a_frame_is_a_length_the_content_and_zeros() -> None:
    posted = letter.write(MEMBER, PUBLIC, "share", b"content")
    frame = envelope.hpke_open(PRIVATE, posted.sealed, b"caremesh/letter/v1", MEMBER.encode())
    end = 4 + int.from_bytes(frame[:4], "big")
    assert codec.decode_as(frame[4:end], letter.Letter).content == b"content"
    assert frame[end:] == bytes(len(frame) - end)
    read = letter.read(MEMBER, PRIVATE, posted.sealed)
    assert letter.outcome(posted, letter.answer(read, posted.sealed)) == b""


@pytest.mark.parametrize("kind", [BadInput, Refused, Tampered, StorageFailed, Unavailable, Locked])
def test_an_error_comes_back_as_its_kind_and_an_unknown_one_as_a_refusal(kind: type[CareMeshError]) -> None:
    posted = letter.write(MEMBER, PUBLIC, "share", b"")
    read = letter.read(MEMBER, PRIVATE, posted.sealed)
    met = kind(ErrorCode("relay.20", "No.", "Ask."), "p" * 600)
    with pytest.raises(CareMeshError) as caught:
        letter.outcome(posted, letter.answer(read, posted.sealed, error=met))
    assert type(caught.value) is (Refused if kind is Locked else kind)
    assert (caught.value.error, caught.value.place) == (met.error, "p" * 500)
