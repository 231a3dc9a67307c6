"""A chain without CometBFT: blocks asked of the application by hand, headers signed by keys of the tests, and what
CometBFT would answer at ``/commit``, ``/validators`` and ``/status``."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from caremesh.consensus import kept
from caremesh.consensus.cometbft.abci_pb2 import (
    Request,
    RequestApplySnapshotChunk,
    RequestCommit,
    RequestFinalizeBlock,
    RequestLoadSnapshotChunk,
    RequestOfferSnapshot,
    ResponseApplySnapshotChunk,
    ResponseFinalizeBlock,
    Snapshot,
    Time,
)
from caremesh.consensus.cometbft.application import LedgerApplication
from caremesh.consensus.cometbft.beginning import Beginning
from caremesh.consensus.cometbft.joining import Headers, Joining
from caremesh.consensus.cometbft.rpc import NO_ANSWER
from caremesh.consensus.cometbft.snapshot_files import SnapshotFiles, Snapshotting
from caremesh.consensus.cometbft.snapshots import Joins, Snapshots
from caremesh.crypto.signatures import ED25519_PREFIX
from caremesh.errors import Unavailable
from caremesh.ledger.application import Params
from caremesh.ledger.blocks import Block, Validator
from caremesh.ledger.comet import BlockId, CometHeader, Instant, address_of
from caremesh.ledger.light import LightBlock
from tests.support.comet_headers import KEYS, PARTS, header, members, name_of, signed
from tests.support.kv import CHAIN, GENESIS, MEMBER, START_S, Clock, Kv

SIGNERS: list[Validator] = members(0)
EVERY = Snapshotting(every=2, kept=2)


class Node:
    """An application over a folder, and its snapshots; with ``joins`` it takes those of others."""

    def __init__(
        self,
        folder: Path,
        plan: Snapshotting = EVERY,
        params: Params | None = None,
        joining: Joining | None = None,
    ) -> None:
        self.folder = folder
        app = Kv([MEMBER], params or Params())
        self.machine = kept.open_machine(folder / "state", app, chain=CHAIN, genesis=GENESIS, genesis_time=START_S)
        self.clock = Clock()
        self.failed: list[BaseException] = []
        self.joined = 0
        self.files = SnapshotFiles(folder / "snapshots", self.machine.store, plan, self.failed.append)
        joins = None
        if joining is not None:
            joins = Joins(Headers(CHAIN, joining, self.clock), folder / "state", self._joined)
        self.snapshots = Snapshots(self.machine, self.files, joins)
        self.application = LedgerApplication(
            self.machine,
            app,
            begins=Beginning(CHAIN, GENESIS, START_S, SIGNERS),
            clock=self.clock,
            finished=lambda _, done: self.files.committed(self.machine.head, done.params.retain_blocks),
            snapshots=self.snapshots,
        )

    def close(self) -> None:
        self.snapshots.close()
        self.machine.store.close()

    def settle(self) -> None:
        """Wait until the snapshot that is being taken is."""
        taking = self.files._taking
        if taking is not None:
            taking.join()

    def take(self, block: CometHeader, *txs: bytes) -> ResponseFinalizeBlock:
        """Execute and commit the block under a header, and the snapshot if it is time for one."""
        request = RequestFinalizeBlock(
            txs=txs,
            hash=block.hash(),
            next_validators_hash=block.next_validators,
            height=block.height,
            time=Time(seconds=block.time, nanos=block.nanos),
        )
        answer = self.application.answer(Request(finalize_block=request)).finalize_block
        self.application.answer(Request(commit=RequestCommit()))
        self.settle()
        return answer

    def record(self) -> Block:
        return kept.block_at(self.machine, self.machine.head.height)

    def listed(self) -> list[Snapshot]:
        return list(self.snapshots.listed().snapshots)

    def chunk(self, height: int, number: int, kind: int = 1) -> bytes:
        request = RequestLoadSnapshotChunk(height=height, chunk=number, format=kind)
        return self.application.answer(Request(load_snapshot_chunk=request)).load_snapshot_chunk.chunk

    def offer(self, snapshot: Snapshot, app_hash: bytes) -> int:
        request = RequestOfferSnapshot(snapshot=snapshot, app_hash=app_hash)
        return self.application.answer(Request(offer_snapshot=request)).offer_snapshot.result

    def apply(self, index: int, chunk: bytes, sender: str = "peer") -> ResponseApplySnapshotChunk:
        request = RequestApplySnapshotChunk(index=index, chunk=chunk, sender=sender)
        return self.application.answer(Request(apply_snapshot_chunk=request)).apply_snapshot_chunk

    def _joined(self) -> None:
        self.joined += 1


class Chain:
    """Headers of one validator, and what its CometBFT would answer about them."""

    def __init__(self) -> None:
        self.headers: list[CometHeader] = []
        self.oldest = 1
        self.asked: list[str] = []

    def next(self, app_hash: bytes, later_s: int = 1) -> CometHeader:
        """The header of the next block, over the state before it."""
        before = self.headers[-1] if self.headers else None
        made = header(len(self.headers) + 1, SIGNERS, app_hash, CHAIN)
        time = (before.time if before else START_S) + later_s
        previous = BlockId(before.hash(), PARTS) if before else made.previous
        fields = {name: getattr(made, name) for name in made.__struct_fields__}
        made = CometHeader(**{**fields, "time": time, "previous": previous, "next_validators": name_of(SIGNERS)})
        self.headers.append(made)
        return made

    def light(self, height: int) -> LightBlock:
        return signed(self.headers[height - 1], SIGNERS, 0)

    def fetch(self, path: str, query: Mapping[str, str]) -> bytes:
        """See ``joining.Fetch``."""
        self.asked.append(path)
        newest = len(self.headers)
        if path == "/status":
            info = {"latest_block_height": str(newest), "earliest_block_height": str(self.oldest)}
            return _answer({"sync_info": info})
        height = int(query["height"])
        if height > newest:
            message = f"height {height} must be less than or equal to the current blockchain height {newest}"
            return json.dumps({"jsonrpc": "2.0", "id": -1, "error": {"code": -32603, "data": message}}).encode()
        if height < self.oldest:
            raise Unavailable(NO_ANSWER, path)
        if path == "/validators":
            found = [
                {
                    "address": address_of(each.key).hex().upper(),
                    "pub_key": {"type": "tendermint/PubKeyEd25519", "value": _text(each.key[len(ED25519_PREFIX) :])},
                    "voting_power": str(each.power),
                }
                for each in SIGNERS
            ]
            return _answer({"block_height": str(height), "validators": found, "total": str(len(found))})
        return _answer({"signed_header": self._signed(self.headers[height - 1])})

    def joining(self, height: int = 1) -> Joining:
        """Joining by one of these headers."""
        return Joining(height, self.headers[height - 1].hash(), [self.fetch])

    def _signed(self, made: CometHeader) -> dict[str, Any]:
        at = Instant(made.time + 1, 0)
        vote = {
            "block_id_flag": 2,
            "validator_address": address_of(SIGNERS[0].key).hex().upper(),
            "timestamp": _time(at.seconds, at.nanos),
            "signature": _text(KEYS[0].sign(made.signing_input(at, made.hash()))),
        }
        block_id = {"hash": _hex(made.hash()), "parts": {"total": made.parts.total, "hash": _hex(made.parts.hash)}}
        last = {"total": made.previous.parts.total, "hash": _hex(made.previous.parts.hash)}
        return {
            "header": {
                "version": {"block": str(made.block_version)},
                "chain_id": made.chain,
                "height": str(made.height),
                "time": _time(made.time, made.nanos),
                "last_block_id": {"hash": _hex(made.previous.hash), "parts": last},
                "last_commit_hash": _hex(made.last_commit),
                "data_hash": _hex(made.txs),
                "validators_hash": _hex(made.validators),
                "next_validators_hash": _hex(made.next_validators),
                "consensus_hash": _hex(made.params),
                "app_hash": _hex(made.app_hash),
                "last_results_hash": _hex(made.results),
                "evidence_hash": _hex(made.evidence),
                "proposer_address": _hex(made.proposer),
            },
            "commit": {"height": str(made.height), "round": made.round, "block_id": block_id, "signatures": [vote]},
        }


def _answer(result: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": -1, "result": result}).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _hex(data: bytes) -> str:
    return data.hex().upper()


def _time(seconds: int, nanos: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{nanos:09}Z"
