"""The state machine: (state, block) → (state', results, events, app hash).

Read ``execute`` from the top: it is the specification of what a block does. A block is executed without changing
what is committed; ``commit`` makes it real in one synced write. Executing the same block again gives the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from msgspec import Struct

from caremesh import codec
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, CareMeshError, ErrorCode, Refused, Tampered, WrongLedger
from caremesh.ledger import history
from caremesh.ledger.state import Reader, Table, View
from caremesh.ledger.store import DAMAGED, OTHER_CHAIN, Commit, Head, MappingReader, Store
from caremesh.ledger.transactions import CheckedTx, Signer, TransactionCodec
from caremesh.ledger.trie import EMPTY, AuthenticatedMap, Proof, Tree
from caremesh.types import Count, Did, Digest, Height, Seconds

WRONG_CHAIN = ErrorCode("ledger.06", "The transaction is for another chain.", "Sign it for this chain.")
EXPIRED = ErrorCode("ledger.07", "The transaction has expired.", "Sign it again.")
TOO_FAR_AHEAD = ErrorCode("ledger.08", "The transaction expires too far ahead.", "Let it expire sooner.")
REPLAYED = ErrorCode("ledger.09", "This transaction is in a block already.", "Nothing: it was counted once.")
QUOTA_USED_UP = ErrorCode("ledger.10", "The sponsor's quota of this window is used up.", "Wait, or ask another member.")
NOT_KEPT = ErrorCode("ledger.11", "State of this height is no longer kept.", "Ask for a newer height.")
TIME_BACKWARDS = ErrorCode("ledger.12", "A block cannot be older than the one before it.")
NOT_NEXT = ErrorCode("ledger.13", "This is not the next block.", "Ask for the blocks in between.")

_REPLAY_PREFIX: Final = b"ledger/tx/"
_MINUTE_S: Final = 60


class Params(Struct, frozen=True):
    """What the kernel needs of the network's parameters. Times in seconds, lengths in blocks."""

    tx_ttl_s: Seconds = 600
    quota: Count = 10_000
    quota_window_s: Seconds = 3_600
    kept_heights: Count = 1_000
    retain_blocks: Count = 1_000_000


class Event(Struct, frozen=True):
    """What a contract says has happened. ``tx`` is the id of the transaction."""

    type: str
    height: Height
    tx: bytes
    attributes: dict[str, Any]
    """Plain values: str, int, bytes."""


class Result(Struct, frozen=True):
    """What became of a transaction. ``code``: empty when it took effect; ``place`` names the message."""

    tx: bytes
    code: str
    place: str


class Results(Struct, frozen=True):
    """What a block did, as stored."""

    results: list[Result]
    events: list[Event]


class Executed(Struct, frozen=True):
    """A block that was executed and not yet committed."""

    height: Height
    time: Seconds
    app_hash: Digest
    results: Results
    changes: dict[bytes, bytes | None]
    leaves: list[Digest]
    history_size: int
    tree: Tree


class Context:
    """What a handler sees of the world."""

    def __init__(
        self,
        *,
        chain: str,
        height: Height,
        time: Seconds,
        tx_id: bytes,
        index: int,
        signers: list[Signer],
        sponsor: Did,
        alone: bool,
        state: View,
        events: list[Event],
    ) -> None:
        self.chain = chain
        self.height = height
        self.time = time
        self.tx_id = tx_id
        self.index = index
        """Position of the message in its transaction."""
        self.signers = signers
        self.sponsor = sponsor
        self.alone = alone
        """Whether this is the only message of its transaction."""
        self.state = state
        self._events = events

    def emit(self, kind: str, **attributes: str | int | bytes) -> None:
        """Tell subscribers what has happened; lost when the transaction is refused."""
        self._events.append(Event(kind, self.height, self.tx_id, attributes))


class Application(Protocol):
    """The contracts, as the kernel sees them."""

    messages: Any
    """The union of all message types."""

    def sponsor(self, reader: Reader, signer: Signer) -> Did:
        """The member that this signer acts for. Raises Refused."""
        ...

    def quota_exempt(self, message: Any) -> bool:
        """Whether a message is free: revocations and erasures must always get through."""
        ...

    def handle(self, ctx: Context, message: Any) -> None:
        """Carry out one message. Raises Refused; anything else is a fault of ours and stops the ledger."""
        ...

    def genesis(self, view: View, document: bytes) -> None:
        """Write the first state. Raises BadInput."""
        ...

    def params(self, reader: Reader) -> Params:
        """The parameters in force."""
        ...


class _Quota(Struct, frozen=True):
    window: Count
    used: Count


_QUOTA: Final = Table(b"ledger/quota/", _Quota)


