"""State sync, as CometBFT asks for it: what this node has to give, and what it takes from others.

A snapshot of somebody else's is believed in two steps. Its manifest, when it is offered: the roots of its chunks must
lead to the app hash that CometBFT's light client has verified, and what it says of its block must be what our own light
client finds in that block's header. Then each chunk for itself, against its root. A chunk that is not what the manifest
says is asked for again, and not of who has sent it. They are gathered beside the state, which becomes another only when
the last of them is there, and all of it durable.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from caremesh.consensus.cometbft.abci_pb2 import (
    RequestApplySnapshotChunk,
    RequestLoadSnapshotChunk,
    RequestOfferSnapshot,
    ResponseApplySnapshotChunk,
    ResponseListSnapshots,
    ResponseLoadSnapshotChunk,
    ResponseOfferSnapshot,
    Snapshot,
)
from caremesh.consensus.cometbft.joining import Headers
from caremesh.consensus.cometbft.snapshot_files import SnapshotFiles
from caremesh.consensus.compaction import put_in_place
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, CareMeshError, StorageFailed, Tampered
from caremesh.ledger import snapshot
from caremesh.ledger.machine import Machine
from caremesh.ledger.snapshot import CHUNKS, Manifest, Restore
from caremesh.ledger.store import NOT_WRITTEN, Store
from caremesh.types import Digest

FORMAT: Final = 1
_AHEAD: Final = 2
"""CometBFT looks at two headers after that of a snapshot: before they exist, it would refuse it for good."""
_BESIDE: Final = "joined"

Offered = ResponseOfferSnapshot
Applied = ResponseApplySnapshotChunk


class Joins(NamedTuple):
    """A node that joins. ``folder``: the machine's; ``joined``: is told when the state has become a snapshot's."""

    headers: Headers
    folder: Path
    joined: Callable[[], None]


class Snapshots:
    """What the application answers to the four requests about snapshots. ``offer`` and ``apply``: one at a time."""

    def __init__(self, machine: Machine, files: SnapshotFiles | None = None, joins: Joins | None = None) -> None:
        """``files``: what others may have. ``joins``: without it no snapshot is taken of others."""
        self._machine: Final = machine
        self._files: Final = files
        self._joins: Final = joins
        self._taking: tuple[Restore, Store, Digest] | None = None
        """What is gathered, where, and the set that signs the block after it."""
        self.asked = 0
        """How many requests about a snapshot of others came."""

    def close(self) -> None:
        """Let go of what is half there."""
        if self._files is not None:
            self._files.close()
        self._give_up()

    def listed(self) -> ResponseListSnapshots:
        """What others may have."""
        found = self._files.listed(self._machine.head.height - _AHEAD) if self._files is not None else []
        return ResponseListSnapshots(
            snapshots=[
                Snapshot(height=height, format=FORMAT, chunks=CHUNKS, hash=sha256(manifest), metadata=manifest)
                for height, manifest in found
            ]
        )

    def load(self, request: RequestLoadSnapshotChunk) -> ResponseLoadSnapshotChunk:
        """A chunk for somebody else; nothing where it is not here."""
        if request.format != FORMAT or self._files is None:
            return ResponseLoadSnapshotChunk()
        return ResponseLoadSnapshotChunk(chunk=self._files.chunk(request.height, request.chunk))

    def offer(self, request: RequestOfferSnapshot) -> ResponseOfferSnapshot:
        """Whether a snapshot is to be fetched; from then on its chunks are awaited. Raises StorageFailed."""
        self.asked += 1
        self._give_up()
        if self._joins is None:
            return Offered(result=Offered.ABORT)
        if request.snapshot.format != FORMAT:
            return Offered(result=Offered.REJECT_FORMAT)
        manifest = _manifest_of(request)
        if manifest is None:
            return Offered(result=Offered.REJECT_SENDER)
        return Offered(result=self._verdict(self._joins, manifest))

    def _verdict(self, joins: Joins, manifest: Manifest) -> ResponseOfferSnapshot.Result:
        head = self._machine.head
        if manifest.height < max(head.height, 1):  # what is here already is never exchanged for what is older
            return Offered.REJECT
        try:
            this, after = joins.headers.around(manifest.height)
        except CareMeshError:
            return Offered.REJECT
        with self._machine.store.read() as read:
            genesis = read.genesis() or b""
        roots = manifest.roots
        true = Manifest(1, head.chain, genesis, this.height, this.time, after.app_hash, this.hash(), roots)
        if manifest != true:
            return Offered.REJECT_SENDER
        self._begin(joins.folder / _BESIDE, manifest, after.validators)
        return Offered.ACCEPT

    def apply(self, request: RequestApplySnapshotChunk) -> ResponseApplySnapshotChunk:
        """Take in a chunk; with the last, the state becomes that of the snapshot.

        Raises StorageFailed; Tampered ledger.32 when what was written cannot be read.
        """
        self.asked += 1
        if self._taking is None or self._joins is None:
            return Applied(result=Applied.ABORT)
        restore, store, signers = self._taking
        try:
            restore.put(request.index, request.chunk)
        except (BadInput, Tampered):
            if request.index >= CHUNKS:
                return Applied(result=Applied.REJECT_SNAPSHOT)
            return Applied(
                result=Applied.RETRY,
                refetch_chunks=[request.index],
                reject_senders=[request.sender] if request.sender else [],
            )
        if restore.missing is None:
            restore.finish(signers)
            store.close()
            self._taking = None
            folder = self._joins.folder
            self._machine.take_over(lambda: put_in_place(folder / _BESIDE, folder))
            self._give_up()
            self._joins.joined()
        return Applied(result=Applied.ACCEPT)

    def _begin(self, beside: Path, manifest: Manifest, signers: Digest) -> None:
        try:
            beside.mkdir(mode=0o700)
        except OSError as error:
            raise StorageFailed(NOT_WRITTEN, _BESIDE) from error
        store = Store(str(beside), manifest.chain)
        try:
            self._taking = Restore(store, manifest), store, signers
        except BaseException:
            store.close()
            raise

    def _give_up(self) -> None:
        if self._taking is not None:
            self._taking[1].close()
            self._taking = None
        if self._joins is not None:
            shutil.rmtree(self._joins.folder / _BESIDE, ignore_errors=True)


def _manifest_of(request: RequestOfferSnapshot) -> Manifest | None:
    """What is offered, if it is of CometBFT's app hash and adds up."""
    offered = request.snapshot
    try:
        manifest = snapshot.read_manifest(offered.metadata)
    except (BadInput, Tampered):
        return None
    said = (offered.chunks, offered.hash, offered.height, request.app_hash)
    return manifest if said == (CHUNKS, sha256(offered.metadata), manifest.height, manifest.app_hash) else None
