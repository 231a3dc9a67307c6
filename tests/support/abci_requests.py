"""Requests of ABCI as nobody should send them: right ones, wrong ones, and the bytes of either, damaged."""

from __future__ import annotations

import random
from collections.abc import Callable

from caremesh.consensus.cometbft.abci_pb2 import (
    Misbehavior,
    PublicKey,
    Request,
    RequestApplySnapshotChunk,
    RequestCheckTx,
    RequestCommit,
    RequestEcho,
    RequestExtendVote,
    RequestFinalizeBlock,
    RequestFlush,
    RequestInfo,
    RequestInitChain,
    RequestListSnapshots,
    RequestLoadSnapshotChunk,
    RequestOfferSnapshot,
    RequestPrepareProposal,
    RequestProcessProposal,
    RequestQuery,
    RequestVerifyVoteExtension,
    Snapshot,
    Time,
    Validator,
    ValidatorUpdate,
)
from caremesh.consensus.cometbft.application import STATE_PATH, app_state
from caremesh.ledger.blocks import Validator as Row
from caremesh.ledger.comet import varint
from caremesh.ledger.machine import Machine
from caremesh.ledger.transactions import Message
from tests.support.kv import CHAIN, GENESIS, START_S, VALUES, Append, Delete, Elect, Put, Refuse, Revoke, transaction

KEYS = [b"\xed\x01" + bytes([number] * 32) for number in range(3)]
EXTREMES = (0, 1, -1, 2**31, 2**53 - 1, 2**53, 2**63 - 1, -(2**63))


