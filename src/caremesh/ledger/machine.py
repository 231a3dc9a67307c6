"""The state machine: (state, block) → (state', results, events, app hash).

Read ``execute`` from the top: it is the specification of what a block does. A block is executed without changing
what is committed; ``commit`` makes it real in one synced write. Executing the same block again gives the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import Final, TypeAlias

import msgspec

from caremesh import codec
from caremesh.errors import BadInput, ErrorCode, Refused, Tampered, Unavailable, WrongLedger
from caremesh.ledger import history, replays
from caremesh.ledger.admission import QUOTA_USED_UP, Admission, used_quota
from caremesh.ledger.application import Application, Context, Event, Params, Result, UnknownRules
from caremesh.ledger.authenticated_map import AuthenticatedMap, Change, Staged, bits_for
from caremesh.ledger.blocks import Misbehaviour, Validator
from caremesh.ledger.execution import Execution, Results
from caremesh.ledger.past import StateAt, undo_record
from caremesh.ledger.proofs import Proof
from caremesh.ledger.prover import Prover
from caremesh.ledger.records import DAMAGED
from caremesh.ledger.state import View
from caremesh.ledger.store import NOT_KEPT, OTHER_CHAIN, Commit, Head, Read, Store
from caremesh.ledger.succession import succeed
from caremesh.ledger.transactions import CheckedTx, Signer, TransactionCodec
from caremesh.ledger.trie import EMPTY, Entry, leaf_hash
from caremesh.types import Digest, Height, Seconds

__all__ = ["NOT_KEPT", "Application", "Context", "Event", "Executed", "Machine", "Params", "Result", "Results"]

TIME_BACKWARDS = ErrorCode("ledger.12", "A block cannot be older than the one before it.")
NOT_NEXT = ErrorCode("ledger.13", "This is not the next block.", "Ask for the blocks in between.")
STOPPED = ErrorCode(
    "ledger.15", "The ledger has stopped, because a contract failed.", "Look at the log; nothing was half-done."
)
UNKNOWN_RULES = ErrorCode(
    "ledger.16",
    "From this block on rules count that this program does not have.",
    "Install the version of CareMesh that has them and start the node again: it goes on by itself.",
)
_NOTHING: Final[dict[bytes, bytes]] = {}


Changed: TypeAlias = tuple[bytes, bytes | None, bytes | None]
"""(key, value before, value now)"""


class Executed(msgspec.Struct, frozen=True):
    """A block that was executed and not yet committed."""

    height: Height
    time: Seconds
    app_hash: Digest
    results: Results
    changes: list[Changed]
    leaves: list[Change]
    """For each change its place in the map, and its leaf hash now."""
    subtrees: list[history.Subtree]
    tree: Staged
    ids: replays.Staged
    params: Params
    validators: list[Validator]
    """Who is to order blocks from now on; nobody where the application does not say."""


class Machine:
    """One replica's state: executes blocks, commits them, proves what it holds. One thread executes and commits."""

    def __init__(self, store: Store, app: Application) -> None:
        """Rebuild the map from the store. Raises Tampered ledger.32 when it does not give the stored app hash."""
        self.store: Final = store
        self.codec: Final = TransactionCodec(app.messages)
        self._app: Final = app
        self._map: AuthenticatedMap
        self._prover: Prover
        self._replays = replays.Replays()
        self._admission: Final = Admission(store.chain, app)
        self._head: Head | None = None
        self._params = Params()
        self._validators: list[Validator] = []
        self._sponsors: dict[tuple[Signer, int], int] = {}
        """(a sponsor, a quota window) → what it may still send, as of the head."""
        self._failed: BaseException | None = None
        self._load()

    @property
    def head(self) -> Head:
        """The last commit. Raises BadInput ledger.11 before genesis."""
        if self._head is None:
            raise BadInput(NOT_KEPT, "before genesis")
        return self._head

    def start(self, time: Seconds, document: bytes) -> Head:
        """Write the genesis state as height 0, once; afterwards only check that it is the same ledger.

        Raises WrongLedger ledger.31 when the folder's ledger began with another document.
        """
        if self._head is None:
            return self._begin(time, document)
        with self.store.read() as read:
            if read.genesis() != sha256(document).digest():
                raise WrongLedger(OTHER_CHAIN, "genesis")
        return self._head

    @property
    def params(self) -> Params:
        """The limits in force at the head."""
        return self._params

    @property
    def validators(self) -> list[Validator]:
        """Who is to order blocks, as of the head; nobody where the application does not say."""
        return self._validators

    @property
    def is_outdated(self) -> bool:
        """Whether the next block needs rules that this program does not have."""
        return 0 < self._params.unknown_from <= self.head.height + 1

    def check(self, checked: CheckedTx, time: Seconds) -> None:
        """Refuse, before it costs anybody a block, what would be refused in one whatever its messages say.

        Raises Refused ledger.06 to ledger.10, ledger.14, and what the application says of its sponsor.
        """
        self._admission.envelope(checked, time, self._params)
        if replays.digest_of(bytes(checked.id)) in self._replays:
            raise Refused(replays.REPLAYED)
        signer, window = checked.tx.signers[-1], time // self._params.quota_window_s
        sponsors = self._sponsors
        if (signer, window) not in sponsors:
            with self.store.read() as read:
                used = used_quota(read, self._app.sponsor(read, signer), window)
            sponsors[signer, window] = self._params.quota_messages - used
        if sponsors[signer, window] < self._admission.cost(checked.tx):
            raise Refused(QUOTA_USED_UP)

    def execute(
        self,
        height: Height,
        time: Seconds,
        txs: Sequence[bytes | CheckedTx],
        misbehaviour: Sequence[Misbehaviour] = (),
    ) -> Executed:
        """What a block does. Changes nothing that is committed.

        ``txs`` as they travelled, or already decoded by ``codec``; ``misbehaviour`` comes before them.
        Raises BadInput ledger.12 and ledger.13, UnknownRules ledger.16,
        Unavailable ledger.15; and whatever a contract raises other than Refused, after which the machine stops.
        """
        head = self.head
        if self._failed is not None:
            raise Unavailable(STOPPED) from self._failed
        if height != head.height + 1:
            raise BadInput(NOT_NEXT, f"height {height}")
        if time < head.time:
            raise BadInput(TIME_BACKWARDS, f"height {height}")
        if self.is_outdated:
            raise UnknownRules(UNKNOWN_RULES, f"height {height}")
        try:
            with self.store.read() as committed:
                return self._execute(committed, height, time, txs, misbehaviour)
        except BaseException as error:
            self._failed = error
            raise

    def commit(self, done: Executed, *, block: bytes, header: Digest) -> Head:
        """Make an executed block real: durable when this returns. Raises StorageFailed ledger.30."""
        head = Head(self.store.chain, done.height, done.time, done.app_hash, header)
        commit = Commit(
            head=head,
            changes=done.changes,
            leaves=done.leaves,
            undo=undo_record(done.changes, done.tree.before),
            block=block,
            results=codec.encode(done.results),
            txs=done.results.txs,
            history=done.subtrees,
            undo_from=max(0, done.height - done.params.kept_heights + 1),
            keep_from=max(0, done.height - done.params.retain_blocks + 1),
        )
        with self.store.gate.exclusive():
            self.store.commit(commit)
            self._map.apply(done.tree)
            self._replays.apply(done.ids)
            self._head, self._params, self._sponsors = head, done.params, {}
            self._validators = done.validators
            if done.height == done.params.last_height:
                self._admission.follow(self.reader())
        return head

    def rehearse(self, work: Callable[[View], None]) -> tuple[Digest, list[Changed]]:
        """What the root would be, and what would have changed, after ``work`` on the state; nothing is kept."""
        with self.store.read() as committed:
            view = View(committed)
            work(view)
            changes, _, tree = self._stage(view, self._slots(committed))
        return tree.root, changes

    def take_over(self, between: Callable[[], None]) -> Head:
        """Go on from the state that ``between`` puts in the place of this one's database, as when opening it.

        Raises Tampered ledger.32, after which the machine must be opened anew; StorageFailed ledger.33.
        """
        with self.store.gate.exclusive():
            self.store.reopen(between)
            self._replays, self._sponsors = replays.Replays(), {}
            self._load()
        return self.head

    def prove(self, key: bytes, height: Height | None = None) -> tuple[bytes | None, Proof, Height]:
        """(value, proof, height) of a key at the head or at a kept height. Raises BadInput ledger.11."""
        return self._prover.prove(key, height)

    def prove_transaction(self, index: int, size: int | None = None) -> list[Digest]:
        """The audit path of a leaf of the history in the tree of ``size`` leaves (all by default)."""
        with self.store.read() as read:
            length = history.frontier(read).size if size is None else size
            return history.path(read.subtree, index, length)

    def prove_leaves(self, start: int, end: int, size: int) -> list[Digest]:
        """What proves leaves ``start`` … ``end`` - 1 in the tree of ``size``: see ``history.outside``."""
        with self.store.read() as read:
            return history.outside(read.subtree, start, end, size)

    def reader(self, height: Height | None = None) -> StateAt:
        """The state at a height (the head by default), whatever blocks come. Raises BadInput ledger.11."""
        return StateAt(self.store, height)

    def results(self, height: Height) -> Results:
        """Results and events of a kept block. Raises BadInput ledger.11."""
        with self.store.read() as read:
            stored = read.results(height)
        if stored is None:
            raise BadInput(NOT_KEPT, f"height {height}")
        return codec.decode_as(stored, Results)

    def outcome(self, tx_id: bytes) -> tuple[Height, Result, list[Event]] | None:
        """(height, result, its events) of a transaction in a kept block, None when there is none."""
        with self.store.read() as read:
            place = read.place_of(tx_id)
        if place is None:
            return None
        height, position = place
        _, result, events = self.results(height).outcomes()[position]
        return height, result, events

    def _execute(
        self,
        committed: Read,
        height: Height,
        time: Seconds,
        txs: Sequence[bytes | CheckedTx],
        misbehaviour: Sequence[Misbehaviour],
    ) -> Executed:
        run = Execution(
            self._app, self.codec, self._admission, self._replays, committed=committed, height=height, time=time
        )
        for found in misbehaviour:
            run.note(found)
        for raw in txs:
            run.apply(raw)
        ids, subtrees = run.finish()
        params = self._app.params(run.view)
        if height == params.last_height:
            succeed(run.view, self.store.chain, height)
        changes, leaves, tree = self._stage(run.view, self._slots(committed))
        return Executed(
            height=height,
            time=time,
            app_hash=tree.root,
            results=run.results,
            changes=changes,
            leaves=leaves,
            subtrees=subtrees,
            tree=tree,
            ids=ids,
            params=params,
            validators=self._app.validators(run.view),
        )

    def _stage(self, view: View, read: Callable[[int], list[Entry]]) -> tuple[list[Changed], list[Change], Staged]:
        changes = view.changes()
        leaves = [_leaf_change(key, now) for key, _, now in changes]
        replaced = {digest for (_, before, _), (digest, _) in zip(changes, leaves, strict=True) if before is not None}
        return changes, leaves, self._map.stage(leaves, read, replaced)

    def _slots(self, committed: Read) -> Callable[[int], list[Entry]]:
        return partial(committed.slot, bits=self._map.flat.bits)

    def _begin(self, time: Seconds, document: bytes) -> Head:
        self.store.begin_restore(self.store.chain)
        view = View(_NOTHING)
        self._app.genesis(view, document)
        log, _ = history.append(history.frontier(view), [])
        view.put(history.STATE_KEY, codec.encode(log))
        changes, leaves, tree = self._stage(view, lambda _: [])
        done = Executed(
            height=0,
            time=time,
            app_hash=tree.root,
            results=Results([], [], []),
            changes=changes,
            leaves=leaves,
            subtrees=[],
            tree=tree,
            ids=replays.Staged([], {}),
            params=self._app.params(view),
            validators=self._app.validators(view),
        )
        return self.commit(done, block=document, header=EMPTY)

    def _load(self) -> None:
        groups: list[bytes] = []

        def saw(key: bytes) -> None:
            if key.startswith(replays.PREFIX):
                groups.append(key)

        with self.store.read() as read:
            self._map = AuthenticatedMap(bits=bits_for(read.entries()))
            self._prover = Prover(self.store, self._map)
            self._head = read.head()
            if self._head is None:
                return
            self._map.load(read.leaves(saw))
            if self._map.root != self._head.app_hash:
                raise Tampered(DAMAGED, "leaf hashes")
            self._replays.load(groups, read)
            self._params = self._app.params(read)
            self._validators = self._app.validators(read)
            self._admission.follow(read)


def _leaf_change(key: bytes, value: bytes | None) -> Change:
    digest = sha256(key).digest()
    return digest, None if value is None else leaf_hash(digest, sha256(value).digest())
