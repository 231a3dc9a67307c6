"""A pytest plugin that writes down every transaction which the tests of contracts try on a ``World``.

    CAREMESH_RECORD=FILE pytest -p tests.support.recorder tests/unit/contracts

It asks nothing of the tests. Each message becomes a transaction as a member would send it, really signed, together
with the state, height and time that it met: what `tools/ledger_vectors.py` makes vectors of.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec
import pytest

from caremesh import codec
from caremesh.crypto.hashes import sha256
from caremesh.crypto.keys import SigningKey
from caremesh.errors import Refused
from caremesh.ledger.transactions import Message, Signer, Tx, encode, sign
from tests.support.states import State, with_history
from tests.support.world import CHAIN, Actor, World

LIFE_S = 300
"""How far ahead of block time the transactions expire."""


class Recorded(msgspec.Struct, frozen=True):
    """A block on a state. ``put`` and ``delete`` say how that state differs from the founders'."""

    test: str
    """Which test, and which of its messages."""
    became: str
    """The code of the refusal, or of a recorded denial; empty when it was simply accepted."""
    check: str
    """Which check said so: one code may have several."""
    height: int
    time: int
    put: list[list[bytes]]
    delete: list[bytes]
    txs: list[bytes]


def founders() -> dict[bytes, bytes]:
    """The state of a world that has just begun."""
    return state_of(World())


def state_of(world: World) -> dict[bytes, bytes]:
    """Everything in a world's state, and the record of the history that a machine keeps there."""
    return with_history({key: now for key, _, now in world.view.changes() if now is not None})


def difference(base: State, state: State) -> tuple[dict[bytes, bytes], list[bytes]]:
    """(put, delete) that lead from one state to the other."""
    put = {key: state[key] for key in sorted(state) if base.get(key) != state[key]}
    return put, sorted(key for key in base if key not in state)


def place_of(refusal: Refused | None) -> str:
    """The line that raised it."""
    lines = [] if refusal is None else traceback.extract_tb(refusal.__traceback__)
    return f"{Path(lines[-1].filename).parent.name}/{Path(lines[-1].filename).name} {lines[-1].lineno}" if lines else ""


class Recorder:
    """Stands in for ``World.do`` and ``Actor`` while tests run, and does what they do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Recorded] = []
        self._keys: dict[bytes, SigningKey] = {}
        self._test, self._number, self._drawn = "", 0, 0
        self._base = founders()
        self._install()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Entropy that a test draws is the same in every run."""
        self._test, self._number, self._drawn = item.nodeid, 0, 0
        patch = pytest.MonkeyPatch()
        patch.setattr(os, "urandom", self._drawn_bytes)
        try:
            return (yield)
        finally:
            patch.undo()

    def pytest_sessionfinish(self) -> None:
        self.path.write_bytes(codec.encode(self.rows))

    def _drawn_bytes(self, length: int) -> bytes:
        self._drawn += 1
        seed = sha256(f"{self._test} {self._drawn}".encode())
        return b"".join(sha256(seed + bytes([number])) for number in range(1 + length // 32))[:length]

    def _install(self) -> None:
        do, made = World.do, Actor.__init__

        @wraps(made)
        def make(actor: Actor, *arguments: Any, **named: Any) -> None:
            made(actor, *arguments, **named)
            self._keys[actor.key.public] = actor.key

        @wraps(do)
        def record(world: World, message: Message, *signers: Actor, **named: Any) -> str:
            before, height, now, said = state_of(world), world.height, world.now, len(world.events)
            code = do(world, message, *signers, **named)
            denied = [str(event.attributes["why"]) for event in world.events[said:] if event.attributes.get("why")]
            msgs = [message] if named.get("alone", True) else [message, message]
            became, check = code or "".join(denied[:1]), place_of(world.refusal) if code else ""
            self._note(before, height, now, msgs, [actor.signer for actor in signers], became, check)
            return code

        patch = pytest.MonkeyPatch()
        patch.setattr(Actor, "__init__", make)
        patch.setattr(World, "do", record)

    def _note(
        self, before: State, height: int, now: int, msgs: list[Message], signers: list[Signer], became: str, check: str
    ) -> None:
        self._number += 1
        keys = [self._keys[signer.key] for signer in signers if signer.key in self._keys]
        if len({key.public for key in keys}) != len(signers):
            return  # nobody could sign this
        tx = Tx(
            chain=CHAIN,
            expires_at=now + LIFE_S,
            salt=sha256(codec.encode(msgs))[:8],
            signers=signers,
            msgs=msgs,
        )
        put, delete = difference(self._base, before)
        self.rows.append(
            Recorded(
                test=f"{self._test} {self._number:04}",
                became=became,
                check=check,
                height=height,
                time=now,
                put=[[key, value] for key, value in put.items()],
                delete=delete,
                txs=[sign(encode(tx), keys)],
            )
        )


def pytest_configure(config: pytest.Config) -> None:
    path = os.environ.get("CAREMESH_RECORD")
    if path:
        config.pluginmanager.register(Recorder(Path(path)), "caremesh-recorder")
