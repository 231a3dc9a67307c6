"""The state machine: (state, block) → (state', results, events, app hash).

Read ``execute`` from the top: it is the specification of what a block does. A block is executed without changing
what is committed; ``commit`` makes it real in one synced write. Executing the same block again gives the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from caremesh import codec
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, CareMeshError, ErrorCode, Refused, Tampered, WrongLedger
from caremesh.ledger import history
from caremesh.ledger.application import Application, Context, Event, Params, Result
from caremesh.ledger.state import Reader, Table, View
from caremesh.ledger.store import DAMAGED, OTHER_CHAIN, Commit, Head, Store
from caremesh.ledger.transactions import CheckedTx, Message, TransactionCodec
from caremesh.ledger.trie import EMPTY, AuthenticatedMap, Proof, Tree
from caremesh.types import Count, Did, Digest, Height, Seconds

__all__ = ["Application", "Context", "Event", "Executed", "Machine", "Params", "Result", "Results"]

WRONG_CHAIN = ErrorCode("ledger.06", "The transaction is for another chain.", "Sign it for this chain.")
EXPIRED = ErrorCode("ledger.07", "The transaction has expired.", "Sign it again.")
TOO_FAR_AHEAD = ErrorCode("ledger.08", "The transaction expires too far ahead.", "Let it expire sooner.")
REPLAYED = ErrorCode("ledger.09", "This transaction is in a block already.", "Nothing: it was counted once.")
QUOTA_USED_UP = ErrorCode("ledger.10", "The sponsor's quota of this window is used up.", "Wait, or ask another member.")
NOT_KEPT = ErrorCode("ledger.11", "State of this height is not, or no longer, kept.", "Ask for a newer height.")
TIME_BACKWARDS = ErrorCode("ledger.12", "A block cannot be older than the one before it.")
NOT_NEXT = ErrorCode("ledger.13", "This is not the next block.", "Ask for the blocks in between.")
TOO_LARGE = ErrorCode("ledger.14", "The transaction is larger than the network allows.", "Send several.")

_REPLAY_PREFIX: Final = b"ledger/tx/"
_MINUTE_S: Final = 60


class Results(Struct, frozen=True):
    """What a block did, as stored. ``txs``: ids in order, each with its result."""

    txs: list[bytes]
    results: list[Result]
    events: list[Event]


class Executed(Struct, frozen=True):
    """A block that was executed and not yet committed. ``changes``: (key, value before, value now)."""

    height: Height
    time: Seconds
    app_hash: Digest
    results: Results
    changes: list[tuple[bytes, bytes | None, bytes | None]]
    leaves: list[Digest]
    history_size: int
    tree: Tree
    drop_below: Height


class _Quota(Struct, frozen=True):
    window: Count
    used: Count


_QUOTA: Final = Table(b"ledger/quota/", _Quota)


class Machine:
    """One replica's state: executes blocks, commits them, proves what it holds."""

    def __init__(self, store: Store, app: Application) -> None:
        """Rebuild the map from the store. Raises Tampered ledger.32 when it does not give the stored app hash."""
        self._store = store
        self._app = app
        self.codec = TransactionCodec(app.messages)
        self._map = AuthenticatedMap(store.bucket)
        self._map.rebuild(store.leaves())
        head = store.head()
        if head is not None and self._map.root != head.app_hash:
            raise Tampered(DAMAGED, "leaves")

    @property
    def head(self) -> Head:
        """The last commit. Raises BadInput ledger.11 before genesis."""
        head = self._store.head()
        if head is None:
            raise BadInput(NOT_KEPT)
        return head

    def start(self, time: Seconds, document: bytes) -> Head:
        """Write the genesis state as height 0, once; afterwards only check that it is the same ledger."""
        head = self._store.head()
        if head is not None:
            if self._store.genesis() != sha256(document):
                raise WrongLedger(OTHER_CHAIN, "genesis")
            return head
        view = View(self._store)
        self._app.genesis(view, document)
        view.put(history.STATE_KEY, codec.encode(history.EMPTY))
        done = self._executed(0, time, view, Results([], [], []), [])
        return self.commit(done, block=document, header=EMPTY)

    def execute(self, height: Height, time: Seconds, txs: Sequence[bytes | CheckedTx]) -> Executed:
        """What a block does. Changes nothing that is committed.

        ``txs`` as they travelled, or already checked by the same rules. Raises BadInput ledger.12, ledger.13.
        """
        head = self.head
        if height != head.height + 1:
            raise BadInput(NOT_NEXT, f"height {height}")
        if time < head.time:
            raise BadInput(TIME_BACKWARDS, f"height {height}")
        with self._store.snapshot() as committed:
            view = View(committed)
            done = Results([], [], [])
            leaves: list[Digest] = []
            if txs:
                self._forget_expired(view, time)
            params = self._app.params(view)
            for raw in txs:
                tx_id, result = self._apply(view, raw, height, time, params, done.events)
                done.txs.append(tx_id)
                done.results.append(result)
                leaves.append(history.leaf_hash(codec.encode([tx_id, result.code])))
            if leaves:
                view.put(history.STATE_KEY, codec.encode(history.append(_frontier(view), leaves)))
            return self._executed(height, time, view, done, leaves)

    def commit(self, done: Executed, *, block: bytes, header: Digest) -> Head:
        """Make an executed block real: durable when this returns. Raises StorageFailed ledger.30."""
        head = Head(self._store.chain, done.height, done.time, done.app_hash, header)
        self._store.commit(
            Commit(
                head=head,
                changes={key: now for key, _, now in done.changes},
                undo=codec.encode([[key, before] for key, before, _ in done.changes]),
                block=block,
                results=codec.encode(done.results),
                leaves=done.leaves,
                history_size=done.history_size,
                drop_below=done.drop_below,
            )
        )
        self._map.apply(done.tree)
        return head

    def prove(self, key: bytes, height: Height | None = None) -> tuple[bytes | None, Proof, Height]:
        """(value, proof, height) of a key at the head or at a kept height. Raises BadInput ledger.11."""
        head = self.head
        past = self._changed_since(height, head) if height is not None and height != head.height else {}
        value = past[key] if key in past else self._store.get(key)
        undo = {sha256(changed): None if old is None else sha256(old) for changed, old in past.items()}
        proof, _ = self._map.prove(key, value, undo)
        return value, proof, head.height if height is None else height

    def results(self, height: Height) -> Results:
        """Results and events of a kept block. Raises BadInput ledger.11."""
        stored = self._store.results(height)
        if stored is None:
            raise BadInput(NOT_KEPT, f"height {height}")
        return codec.decode_as(stored, Results)

    def _apply(  # noqa: PLR0911, PLR0917 - one return per rule reads as the rules do
        self,
        view: View,
        raw: bytes | CheckedTx,
        height: Height,
        time: Seconds,
        params: Params,
        events: list[Event],
    ) -> tuple[bytes, Result]:
        """One transaction: all of its messages take effect, or none does; its id is remembered either way."""
        try:
            checked = self.codec.decode(raw) if isinstance(raw, bytes) else raw
        except CareMeshError as error:
            return sha256(raw) if isinstance(raw, bytes) else b"", _refusal(error)
        tx, tx_id = checked.tx, bytes(checked.id)
        if tx.chain != self._store.chain:
            return tx_id, _refusal(Refused(WRONG_CHAIN))
        if len(checked.signed) > params.max_tx_bytes or len(tx.msgs) > params.max_tx_messages:
            return tx_id, _refusal(Refused(TOO_LARGE))
        if tx.expires_at < time:
            return tx_id, _refusal(Refused(EXPIRED))
        if tx.expires_at > time + params.tx_ttl_s:
            return tx_id, _refusal(Refused(TOO_FAR_AHEAD))
        if view.get(_replay_key(tx.expires_at, tx_id)) is not None:
            return tx_id, _refusal(Refused(REPLAYED))
        view.put(_replay_key(tx.expires_at, tx_id), b"\x01")
        mark, said = view.checkpoint(), len(events)
        place = ""
        try:
            sponsor = self._app.sponsor(view, tx.signers[-1])
            self._spend(view, sponsor, tx.msgs, time, params)
            ctx = Context(
                chain=tx.chain,
                height=height,
                time=time,
                tx_id=tx_id,
                signers=tx.signers,
                sponsor=sponsor,
                alone=len(tx.msgs) == 1,
                state=view,
                events=events,
            )
            for index, message in enumerate(tx.msgs):
                ctx.index = index
                place = f"msgs[{index}]"
                self._app.handle(ctx, message)
        except Refused as error:
            view.rollback(mark)
            del events[said:]
            return tx_id, _refusal(error, place)
        return tx_id, Result()

    def _spend(self, view: View, sponsor: Did, msgs: Sequence[Message], time: Seconds, params: Params) -> None:
        """A sponsor has so many messages a window; revocations and erasures cost nothing."""
        cost = sum(not self._app.quota_exempt(message) for message in msgs)
        if not cost:
            return
        window = time // params.quota_window_s
        quota = _QUOTA.get(view, sponsor.encode())
        used = quota.used if quota is not None and quota.window == window else 0
        if used + cost > params.quota_messages:
            raise Refused(QUOTA_USED_UP)
        _QUOTA.put(view, _Quota(window, used + cost), sponsor.encode())

    def _forget_expired(self, view: View, time: Seconds) -> None:
        """Ids of transactions that can no longer take effect need no remembering."""
        for key in self._store.scan(_REPLAY_PREFIX, _REPLAY_PREFIX + (time // _MINUTE_S).to_bytes(8)):
            view.delete(key)

    def _executed(self, height: Height, time: Seconds, view: View, results: Results, leaves: list[Digest]) -> Executed:
        changes = view.changes()
        tree = self._map.changed({sha256(key): None if now is None else sha256(now) for key, _, now in changes})
        return Executed(
            height=height,
            time=time,
            app_hash=tree.root,
            results=results,
            changes=changes,
            leaves=leaves,
            history_size=_frontier(view).size - len(leaves),
            tree=tree,
            drop_below=max(0, height - self._app.params(view).retain_blocks + 1),
        )

    def _changed_since(self, height: Height, head: Head) -> dict[bytes, bytes | None]:
        """What keys that have changed since ``height`` held then."""
        kept = self._app.params(self._store).kept_heights
        if not max(0, head.height - kept) <= height <= head.height:
            raise BadInput(NOT_KEPT, f"height {height}")
        past: dict[bytes, bytes | None] = {}
        for newer in range(head.height, height, -1):
            stored = self._store.undo(newer)
            if stored is None:
                raise BadInput(NOT_KEPT, f"height {height}")
            past.update(dict(codec.decode(stored)))
        return past


def _refusal(error: CareMeshError, place: str = "") -> Result:
    return Result(
        code=error.code,
        sentence=error.error.sentence,
        place=f"{place}.{error.place}" if place and error.place else place or error.place,
    )


def _frontier(reader: Reader) -> history.Frontier:
    stored = reader.get(history.STATE_KEY)
    return history.EMPTY if stored is None else codec.decode_as(stored, history.Frontier)


def _replay_key(expires_at: Seconds, tx_id: bytes) -> bytes:
    return _REPLAY_PREFIX + (expires_at // _MINUTE_S).to_bytes(8) + tx_id
