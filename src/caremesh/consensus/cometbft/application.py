"""The ledger as CometBFT sees it: ABCI 2.0, a function for each request.

CometBFT decides which transactions stand in which block; the machine decides what they do. A block is executed when
FinalizeBlock comes, as often as it comes, and changes what is committed only when Commit comes; the answer to Commit
goes out when the block is durable. So Info tells CometBFT at every start from which block on to repeat itself.

Everything that only checks (CheckTx, Query, ProcessProposal) answers whatever it is asked. What must not go wrong
raises: the server then ends the application, and nothing half-done is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from caremesh import codec
from caremesh.consensus.cometbft.abci_pb2 import (
    ExecTxResult,
    Request,
    RequestCheckTx,
    RequestFinalizeBlock,
    RequestInitChain,
    RequestPrepareProposal,
    RequestProcessProposal,
    RequestQuery,
    Response,
    ResponseCheckTx,
    ResponseCommit,
    ResponseEcho,
    ResponseFinalizeBlock,
    ResponseFlush,
    ResponseInfo,
    ResponseInitChain,
    ResponsePrepareProposal,
    ResponseProcessProposal,
    ResponseQuery,
)
from caremesh.consensus.cometbft.beginning import Beginning
from caremesh.consensus.cometbft.checked import CheckedTransactions
from caremesh.consensus.cometbft.proposals import Proposals
from caremesh.consensus.cometbft.records import block_record
from caremesh.consensus.cometbft.snapshots import Snapshots
from caremesh.consensus.cometbft.validators import misbehaviour_in, updates
from caremesh.consensus.cometbft.watched import Watched
from caremesh.crypto.signatures import ED25519_PREFIX
from caremesh.errors import BadInput, CareMeshError, ErrorCode, Refused, WrongLedger
from caremesh.ledger.application import Application, Result
from caremesh.ledger.blocks import Block, Validator
from caremesh.ledger.light import Answer
from caremesh.ledger.machine import NOT_KEPT, Executed, Machine
from caremesh.ledger.transactions import CheckedTx
from caremesh.types import Seconds

NOT_ASKED = ErrorCode(
    "consensus.21", "CometBFT asks for what this application does not do.", "Use the config that CareMesh has written."
)
OTHER_GENESIS = ErrorCode(
    "consensus.22", "CometBFT's genesis is not that of this ledger.", "Use the genesis that all members have signed."
)
NOTHING_DONE = ErrorCode(
    "consensus.23", "CometBFT commits a block that was not executed here.", "Start the node again."
)
UNKNOWN_PATH = ErrorCode("consensus.24", "There is nothing to ask for under this path.", "Ask for /state.")

BAD_BLOCK = ErrorCode(
    "consensus.27", "CometBFT has decided a block whose hash or time no ledger can keep.", "Stop, and ask the others."
)

STATE_PATH: Final = "/state"
_END_OF_TIME: Final[Seconds] = 2**40
"""No ledger's time is written from here on."""
_OK, _REFUSED = 0, 1
_DIGEST: Final = 32
Finished = Callable[[Block, Executed], None]


