"""What travels besides signed objects: errors come out as they went in, and every value has one spelling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caremesh.api.problems import status_of
from caremesh.client import events, wire
from caremesh.errors import BadInput, CareMeshError, ErrorCode
from caremesh.ledger.application import Event
from caremesh.source.importer import ImportReport, NotImported
from caremesh.source.survey import Refusal

CODE = ErrorCode("test.01", "A sentence.", "A cure.")


@pytest.mark.parametrize("kind", wire.KINDS.values())
@pytest.mark.parametrize(("error", "place"), [(CODE, "a place"), (ErrorCode("test.02", "A sentence."), "")])
def test_an_error_comes_out_as_it_went_in(kind: type[CareMeshError], error: ErrorCode, place: str) -> None:
    sent = wire.to_json(wire.problem_of(kind(error, place), 418))
    got = wire.error_of(sent)
    assert (type(got), got.error, got.place) == (kind, error, place)
    assert msgspec.json.decode(sent)["status"] == 418


@pytest.mark.parametrize(
    "change",
    [{"code": "test.02"}, {"kind": "Exception"}, {"type": "about:blank"}, {"title": "x" * 501}, {"code": 1}],
)
def test_a_problem_that_does_not_fit_together_is_none(change: dict[str, object]) -> None:
    fields = msgspec.json.decode(wire.to_json(wire.problem_of(BadInput(CODE), 400)))
    with pytest.raises(BadInput) as caught:
        wire.error_of(msgspec.json.encode(fields | change))
    assert caught.value.code == "client.01"


@given(st.binary(max_size=100))
def test_bytes_have_one_text(data: bytes) -> None:
    text = wire.text_of(data)
    assert wire.bytes_of(text) == data
    assert "=" not in text


@pytest.mark.parametrize("text", ["A", "AB", "A+", "A=", "AA==", "A A", "ä", "AAAA\n"])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        wire.bytes_of(text)


VALUE = st.text(max_size=20) | st.integers(0, 2**53 - 1) | st.binary(max_size=40)
EVENT = st.builds(
    Event,
    type=st.text(max_size=10),
    height=st.integers(0, 2**53 - 1),
    tx=st.binary(min_size=36, max_size=36),
    attributes=st.dictionaries(st.text(max_size=10), VALUE, max_size=4),
)


@given(sent=st.lists(EVENT, max_size=5), cut=st.integers(1, 50))
def test_events_come_out_as_they_went_in_however_they_are_cut(sent: list[Event], cut: int) -> None:
    whole = b": hello\n\n" + b"".join(events.spell(f"{at}.0", event) for at, event in enumerate(sent)) + b"id: 9.9\n\n"

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(whole), cut):
            yield whole[at : at + cut]

    async def inside() -> list[tuple[str, Event | None]]:
        return [row async for row in events.read(chunks())]

    expected: list[tuple[str, Event | None]] = [(f"{at}.0", event) for at, event in enumerate(sent)]
    assert asyncio.run(inside()) == [*expected, ("9.9", None)]


NOT_BYTES = b'{"type":"a","height":1,"tx":{"/":1},"attributes":{}}'


@pytest.mark.parametrize(
    "data", [b"id: 1.0\ndata: no\n\n", b"id: 1.0\ndata: %b\n\n" % NOT_BYTES, b"x" * 2**21], ids=["no", "tx", "long"]
)
def test_what_is_no_event_is_refused(data: bytes) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    async def inside() -> None:
        async for _ in events.read(chunks()):
            pass

    with pytest.raises(BadInput):
        asyncio.run(inside())


def test_an_error_of_a_kind_of_its_own_travels_as_what_it_is_in_the_tree() -> None:
    refusal = Refusal(place="entry[1]", type="", code="fhir.25", sentence="No.", cure="Yes.")
    error = NotImported(ImportReport(refused=[refusal]))
    assert status_of(error) == 400
    came = wire.error_of(wire.to_json(wire.problem_of(error, 400)))
    assert (type(came), came.code, came.place) == (BadInput, "fhir.25", "entry[1]")
