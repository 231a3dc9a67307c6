"""The same request under the same key is done once, and answered as often as it is asked."""

from __future__ import annotations

import asyncio

import pytest

from caremesh.api import once
from caremesh.api.once import Once
from caremesh.api.routes import Answer, Call, Caller
from caremesh.client.wire import IDEMPOTENCY_KEY
from caremesh.errors import BadInput, CareMeshError, Refused, Unavailable


class Work:
    """Counts how often it is done."""

    def __init__(self) -> None:
        self.done = 0
        self.fails = False
        self.now = 0.0
        self.once = Once(lambda: self.now)

    async def handle(self, call: Call) -> Answer:
        self.done += 1
        await asyncio.sleep(0)
        if self.fails:
            raise Refused(once.errors.NOT_ALLOWED)
        return Answer(call.body + str(self.done).encode())

    async def ask(self, key: str | None = "k", body: bytes = b"x", caller: str = "did:1", route: str = "r") -> bytes:
        headers = {} if key is None else {IDEMPOTENCY_KEY: key}
        call = Call(Caller("member", caller), {}, {}, headers, body)
        return (await self.once.answer(route, self.handle, call)).body


def run(*asked: object) -> list[bytes]:
    async def all_of_them() -> list[bytes]:
        return [await each for each in asked]  # type: ignore[misc]

    return asyncio.run(all_of_them())


def test_again_is_answered_and_not_done() -> None:
    work = Work()
    assert run(work.ask(), work.ask()) == [b"x1", b"x1"]
    assert work.done == 1


@pytest.mark.parametrize("other", [{"key": "other"}, {"caller": "did:2"}, {"route": "s"}, {"key": None}])
def test_a_key_is_of_one_caller_and_one_route(other: dict[str, str]) -> None:
    work = Work()
    assert run(work.ask(), work.ask(**other)) == [b"x1", b"x2"]


def test_a_key_is_for_one_request() -> None:
    work = Work()
    with pytest.raises(Refused) as caught:
        run(work.ask(), work.ask(body=b"y"))
    assert caught.value.code == "api.20"
    assert work.done == 1


def test_two_at_a_time_are_not_done_twice() -> None:
    work = Work()

    async def both() -> list[object]:
        return list(await asyncio.gather(work.ask(), work.ask(), return_exceptions=True))

    first, second = asyncio.run(both())
    assert first == b"x1"
    assert isinstance(second, Unavailable)
    assert second.code == "api.21"


def test_who_was_refused_may_try_again() -> None:
    work = Work()
    work.fails = True
    with pytest.raises(CareMeshError):
        run(work.ask())
    work.fails = False
    assert run(work.ask()) == [b"x2"]


def test_answers_are_forgotten_in_time_and_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work()
    run(work.ask())
    work.now = once.KEPT_S + 1
    assert run(work.ask()) == [b"x2"]
    monkeypatch.setattr(once, "MAX_KEPT", 3)
    run(*(work.ask(key=f"k{number}") for number in range(10)))
    assert len(work.once._kept) <= 5
    monkeypatch.setattr(once, "MAX_KEPT_BYTES", 100)
    run(*(work.ask(key=f"l{number}", body=bytes(60)) for number in range(10)))
    assert work.once._bytes <= 3 * 62
    assert work.once._bytes == sum(len(kept.answer.body) for kept in work.once._kept.values() if kept.answer)


@pytest.mark.parametrize("key", ["", "k" * 65])
def test_a_key_has_a_length(key: str) -> None:
    with pytest.raises(BadInput):
        run(Work().ask(key=key))
