"""What a gateway signs is for the chain that follows, once its copy of the ledger has gone over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from caremesh.contracts.network.messages import EndBrake
from caremesh.errors import Unavailable
from caremesh.gateway.ask import Asker, Requester, send_one
from caremesh.gateway.inquiring import Wish, inquire
from caremesh.ledger.state import Reader
from caremesh.ledger.succession import following
from caremesh.sealing.channel import SharedStream
from tests.support.converting import Converting
from tests.support.patient import SILENT
from tests.support.world import CHAIN


class Catching:
    """Keeps what is submitted, and takes nothing."""

    def __init__(self, reader: Callable[[], Reader]) -> None:
        self.reader = reader
        self.caught: list[bytes] = []

    def submit(self, raw: bytes) -> Any:
        self.caught.append(raw)
        raise Unavailable(SILENT)

    def submit_many(self, raws: Sequence[bytes]) -> list[Any]:
        return [self.submit(raw) for raw in raws]

    def submit_batch(self, subject: bytes, transactions: Sequence[bytes]) -> list[Any]:
        raise AssertionError(subject, transactions)


@pytest.fixture
def gone_over(tmp_path: Path) -> Iterator[Converting]:
    made = Converting(tmp_path / "operator")
    made.convert()
    yield made
    made.engine.close()


@pytest.mark.promise("P2")
def test_requests_and_inquiries_are_for_the_chain_that_follows(gone_over: Converting) -> None:
    practice = gone_over.world.practice
    member, ledger = Requester(str(practice.did), practice.key), Catching(gone_over.engine.reader)
    with pytest.raises(Unavailable):
        send_one(Asker(CHAIN, member, ledger, lambda: gone_over.begun), EndBrake())
    wish = Wish(purposes=["TREAT"], actions=["read"], until=1, expires=2, text="?")
    stream = SharedStream(stream=bytes(32), category="laboratory", consent=bytes(32))
    with pytest.raises(Unavailable):
        inquire(CHAIN, member, practice.key, cast("Any", None), [stream], wish, ledger, gone_over.begun)
    assert [following(CHAIN, 2).encode() in raw for raw in ledger.caught] == [True, True]
