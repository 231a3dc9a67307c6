"""Any state under the real machine: a block executed on it, and what came of that."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from caremesh import codec
from caremesh.contracts import Contracts
from caremesh.crypto.hashes import sha256
from caremesh.ledger import history
from caremesh.ledger.application import Application, Event, Result
from caremesh.ledger.authenticated_map import AuthenticatedMap
from caremesh.ledger.machine import Machine
from caremesh.ledger.store import Head, Store
from caremesh.ledger.trie import leaf_hash
from caremesh.types import Digest, Height, Seconds

State = Mapping[bytes, bytes]

SMALL_MAP: int = 2**22
"""Bytes of address space for a state of a few hundred keys; the map grows by itself."""
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
"""Where there is such a place, syncing to it costs nothing; what is tried here has no need to last."""


class Outcome(msgspec.Struct, frozen=True):
    """What a block did. ``put`` and ``delete``: how the state after differs from the one before."""

    ids: list[bytes]
    results: list[Result]
    events: list[Event]
    put: dict[bytes, bytes]
    delete: list[bytes]
    before: Digest
    after: Digest


def app_hash(state: State) -> Digest:
    """The root over a whole state."""
    tree = AuthenticatedMap()
    digests = {sha256(key): sha256(value) for key, value in state.items()}
    tree.load([(digest, leaf_hash(digest, digests[digest])) for digest in sorted(digests)])
    return tree.root


def with_history(state: State) -> dict[bytes, bytes]:
    """A state with the record of the history, which every machine's state holds from genesis on."""
    log, _ = history.append(history.frontier(state), [])
    return {history.STATE_KEY: codec.encode(log), **state}


def machine_at(
    folder: Path, chain: str, state: State, height: Height, time: Seconds, app: Application | None = None
) -> Machine:
    """A machine whose last block was ``height``, at ``time``, and left this state."""
    store = Store(str(folder), chain, map_bytes=SMALL_MAP)
    store.begin_restore(chain)
    store.restore_records(sorted(state.items()))
    head = Head(chain, height, time, app_hash(state), bytes(32))
    store.finish_restore(head, bytes(32), history.peaks_of(history.frontier(state)))
    return Machine(store, app or Contracts())


def outcome(
    chain: str, state: State, height: Height, time: Seconds, txs: Sequence[bytes], app: Application | None = None
) -> Outcome:
    """Execute and commit the block ``height`` on a state, in a database that is then thrown away."""
    where = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="caremesh-state-", dir=where) as folder:
        machine = machine_at(Path(folder), chain, state, height - 1, time, app)
        before = machine.head.app_hash
        try:
            done = machine.execute(height, time, list(txs))
            machine.commit(done, block=b"", header=bytes(32))
            reader = machine.reader()
            assert all(reader.get(key) == now for key, _, now in done.changes)
        finally:
            machine.store.close()
    return Outcome(
        ids=done.results.txs,
        results=done.results.results,
        events=done.results.events,
        put={key: now for key, _, now in done.changes if now is not None},
        delete=[key for key, _, now in done.changes if now is None],
        before=before,
        after=done.app_hash,
    )
