"""One block, executed: what each transaction does, in order. Nothing here outlives the block but what it returns."""

from __future__ import annotations

from typing import Final

import msgspec

from caremesh import codec
from caremesh.crypto.hashes import sha256
from caremesh.errors import CareMeshError, Refused
from caremesh.ledger import history, replays
from caremesh.ledger.admission import Admission, Quotas, refusal
from caremesh.ledger.application import Application, Context, Event, Result, Told
from caremesh.ledger.blocks import Misbehaviour
from caremesh.ledger.state import Reader, View
from caremesh.ledger.transactions import CheckedTx, TransactionCodec
from caremesh.types import Count, Height, Seconds


class Results(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a block did, as stored. ``txs``: ids in order, each with its result; ``leaf``: the place of the first of
    ``told`` in the history, None in what was stored before leaves held events."""

    txs: list[bytes]
    results: list[Result]
    events: list[Event]
    leaf: Count | None = None

    def outcomes(self) -> list[tuple[bytes, Result, list[Event]]]:
        """(id, result, events) of each transaction. What was refused told nothing, also where it is one sent again."""
        events: dict[bytes, list[Event]] = {}
        for event in self.events:
            events.setdefault(event.tx, []).append(event)
        return [
            (tx, result, [] if result.code else events.get(tx, []))
            for tx, result in zip(self.txs, self.results, strict=True)
        ]

    def told(self) -> list[Told]:
        """The block's leaves of the history, in order."""
        notes = [event for event in self.events if not event.tx]
        found = [Told(b"", "", notes)] if notes else []
        return found + [Told(tx, result.code, events) for tx, result, events in self.outcomes()]


class Execution:
    """The state under a block in the making."""

    def __init__(
        self,
        app: Application,
        reader: TransactionCodec,
        admission: Admission,
        known: replays.Replays,
        *,
        committed: Reader,
        height: Height,
        time: Seconds,
    ) -> None:
        """``committed``: the state before; ``known``: the ids of transactions that it remembers."""
        self.view: Final = View(committed)
        self.results: Final = Results([], [], [], history.frontier(self.view).size)
        self._app: Final = app
        self._codec: Final = reader
        self._admission: Final = admission
        self._known: Final = known
        self._height: Final = height
        self._time: Final = time
        self._params: Final = app.params(self.view)
        self._quotas: Final = Quotas(self.view, time, self._params)
        self._seen: Final[dict[bytes, Seconds]] = {}

    def note(self, found: Misbehaviour) -> None:
        """What the engine has proof of: it has no transaction, no sponsor, and no result."""
        ctx = Context(
            chain=self._admission.name,
            height=self._height,
            time=self._time,
            tx_id=b"",
            signers=[],
            sponsor="",
            alone=True,
            state=self.view,
            events=self.results.events,
        )
        self._app.misbehaved(ctx, found)

    def apply(self, raw: bytes | CheckedTx) -> None:
        """One transaction: all of its messages take effect, or none does; its id is remembered either way."""
        if isinstance(raw, bytes):
            try:
                checked = self._codec.decode(raw)
            except CareMeshError as error:
                # What cannot be read has no id. It is the same on every replica: the bytes alone decide.
                self._note(sha256(raw), refusal(error))
                return
        else:
            checked = raw
        tx_id = bytes(checked.id)
        digest = replays.digest_of(tx_id)
        if digest in self._seen or digest in self._known:
            self._note(tx_id, refusal(Refused(replays.REPLAYED)))
            return
        if self._admission.could_return(checked, self._time):
            self._seen[digest] = checked.tx.expires_at
        self._note(tx_id, self._carry_out(checked, tx_id))

    def finish(self) -> tuple[replays.Staged, list[history.Subtree]]:
        """What the block leaves in the kernel's own keys: nothing when it holds no transaction and tells nothing."""
        ids = replays.Staged([], {})
        if self.results.txs:
            self._quotas.write(self.view)
            ids = self._known.stage(self.view, self._seen, self._height, self._time)
        leaves = [told.leaf() for told in self.results.told()]
        if not leaves:
            return ids, []
        log, made = history.append(history.frontier(self.view), leaves)
        self.view.put(history.STATE_KEY, codec.encode(log))
        return ids, made

    def _carry_out(self, checked: CheckedTx, tx_id: bytes) -> Result:
        tx, view, events = checked.tx, self.view, self.results.events
        mark, said, place = view.checkpoint(), len(events), ""
        try:
            self._admission.envelope(checked, self._time, self._params)
            sponsor = self._admission.sponsor(view, tx)
            self._quotas.spend(sponsor, self._admission.cost(tx))
            ctx = Context(
                chain=self._admission.name,
                height=self._height,
                time=self._time,
                tx_id=tx_id,
                signers=tx.signers,
                sponsor=sponsor,
                alone=len(tx.msgs) == 1,
                state=view,
                events=events,
            )
            for index, message in enumerate(tx.msgs):
                ctx.index, place = index, f"msgs[{index}]"
                self._app.handle(ctx, message)
        except Refused as error:
            view.rollback(mark)
            del events[said:]
            return refusal(error, place)
        return Result()

    def _note(self, tx_id: bytes, result: Result) -> None:
        self.results.txs.append(tx_id)
        self.results.results.append(result)