class Machine:
    """One replica's state: executes blocks, commits them, proves what it holds."""

    def __init__(self, store: Store, app: Application) -> None:
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
        """The last commit. Raises BadInput before genesis."""
        head = self._store.head()
        if head is None:
            raise BadInput(NOT_KEPT)
        return head

    def start(self, time: Seconds, document: bytes) -> Head:
        """Write the genesis state as height 0, once; afterwards only check that it is the same ledger."""
        head = self._store.head()
        if head is not None:
            if self._store.block(0) not in (None, document):
                raise WrongLedger(OTHER_CHAIN, "genesis")
            return head
        view = View(self._store)
        self._app.genesis(view, document)
        view.put(history.STATE_KEY, codec.encode(history.EMPTY))
        done = self._executed(0, time, view, Results([], []), [], 0)
        return self.commit(done, block=document, header=EMPTY)

    def execute(self, height: Height, time: Seconds, txs: Sequence[bytes | CheckedTx[Any]]) -> Executed:
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
            results: list[Result] = []
            events: list[Event] = []
            leaves: list[Digest] = []
            if txs:
                self._forget_expired(view, time)
            params = self._app.params(view)
            for raw in txs:
                result = self._apply(view, raw, height, time, params, events)
                results.append(result)
                leaves.append(history.leaf_hash(codec.encode([result.tx, result.code])))
            frontier = _frontier(view)
            if leaves:
                view.put(history.STATE_KEY, codec.encode(history.append(frontier, leaves)))
            return self._executed(height, time, view, Results(results, events), leaves, frontier.size)

    def commit(self, done: Executed, *, block: bytes, header: Digest) -> Head:
        """Make an executed block real: durable when this returns. Raises StorageFailed ledger.30."""
        params = self._app.params(MappingReader(done.changes, self._store))
        head = Head(self._store.chain, done.height, done.time, done.app_hash, header)
        undo = {key: self._store.get(key) for key in done.changes}
        self._store.commit(
            Commit(
                head=head,
                changes=done.changes,
                undo=codec.encode([[key, value] for key, value in sorted(undo.items())]),
                block=block,
                results=codec.encode(done.results),
                leaves=done.leaves,
                history_size=done.history_size,
                drop_below=max(0, done.height - params.retain_blocks + 1),
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

    def _apply(
        self,
        view: View,
        raw: bytes | CheckedTx[Any],
        height: Height,
        time: Seconds,
        params: Params,
        events: list[Event],
    ) -> Result:
        """One transaction: all of its messages take effect, or none does; its id is remembered either way."""
        try:
            checked = raw if isinstance(raw, CheckedTx) else self.codec.decode(raw)
        except CareMeshError as error:
            name = sha256(raw) if isinstance(raw, bytes) else b""
            return Result(name, error.code, error.place)
        tx, tx_id = checked.tx, bytes(checked.id)
        if tx.chain != self._store.chain:
            return Result(tx_id, WRONG_CHAIN.code, "")
        if tx.expires_at < time:
            return Result(tx_id, EXPIRED.code, "")
        if tx.expires_at > time + params.tx_ttl_s:
            return Result(tx_id, TOO_FAR_AHEAD.code, "")
        if view.get(_replay_key(tx.expires_at, tx_id)) is not None:
            return Result(tx_id, REPLAYED.code, "")
        view.put(_replay_key(tx.expires_at, tx_id), b"\x01")
        changed = View(view)
        said: list[Event] = []
        place = ""
        try:
            sponsor = self._app.sponsor(changed, tx.signers[-1])
            self._spend(changed, sponsor, tx.msgs, time, params)
            for index, message in enumerate(tx.msgs):
                place = f"msgs[{index}]"
                ctx = Context(
                    chain=tx.chain,
                    height=height,
                    time=time,
                    tx_id=tx_id,
                    index=index,
                    signers=tx.signers,
                    sponsor=sponsor,
                    alone=len(tx.msgs) == 1,
                    state=changed,
                    events=said,
                )
                self._app.handle(ctx, message)
        except Refused as error:
            return Result(tx_id, error.code, f"{place}.{error.place}" if error.place else place)
        view.changes.update(changed.changes)
        events.extend(said)
        return Result(tx_id, "", "")

    def _spend(self, view: View, sponsor: Did, msgs: Sequence[Any], time: Seconds, params: Params) -> None:
        """A sponsor has so many messages a window; revocations and erasures cost nothing."""
        cost = sum(not self._app.quota_exempt(message) for message in msgs)
        if not cost:
            return
        window = time // params.quota_window_s
        quota = _QUOTA.get(view, sponsor.encode())
        used = quota.used if quota is not None and quota.window == window else 0
        if used + cost > params.quota:
            raise Refused(QUOTA_USED_UP)
        _QUOTA.put(view, _Quota(window, used + cost), sponsor.encode())

    def _forget_expired(self, view: View, time: Seconds) -> None:
        """Ids of transactions that can no longer take effect need no remembering."""
        for key in self._store.scan(_REPLAY_PREFIX, _REPLAY_PREFIX + (time // _MINUTE_S).to_bytes(8)):
            view.delete(key)

    def _executed(
        self, height: Height, time: Seconds, view: View, results: Results, leaves: list[Digest], size: int
    ) -> Executed:
        changes = {key: value for key, value in sorted(view.changes.items()) if self._store.get(key) != value}
        tree = self._map.changed(
            {sha256(key): None if value is None else sha256(value) for key, value in changes.items()}
        )
        return Executed(height, time, tree.root, results, changes, leaves, size, tree)

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


def _frontier(reader: Reader) -> history.Frontier:
    stored = reader.get(history.STATE_KEY)
    return history.EMPTY if stored is None else codec.decode_as(stored, history.Frontier)


def _replay_key(expires_at: Seconds, tx_id: bytes) -> bytes:
    return _REPLAY_PREFIX + (expires_at // _MINUTE_S).to_bytes(8) + tx_id
