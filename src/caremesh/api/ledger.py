"""``/ledger/v1``: submit, look up, prove, follow."""

from __future__ import annotations

from typing import Any, Final, Protocol

from caremesh import codec
from caremesh.api.routes import MIB, SIGNED, Answer, Call, Route, json_answer
from caremesh.api.threads import Run, in_threads
from caremesh.client import wire
from caremesh.client.wire import NodeStatus
from caremesh.consensus.interface import Committed, Status
from caremesh.errors import Refused
from caremesh.ledger.admission import EXPIRED
from caremesh.ledger.replays import REPLAYED
from caremesh.ledger.transactions import tx_id
from caremesh.types import Did

PREFIX: Final = "/ledger/v1"
MAYBE_ALREADY: Final = frozenset({EXPIRED.code, REPLAYED.code})
"""The transaction may be in a block: then the answer is what became of it."""


class Ledger(Protocol):
    """The ledger as a node offers it: answers from its own copy, submissions to whoever orders them."""

    def submit(self, raw: bytes) -> Committed:
        """See ``consensus.interface.Engine``."""
        ...

    def outcome(self, tx_id: bytes) -> Committed | None:
        """See ``consensus.interface.Engine``."""
        ...

    def status(self) -> Status:
        """See ``consensus.interface.Engine``."""
        ...


def routes(ledger: Ledger, member: Did, run: Run | None = None) -> list[Route]:
    """``member``: whose node this is."""
    return _Routes(ledger, member, run or in_threads()).table()


class _Routes:
    def __init__(self, ledger: Ledger, member: Did, run: Run) -> None:
        self._ledger = ledger
        self._member = member
        self._run = run

    def table(self) -> list[Route]:
        return [
            Route(
                name="ledger.status",
                method="GET",
                path=f"{PREFIX}/status",
                summary="Where this member's copy of the ledger stands",
                handler=self.status,
                callers=SIGNED,
                answer_media=wire.JSON,
                answer=NodeStatus,
            ),
            Route(
                name="ledger.submit",
                method="POST",
                path=f"{PREFIX}/transactions",
                summary="Put a signed transaction into a block; the same one again gets the same answer",
                handler=self.submit,
                callers=SIGNED,
                media=wire.CBOR,
                body="Signed transaction (`ledger/transactions.py`)",
                answer="Committed (`consensus/interface.py`): height, result and events, once the block is durable",
                max_bytes=MIB,
            ),
        ]

    async def status(self, _: Call) -> Answer:
        now = await self._run(self._ledger.status)
        return json_answer(
            NodeStatus(
                chain=now.chain,
                member=self._member,
                height=now.height,
                time=now.time,
                app_hash=now.app_hash.hex(),
                oldest=now.oldest,
                running=now.running,
            )
        )

    async def submit(self, call: Call) -> Answer:
        return Answer(codec.encode(await self._run(lambda: self._submit(call.body))))

    def _submit(self, raw: bytes) -> Committed:
        try:
            return self._ledger.submit(raw)
        except Refused as error:
            if error.code in MAYBE_ALREADY and (known := self._ledger.outcome(_id(raw))) is not None:
                return known
            raise


def _id(raw: bytes) -> bytes:
    """The id of a signed transaction that was read before."""
    parts: Any = codec.decode(raw)
    return bytes(tx_id(parts[0]))
