"""What a client believes of either engine: values that are proven under a header that was verified."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from caremesh.client.ledger import LedgerClient
from caremesh.client.node import Node
from caremesh.errors import CareMeshError
from caremesh.ledger.authenticated_map import AuthenticatedMap
from caremesh.ledger.light import Answer, LightBlock, LightClient
from caremesh.ledger.proofs import Proof
from caremesh.types import Height
from tests.support.comet_headers import CHAIN, FOUR, NOW, header, signed

EMPTY = AuthenticatedMap()
STATE = 4
"""The height whose state is asked for; its root is in the header of the next."""


class CometNode(LedgerClient):
    """A node that runs CometBFT: it has headers up to ``top``, and the state before each."""

    def __init__(self, light: LightClient | None, top: Height = STATE + 1, off: int = 0) -> None:
        super().__init__(cast("Node", SimpleNamespace(clock=lambda: NOW + STATE)), light)
        self.top, self.off = top, off
        self.asked: list[Height | None] = []

    async def light_block(self, height: Height | None = None) -> LightBlock:
        self.asked.append(height)
        at = min(self.top if height is None else height, self.top) + self.off
        return signed(header(at, FOUR, app_hash=EMPTY.root), FOUR, 0, 1, 2)

    async def answer(self, key: bytes, height: Height | None) -> Answer:
        assert height is not None or self._light is None, "the newest is asked for by its height"
        return Answer(key, height or STATE, Proof(siblings=EMPTY.flat.siblings(0, {})))


def trusting() -> LightClient:
    return LightClient(CHAIN, FOUR, trusted_at=NOW)


def code_of(node: CometNode, **asked: Any) -> str:
    with pytest.raises(CareMeshError) as caught:
        asyncio.run(node.query(b"k", **asked))
    return caught.value.code


@pytest.mark.promise("P4")
def test_a_state_is_proven_under_the_header_of_the_next_block() -> None:
    node = CometNode(trusting())
    assert asyncio.run(node.query(b"k", STATE)) is None
    assert node.asked == [STATE, STATE + 1]
    assert asyncio.run(node.query(b"k", STATE)) is None
    assert node.asked == [STATE, STATE + 1], "a header that was verified is not asked for again"


@pytest.mark.promise("P4")
def test_the_newest_state_is_that_which_the_newest_header_proves() -> None:
    """The state of the newest block is not, until there is another."""
    node = CometNode(trusting())
    assert asyncio.run(node.query(b"k")) is None
    assert node.asked == [None]
    assert asyncio.run(node.query(b"k", STATE)) is None
    assert node.asked == [None], "a header that was verified is not asked for again"
    node.off = 7
    assert asyncio.run(node.query(b"k", STATE)) is None


@pytest.mark.promise("P4")
def test_nothing_unverified_is_answered_unless_asked_for() -> None:
    assert code_of(CometNode(None)) == "client.07"
    assert asyncio.run(CometNode(None).query(b"k", verify=False)) is None
    assert code_of(CometNode(trusting()), height=STATE + 1) == "light.08", "the header of the next block is not there"
    assert code_of(CometNode(trusting(), off=7), height=STATE) == "light.08", "headers of other heights"


def test_an_old_header_is_not_the_newest_state() -> None:
    node = CometNode(trusting())
    node._max_age_s = -2
    assert code_of(node) == "client.06"
    assert asyncio.run(node.query(b"k", STATE)) is None