class AnyAbci:
    """Makes requests from a seed and from where the machine stands."""

    def __init__(self, seed: int, machine: Machine) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a seed must replay
        self._machine = machine
        self._sent: list[bytes] = []
        self._kinds: list[Callable[[], Request]] = [
            lambda: Request(echo=RequestEcho(message=self._text())),
            lambda: Request(flush=RequestFlush()),
            lambda: Request(info=RequestInfo(version=self._text(), block_version=self.rng.getrandbits(64))),
            self._init_chain,
            self._query,
            self._check_tx,
            self._check_tx,
            self._prepare,
            self._process,
            self._finalize,
            self._finalize,
            lambda: Request(commit=RequestCommit()),
            lambda: Request(commit=RequestCommit()),
            lambda: Request(list_snapshots=RequestListSnapshots()),
            self._offer,
            lambda: Request(load_snapshot_chunk=RequestLoadSnapshotChunk(height=self.rng.getrandbits(64))),
            self._apply,
            lambda: Request(extend_vote=RequestExtendVote()),
            lambda: Request(verify_vote_extension=RequestVerifyVoteExtension()),
            Request,
        ]

    def request(self) -> Request:
        """One request."""
        return self.rng.choice(self._kinds)()

    def damaged(self) -> bytes:
        """A framed request with some of its bytes changed, lost or put in."""
        message = bytearray(self.request().SerializeToString())
        data = bytearray(varint(len(message)) + message)
        for _ in range(self.rng.randint(1, 3)):
            at = self.rng.randrange(len(data) + 1)
            match self.rng.randrange(3):
                case 0 if at < len(data):
                    data[at] = self.rng.randrange(256)
                case 1:
                    del data[at : at + self.rng.randint(1, 4)]
                case _:
                    data[at:at] = self.rng.randbytes(self.rng.randint(1, 4))
        return bytes(data)

    def good_block(self) -> Request:
        """A block that follows, as CometBFT sends it."""
        return self._block([self._good() for _ in range(self.rng.randrange(4))])

    def _block(self, txs: list[bytes]) -> Request:
        head = self._machine.head
        return Request(
            finalize_block=RequestFinalizeBlock(
                txs=txs,
                hash=self.rng.randbytes(32),
                next_validators_hash=self.rng.randbytes(32),
                height=head.height + 1,
                time=Time(seconds=head.time + self.rng.choice([0, 1, 60]), nanos=self.rng.randrange(10**9)),
                misbehavior=self._misbehavior(),
            )
        )

    def _good(self) -> bytes:
        key = b"%d" % self.rng.randrange(50)
        message: Message = self.rng.choice(
            [Put(key=key, value=key), Delete(key=key), Append(owner=key, item=key), Refuse(key=key), Revoke(key=key)]
        )
        if self.rng.random() < 0.1:
            message = Elect([Row(key, self.rng.choice([1, 5])) for key in self.rng.sample(KEYS, self.rng.randrange(3))])
        ahead = self.rng.choice([-1, 0, 60, 600, 601, 10**6])
        raw = transaction(message, expires_at=self._machine.head.time + ahead, salt=self.rng.randbytes(8))
        self._sent = [*self._sent[-20:], raw]
        return raw

    def _tx(self) -> bytes:
        match self.rng.randrange(6):
            case 0:
                return self.rng.randbytes(self.rng.randrange(200))
            case 1 if self._sent:
                return self.rng.choice(self._sent)
            case 2:
                raw = bytearray(self._good())
                raw[self.rng.randrange(len(raw))] ^= 1 << self.rng.randrange(8)
                return bytes(raw)
            case _:
                return self._good()

    def _txs(self) -> list[bytes]:
        return [self._tx() for _ in range(self.rng.randrange(5))]

    def _height(self) -> int:
        head = self._machine.head.height
        return self.rng.choice([head + 1, head + 1, head + 1, head, head + 2, self.rng.choice(EXTREMES)])

    def _time(self) -> Time:
        now = self._machine.head.time
        some = self.rng.choice([now, now + 1, now + 1, now - 1, self.rng.choice(EXTREMES)])
        return Time(seconds=some, nanos=self.rng.choice([0, 5, -5, 2**31 - 1]))

    def _hash(self) -> bytes:
        return self.rng.randbytes(self.rng.choice([32, 32, 32, 0, 31, 33]))

    def _text(self) -> str:
        return self.rng.choice(["", "a", "\0", "é" * 50, "/state", "0.39.4"])

    def _init_chain(self) -> Request:
        validators = [
            ValidatorUpdate(pub_key=PublicKey(ed25519=self._hash()), power=self.rng.choice(EXTREMES)) for _ in range(2)
        ]
        return Request(
            init_chain=RequestInitChain(
                time=self.rng.choice([Time(seconds=START_S), self._time()]),
                chain_id=self.rng.choice([CHAIN, self._text()]),
                app_state_bytes=self.rng.choice([app_state(GENESIS), self.rng.randbytes(9)]),
                initial_height=self.rng.choice([1, *EXTREMES]),
                validators=self.rng.choice([validators, []]),
            )
        )

    def _query(self) -> Request:
        return Request(
            query=RequestQuery(
                path=self.rng.choice([STATE_PATH, self._text()]),
                data=self.rng.choice([VALUES.key(b"1"), self.rng.randbytes(5), b""]),
                height=self.rng.choice([0, self._height()]),
                prove=self.rng.random() < 0.5,
            )
        )

    def _check_tx(self) -> Request:
        request = RequestCheckTx(tx=self._tx())
        request.type = self.rng.choice([0, 1, 2, -1])  # type: ignore[assignment] - proto3 keeps numbers it does not know
        return Request(check_tx=request)

    def _prepare(self) -> Request:
        return Request(
            prepare_proposal=RequestPrepareProposal(
                txs=self._txs(),
                max_tx_bytes=self.rng.choice([2**20, *EXTREMES]),
                height=self._height(),
                time=self._time(),
            )
        )

    def _process(self) -> Request:
        return Request(
            process_proposal=RequestProcessProposal(
                txs=self._txs(), hash=self._hash(), height=self._height(), time=self._time()
            )
        )

    def _finalize(self) -> Request:
        if self.rng.random() < 0.5:
            return self._block(self._txs())
        return Request(
            finalize_block=RequestFinalizeBlock(
                txs=self._txs(),
                hash=self._hash(),
                next_validators_hash=self._hash(),
                height=self._height(),
                time=self._time(),
                misbehavior=self._misbehavior(),
            )
        )

    def _misbehavior(self) -> list[Misbehavior]:
        """Mostly none; what there is may be of nobody, of any kind and time."""
        if self.rng.random() < 0.8:
            return []
        found = Misbehavior(
            validator=Validator(address=self.rng.randbytes(self.rng.choice([20, 20, 0, 19])), power=1),
            height=self._height(),
            time=self._time(),
        )
        found.type = self.rng.choice([1, 2, 0, 7, -1])  # type: ignore[assignment] - proto3 keeps numbers it does not know
        return [found] * self.rng.choice([1, 1, 2])

    def _offer(self) -> Request:
        snapshot = Snapshot(height=self.rng.getrandbits(64), format=self.rng.getrandbits(32), hash=self._hash())
        return Request(offer_snapshot=RequestOfferSnapshot(snapshot=snapshot, app_hash=self._hash()))

    def _apply(self) -> Request:
        chunk = RequestApplySnapshotChunk(
            index=self.rng.getrandbits(32), chunk=self.rng.randbytes(9), sender=self._text()
        )
        return Request(apply_snapshot_chunk=chunk)
