"""The ledger behind ABCI: what each request answers, and what it must not do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from caremesh import codec
from caremesh.consensus import kept
from caremesh.consensus.cometbft.abci_pb2 import (
    PublicKey,
    Request,
    RequestApplySnapshotChunk,
    RequestCheckTx,
    RequestCommit,
    RequestExtendVote,
    RequestFinalizeBlock,
    RequestInfo,
    RequestInitChain,
    RequestListSnapshots,
    RequestLoadSnapshotChunk,
    RequestOfferSnapshot,
    RequestProcessProposal,
    RequestQuery,
    RequestVerifyVoteExtension,
    ResponseApplySnapshotChunk,
    ResponseFinalizeBlock,
    ResponseOfferSnapshot,
    ResponseProcessProposal,
    Time,
    ValidatorUpdate,
)
from caremesh.consensus.cometbft.application import STATE_PATH, LedgerApplication, app_state
from caremesh.consensus.cometbft.beginning import Beginning
from caremesh.errors import BadInput, Refused, WrongLedger
from caremesh.ledger.application import Params
from caremesh.ledger.blocks import Block, Validator, txs_root
from caremesh.ledger.comet import set_hash
from caremesh.ledger.light import Answer
from caremesh.ledger.machine import Executed, Machine
from caremesh.ledger.proofs import check_proof
from tests.support.kv import CHAIN, GENESIS, MEMBER, NODE, START_S, VALUES, Clock, Fail, Kv, Put, Refuse, transaction

ACCEPT, REJECT = ResponseProcessProposal.ACCEPT, ResponseProcessProposal.REJECT
VALIDATORS = [Validator(NODE.public, 7)]


class Behind:
    """An application over a folder, and what it told of finished blocks."""

    def __init__(self, folder: Path, app: Kv | None = None) -> None:
        self.app = app or Kv([MEMBER])
        self.machine: Machine = kept.open_machine(folder, self.app, chain=CHAIN, genesis=GENESIS, genesis_time=START_S)
        self.clock = Clock()
        self.finished: list[tuple[Block, Executed]] = []
        self.made = LedgerApplication(
            self.machine,
            self.app,
            begins=Beginning(CHAIN, GENESIS, START_S, VALIDATORS),
            clock=self.clock,
            finished=lambda block, done: self.finished.append((block, done)),
        )

    def finalize(self, *txs: bytes, height: int = 0, seconds: int = START_S, **other: bytes) -> ResponseFinalizeBlock:
        request = RequestFinalizeBlock(
            txs=txs, height=height or self.machine.head.height + 1, time=Time(seconds=seconds, nanos=999)
        )
        request.hash = other.get("hash", b"h" * 32)
        request.next_validators_hash = other.get("after", b"v" * 32)
        return self.made.answer(Request(finalize_block=request)).finalize_block

    def commit(self) -> int:
        return self.made.answer(Request(commit=RequestCommit())).commit.retain_height

    def block(self, *txs: bytes, **options: int) -> ResponseFinalizeBlock:
        answer = self.finalize(*txs, **options)
        self.commit()
        return answer


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Behind]:
    made = Behind(tmp_path)
    yield made
    made.machine.store.close()


def put(key: bytes, **options: int) -> bytes:
    return transaction(Put(key=key, value=b"1"), **options)  # type: ignore[arg-type]


def test_info_says_what_is_committed(behind: Behind) -> None:
    genesis = behind.made.answer(Request(info=RequestInfo())).info
    assert (genesis.last_block_height, genesis.last_block_app_hash) == (0, behind.machine.head.app_hash)
    behind.finalize(put(b"a"))
    assert behind.made.answer(Request(info=RequestInfo())).info == genesis, "executed is not committed"
    behind.commit()
    after = behind.made.answer(Request(info=RequestInfo())).info
    assert (after.last_block_height, after.last_block_app_hash) == (1, behind.machine.head.app_hash)
    assert after.last_block_app_hash != genesis.last_block_app_hash


def init_chain(**changed: object) -> Request:
    fields: dict[str, object] = {
        "time": Time(seconds=START_S),
        "chain_id": CHAIN,
        "app_state_bytes": app_state(GENESIS),
        "initial_height": 1,
        "validators": [ValidatorUpdate(pub_key=PublicKey(ed25519=NODE.public[2:]), power=7)],
    }
    return Request(init_chain=RequestInitChain(**{**fields, **changed}))  # type: ignore[arg-type]


def test_a_chain_begins_with_the_genesis_of_this_ledger(behind: Behind) -> None:
    answer = behind.made.answer(init_chain()).init_chain
    assert answer.app_hash == behind.machine.head.app_hash
    assert not answer.validators


@pytest.mark.parametrize(
    "changed",
    [
        {"time": Time(seconds=START_S, nanos=1)},
        {"time": Time(seconds=START_S + 1)},
        {"chain_id": "other"},
        {"app_state_bytes": app_state(GENESIS + b"x")},
        {"initial_height": 2},
        {"validators": []},
        {"validators": [ValidatorUpdate(pub_key=PublicKey(ed25519=NODE.public[2:]), power=8)]},
        {"validators": [ValidatorUpdate(pub_key=PublicKey(ed25519=MEMBER.public[2:]), power=7)]},
    ],
    ids=["nanos", "time", "chain", "state", "height", "nobody", "power", "key"],
)
def test_another_genesis_is_refused(behind: Behind, changed: dict[str, object]) -> None:
    with pytest.raises(WrongLedger, match=r"consensus\.22"):
        behind.made.answer(init_chain(**changed))


def test_a_chain_does_not_begin_twice(behind: Behind) -> None:
    behind.block()
    with pytest.raises(WrongLedger, match=r"consensus\.22"):
        behind.made.answer(init_chain())


def test_a_block_changes_nothing_before_commit_however_often_it_comes(behind: Behind) -> None:
    before = behind.machine.head
    first = behind.finalize(put(b"a"))
    assert behind.machine.head == before
    assert VALUES.get(behind.machine.reader(), b"a") is None
    other = behind.finalize(put(b"b"))
    assert other.app_hash != first.app_hash
    raw = put(b"c")
    again = [behind.finalize(raw), behind.finalize(raw)]
    assert again[0] == again[1]
    behind.commit()
    assert behind.machine.head.app_hash == again[0].app_hash
    assert [VALUES.get(behind.machine.reader(), key) for key in (b"a", b"b", b"c")] == [None, None, b"1"]
    assert [block.txs for block, _ in behind.finished] == [[raw]]


def test_results_carry_the_stable_code_and_nothing_for_people(behind: Behind) -> None:
    good, bad = put(b"a"), transaction(Refuse(key=b"a"))
    rows = behind.block(good, bad, b"nonsense", good).tx_results
    assert [(row.code, row.data[:9]) for row in rows] == [
        (0, b""),
        (1, b"kv.01"),
        (1, rows[2].data[:9]),
        (1, b"ledger.09"),
    ]
    assert rows[2].data.startswith(b"codec.")


def test_a_kept_block_leads_to_the_next(behind: Behind) -> None:
    raw = put(b"a")
    behind.finalize(raw, hash=b"1" * 32, after=b"2" * 32)
    behind.commit()
    behind.finalize(seconds=START_S + 5, hash=b"3" * 32, after=b"4" * 32)
    behind.commit()
    first, second = (kept.block_at(behind.machine, height).signed.own() for height in (1, 2))
    assert (first.previous, second.previous) == (bytes(32), b"1" * 32)
    assert behind.machine.head.header == b"3" * 32
    assert first.validators == set_hash([(NODE.public, 7)])
    assert (first.next_validators, second.validators, second.next_validators) == (b"2" * 32, b"2" * 32, b"4" * 32)
    assert (first.txs, second.txs) == (txs_root([raw]), txs_root([]))
    assert (first.time, second.time) == (START_S, START_S + 5)
    assert first.app_hash == second.app_hash, "nothing changed"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"height": 2}, "ledger.13"),
        ({"seconds": START_S - 1}, "ledger.12"),
        ({"seconds": 2**40}, "consensus.27"),
        ({"hash": b"short"}, "consensus.27"),
        ({"after": b""}, "consensus.27"),
    ],
)
def test_a_block_that_cannot_follow_is_refused(behind: Behind, request_: dict[str, int], code: str) -> None:
    behind.finalize(put(b"a"))
    with pytest.raises(BadInput, match=code.replace(".", r"\.")):
        behind.finalize(**request_)  # type: ignore[arg-type]
    with pytest.raises(Refused, match=r"consensus\.23"):
        behind.commit()
    behind.block(seconds=2**40 - 1)
    assert behind.machine.head.height == 1


def test_a_commit_counts_once(behind: Behind) -> None:
    behind.block()
    with pytest.raises(Refused, match=r"consensus\.23"):
        behind.commit()


def test_a_fault_of_a_contract_gets_out(behind: Behind) -> None:
    with pytest.raises(ZeroDivisionError):
        behind.finalize(transaction(Fail()))
    assert behind.machine.head.height == 0


def test_a_signature_is_verified_once(behind: Behind) -> None:
    raw = put(b"a")
    for _ in range(3):
        assert behind.made.answer(Request(check_tx=RequestCheckTx(tx=raw))).check_tx.code == 0
    process = RequestProcessProposal(txs=[raw], height=1, time=Time(seconds=START_S))
    assert behind.made.answer(Request(process_proposal=process)).process_proposal.status == ACCEPT
    behind.finalize(raw)
    behind.finalize(raw)
    assert behind.made.checked.verified == 1
    behind.commit()
    behind.finalize(raw)
    assert behind.made.checked.verified == 2, "what is in a block is let go of"


def test_checking_says_why_not(behind: Behind) -> None:
    behind.clock.now += 400
    answer = behind.made.answer(Request(check_tx=RequestCheckTx(tx=put(b"a")))).check_tx
    assert (answer.code, answer.data) == (1, b"ledger.07")
    assert answer.log
    behind.clock.now = 0
    assert behind.made.answer(Request(check_tx=RequestCheckTx(tx=put(b"a")))).check_tx.code == 0, (
        "never before the head"
    )


@pytest.mark.parametrize(
    ("height", "seconds", "status"),
    [
        (1, START_S, ACCEPT),
        (2, START_S, REJECT),
        (0, START_S, REJECT),
        (1, START_S - 1, REJECT),
        (1, 2**40, REJECT),
        (1, 2**40 - 1, ACCEPT),
    ],
)
def test_a_proposal_follows_the_head(behind: Behind, height: int, seconds: int, status: int) -> None:
    process = RequestProcessProposal(height=height, time=Time(seconds=seconds))
    assert behind.made.answer(Request(process_proposal=process)).process_proposal.status == status


def test_queries_are_answered_with_proofs(behind: Behind) -> None:
    behind.block(put(b"a"))
    behind.block(transaction(Put(key=b"a", value=b"2")))
    key = VALUES.key(b"a")
    for height, at in ((0, 2), (2, 2), (1, 1)):
        query = RequestQuery(path=STATE_PATH, data=key, height=height)
        answer = behind.made.answer(Request(query=query)).query
        assert (answer.code, answer.height, answer.key) == (0, at, key)
        found = codec.decode_as(answer.value, Answer)
        root = kept.block_at(behind.machine, at).signed.own().app_hash
        assert check_proof(root, key, found.proof) == VALUES_AT[at]


VALUES_AT = {1: codec.encode(b"1"), 2: codec.encode(b"2")}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (RequestQuery(path="/other"), "consensus.24"),
        (RequestQuery(path=STATE_PATH, height=9), "ledger.11"),
        (RequestQuery(path=STATE_PATH, height=-1), "ledger.11"),
    ],
)
def test_a_query_that_cannot_be_answered_says_so(behind: Behind, query: RequestQuery, code: str) -> None:
    answer = behind.made.answer(Request(query=query)).query
    assert (answer.code, answer.log) == (1, code)


def test_no_snapshot_is_offered_or_taken(behind: Behind) -> None:
    ask = behind.made.answer
    assert not ask(Request(list_snapshots=RequestListSnapshots())).list_snapshots.snapshots
    offered = ask(Request(offer_snapshot=RequestOfferSnapshot())).offer_snapshot
    assert offered.result == ResponseOfferSnapshot.ABORT
    assert not ask(Request(load_snapshot_chunk=RequestLoadSnapshotChunk())).load_snapshot_chunk.chunk
    applied = ask(Request(apply_snapshot_chunk=RequestApplySnapshotChunk())).apply_snapshot_chunk
    assert applied.result == ResponseApplySnapshotChunk.ABORT


@pytest.mark.parametrize(
    "request_",
    [
        Request(extend_vote=RequestExtendVote()),
        Request(verify_vote_extension=RequestVerifyVoteExtension()),
        Request(),
        Request.FromString(b"\xaa\x01\x02\x0a\x00"),  # InsertTx, of an application's own mempool
    ],
    ids=["extend", "verify", "nothing", "insert"],
)
def test_what_is_never_enabled_is_refused(behind: Behind, request_: Request) -> None:
    with pytest.raises(Refused, match=r"consensus\.21"):
        behind.made.answer(request_)


def test_cometbft_keeps_no_block_for_longer_than_the_ledger(tmp_path: Path) -> None:
    behind = Behind(tmp_path, Kv([MEMBER], Params(retain_blocks=3)))
    told = []
    for _ in range(5):
        behind.finalize()
        told.append(behind.commit())
    behind.machine.store.close()
    assert told == [0, 0, 1, 2, 3]