class LedgerApplication:
    """One replica's machine behind CometBFT. Requests of several connections may come at once."""

    def __init__(
        self,
        machine: Machine,
        app: Application,
        *,
        begins: Beginning,
        clock: Callable[[], Seconds],
        finished: Finished = lambda *_: None,
        snapshots: Snapshots | None = None,
    ) -> None:
        """``finished``: is told of each block once it is durable, before CometBFT is."""
        self.machine: Final = machine
        self.checked: Final = CheckedTransactions(machine.codec)
        self._proposals: Final = Proposals(app, self.checked, lambda: machine.params)
        self._begins: Final = begins
        self._validators: Final = begins.validators
        self._clock: Final = clock
        self._snapshots: Final = snapshots or Snapshots(machine)
        self._finished: Final = finished
        self.watched: Final = Watched()
        """What it has seen, for whoever looks after the node."""
        self._turn: Final = threading.Lock()
        """One request at a time of those that execute, commit, or say what is committed."""
        self._done: tuple[Executed, RequestFinalizeBlock] | None = None

    def answer(self, request: Request) -> Response:  # noqa: PLR0911, PLR0912 - one line for each request of ABCI
        """The response to a request.

        Raises Refused consensus.21 and .23, BadInput consensus.27, WrongLedger consensus.22, and what the machine does.
        """
        match request.WhichOneof("value"):
            case "check_tx":
                return Response(check_tx=self._check_tx(request.check_tx))
            case "flush":
                return Response(flush=ResponseFlush())
            case "echo":
                return Response(echo=ResponseEcho(message=request.echo.message))
            case "info":
                return Response(info=self._info())
            case "query":
                return Response(query=self._query(request.query))
            case "init_chain":
                return Response(init_chain=self._init_chain(request.init_chain))
            case "prepare_proposal":
                return Response(prepare_proposal=self._prepare(request.prepare_proposal))
            case "process_proposal":
                return Response(process_proposal=self._process(request.process_proposal))
            case "finalize_block":
                return Response(finalize_block=self._finalize(request.finalize_block))
            case "commit":
                return Response(commit=self._commit())
            case "list_snapshots":
                return Response(list_snapshots=self._snapshots.listed())
            case "offer_snapshot":
                with self._turn:
                    return Response(offer_snapshot=self._snapshots.offer(request.offer_snapshot))
            case "load_snapshot_chunk":
                return Response(load_snapshot_chunk=self._snapshots.load(request.load_snapshot_chunk))
            case "apply_snapshot_chunk":
                with self._turn:
                    return Response(apply_snapshot_chunk=self._snapshots.apply(request.apply_snapshot_chunk))
            case other:  # vote extensions are never enabled, and the mempool is CometBFT's own
                raise Refused(NOT_ASKED, other or "")

    def _info(self) -> ResponseInfo:
        with self._turn:
            head = self.machine.head
        # To CometBFT nothing has happened before its first block, whatever number that has: it then asks for InitChain.
        height = 0 if head.height == self._begins.height else head.height
        return ResponseInfo(data="caremesh", app_version=1, last_block_height=height, last_block_app_hash=head.app_hash)

    def _init_chain(self, request: RequestInitChain) -> ResponseInitChain:
        begins = self._begins
        with self._turn:
            head = self.machine.head
            if (
                request.chain_id != begins.chain
                or request.app_state_bytes != app_state(begins.document)
                or (request.time.seconds, request.time.nanos) != (begins.time, 0)
                or request.initial_height != begins.height + 1
                or not self._are_ours(request)
                or not _same(self.machine.validators or self._validators, self._validators)
                or head.height != begins.height
                or (begins.app_hash and (head.app_hash, head.header) != (begins.app_hash, begins.document))
            ):
                raise WrongLedger(OTHER_GENESIS)
            return ResponseInitChain(app_hash=head.app_hash)

    def _are_ours(self, request: RequestInitChain) -> bool:
        named = [Validator(ED25519_PREFIX + row.pub_key.ed25519, row.power) for row in request.validators]
        return _same(named, self._validators)

    def _check_tx(self, request: RequestCheckTx) -> ResponseCheckTx:
        try:
            self.machine.check(self.checked.decode(request.tx), max(self._clock(), self.machine.head.time))
        except CareMeshError as error:
            self.watched.refused[error.code] += 1
            return ResponseCheckTx(code=_REFUSED, data=error.code.encode(), log=error.error.sentence)
        return ResponseCheckTx()

    def _prepare(self, request: RequestPrepareProposal) -> ResponsePrepareProposal:
        time = max(request.time.seconds, 0)
        return ResponsePrepareProposal(txs=self._proposals.prepare(request.txs, time, request.max_tx_bytes))

    def _process(self, request: RequestProcessProposal) -> ResponseProcessProposal:
        head, time = self.machine.head, request.time.seconds
        fits = request.height == head.height + 1 and head.time <= time < _END_OF_TIME
        good = fits and self._proposals.is_acceptable(request.txs, time)
        return ResponseProcessProposal(
            status=ResponseProcessProposal.ACCEPT if good else ResponseProcessProposal.REJECT
        )

    def _finalize(self, request: RequestFinalizeBlock) -> ResponseFinalizeBlock:
        with self._turn:
            self._done = None
            hashes = (request.hash, request.next_validators_hash)
            if any(len(value) != _DIGEST for value in hashes) or request.time.seconds >= _END_OF_TIME:
                raise BadInput(BAD_BLOCK, f"height {request.height}")
            done = self.machine.execute(
                request.height,
                request.time.seconds,
                [self._decoded(raw) for raw in request.txs],
                misbehaviour_in(request),
            )
            self._done = done, request
            before = self.machine.validators or self._validators
        return ResponseFinalizeBlock(
            tx_results=[_exec_result(result) for result in done.results.results],
            validator_updates=updates(before, done.validators or before),
            app_hash=done.app_hash,
        )

    def _commit(self) -> ResponseCommit:
        with self._turn:
            if self._done is None:
                raise Refused(NOTHING_DONE)
            (done, request), self._done = self._done, None
            txs, after = list(request.txs), request.next_validators_hash
            block = block_record(self.machine, done, txs, after, self._validators, misbehaviour_in(request))
            self.machine.commit(done, block=codec.encode(block), header=request.hash)
            self.checked.forget(block.txs)
            self.watched.committed(request)
            self._finished(block, done)
            # No snapshot here is older (``snapshot_files``); what proof may need CometBFT keeps besides (ADR 0117).
            return ResponseCommit(retain_height=max(0, done.height - done.params.retain_blocks + 1))

    def _query(self, request: RequestQuery) -> ResponseQuery:
        try:
            if request.path != STATE_PATH:
                raise BadInput(UNKNOWN_PATH)
            if request.height < 0:
                raise BadInput(NOT_KEPT, f"height {request.height}")
            value, proof, height = self.machine.prove(request.data, request.height or None)
        except CareMeshError as error:
            return ResponseQuery(code=_REFUSED, log=error.code, codespace="caremesh")
        del value  # it stands in the proof
        answer = codec.encode(Answer(request.data, height, proof))
        return ResponseQuery(key=request.data, value=answer, height=height)

    def _decoded(self, raw: bytes) -> bytes | CheckedTx:
        try:
            return self.checked.decode(raw)
        except CareMeshError:
            return raw  # executing it says what is wrong


def app_state(genesis: bytes) -> bytes:
    """The genesis document as it stands in CometBFT's genesis: JSON, which holds no bytes."""
    return b'"' + genesis.hex().encode() + b'"'


def _same(one: Sequence[Validator], other: Sequence[Validator]) -> bool:
    """Whether two sets are one, in whatever order."""
    return sorted((each.key, each.power) for each in one) == sorted((each.key, each.power) for each in other)


def _exec_result(result: Result) -> ExecTxResult:
    """Code and data are consensus: the stable code of the refusal, and nothing that is for people."""
    return ExecTxResult(code=_REFUSED, data=result.code.encode()) if result.code else ExecTxResult()
