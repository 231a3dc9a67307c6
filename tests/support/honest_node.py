"""A node as a wallet that asks for proofs sees it."""

from __future__ import annotations

from collections.abc import Sequence

from caremesh.ledger.light import Answer, LightBlock
from caremesh.types import Did, Height
from tests.support.case import Case


class Honest:
    """Answers as its engine does, and notes what it is asked."""

    def __init__(self, case: Case, did: Did = "honest") -> None:
        self.engine = case.mesh.engine
        self.did = did
        self.asked: list[list[bytes]] = []

    def light_block(self, height: Height | None = None) -> LightBlock:
        return self.engine.light_block(height)

    def answers(self, keys: Sequence[bytes], height: Height) -> list[Answer]:
        self.asked.append(list(keys))
        return [self.engine.query(key, height) for key in keys]
