"""The kernel's own execution of blocks over a dict: everything of a real block but LMDB and Ed25519."""

from __future__ import annotations

from functools import lru_cache

from caremesh import codec
from caremesh.contracts import Contracts
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.signatures import did_of
from caremesh.ledger import history, replays, transactions
from caremesh.ledger.admission import Admission
from caremesh.ledger.application import Event, Result
from caremesh.ledger.blocks import Misbehaviour
from caremesh.ledger.execution import Execution
from caremesh.ledger.state import View
from caremesh.ledger.transactions import CheckedTx, Message, Signer, TransactionCodec, Tx

CHAIN = "test"
Signs = tuple[str | None, str]
"""Who signs: the name of a DID (none for a stream's key), and the name of a key."""


@lru_cache
def key(name: str) -> SigningKey:
    """The key with this name, always the same."""
    return SigningKey.from_seed(name.encode().ljust(32, b"."))


@lru_cache
def public(name: str) -> bytes:
    return key(name).public


@lru_cache
def did(name: str) -> str:
    """The DID whose first key has this name."""
    return did_of(CHAIN, public(name))


class Kernel:
    """Blocks of one ledger, executed and committed."""

    def __init__(self, app: Contracts, document: bytes) -> None:
        self.app = app
        self.state = dict(_genesis(document))
        self.height, self.count = 0, 0
        self.tx_id = b""
        self.events: list[Event] = []
        self.codec = TransactionCodec(app.messages)
        self.last: CheckedTx | None = None
        self._admission = Admission(CHAIN, app)
        self._replays = replays.Replays()

    def transaction(self, time: int, signers: list[Signs], messages: list[Message]) -> CheckedTx:
        """A transaction as it travels. Its signatures are not made: whoever is named here has signed."""
        self.count += 1
        tx: Tx[Message] = Tx(
            chain=CHAIN,
            expires_at=time + 60,
            salt=self.count.to_bytes(8),
            signers=[Signer(key=public(k), did=None if d is None else did(d)) for d, k in signers],
            msgs=messages,
        )
        checked, _ = self.codec.read(transactions.assemble(transactions.encode(tx), [bytes(64)] * len(signers)))
        return checked

    def block(self, time: int, tx: CheckedTx, app: Contracts | None = None) -> tuple[Result, list[bytes]]:
        """Execute and commit the next block, which holds this transaction; its result, and the keys that changed."""
        run = self._run(time, app)
        run.apply(tx)
        ids, _ = run.finish()
        changed = self._commit(run)
        self._replays.apply(ids)
        self.last, self.tx_id, self.events = tx, bytes(tx.id), run.results.events
        return run.results.results[0], changed

    def proof(self, time: int, found: Misbehaviour) -> list[bytes]:
        """Execute and commit a block that has proof of something and no transaction; the keys that changed."""
        run = self._run(time)
        run.note(found)
        run.finish()
        self.events = run.results.events
        return self._commit(run)

    def _run(self, time: int, app: Contracts | None = None) -> Execution:
        return Execution(
            app or self.app,
            self.codec,
            self._admission,
            self._replays,
            committed=self.state,
            height=self.height + 1,
            time=time,
        )

    def _commit(self, run: Execution) -> list[bytes]:
        changes = run.view.changes()
        for name, _, now in changes:
            if now is None:
                del self.state[name]
            else:
                self.state[name] = now
        self.height += 1
        return [name for name, _, _ in changes]


@lru_cache
def _genesis(document: bytes) -> dict[bytes, bytes]:
    view = View({})
    Contracts().genesis(view, document)
    log, _ = history.append(history.frontier(view), [])
    view.put(history.STATE_KEY, codec.encode(log))
    return {name: now for name, _, now in view.changes() if now is not None}
