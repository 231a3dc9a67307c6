"""What the kernel itself keeps in state: ids, history, quota; and where its errors point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from caremesh import codec
from caremesh.errors import BadInput, CareMeshError, WrongLedger
from caremesh.ledger import history, replays
from caremesh.ledger.admission import QUOTA, Quota
from caremesh.ledger.application import Params, Result
from caremesh.ledger.blocks import Misbehaviour
from caremesh.ledger.execution import Results
from caremesh.ledger.machine import Machine
from tests.support.blocks import block, codes, machine
from tests.support.kv import CHAIN, GENESIS, MEMBER, START_S, DropFirst, Kv, Put, transaction


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Machine]:
    made = machine(tmp_path)
    yield made
    made.store.close()


def put(number: int = 0, **options: int) -> bytes:
    return transaction(Put(key=b"%d" % number, value=b"1"), salt=b"%08d" % number, **options)  # type: ignore[arg-type]


def ids_in(ledger: Machine) -> dict[bytes, bytes]:
    """What the state keeps of ids, by key without its prefix."""
    with ledger.store.read() as read:
        rows = {key: value for _, key, value in read.records()}
    start = b"ledger/ids/"
    return {key[len(start) :]: value for key, value in rows.items() if key.startswith(start)}


def test_ids_lie_under_the_minute_in_which_they_go_and_the_block_that_held_them(ledger: Machine) -> None:
    minute = START_S // 60
    assert minute * 60 == START_S
    same = [put(number, expires_at=START_S + 60) for number in range(4)]
    done = block(ledger, *same, put(9, expires_at=START_S + 61))
    first, later = ((minute + n).to_bytes(8, "big") + (1).to_bytes(8, "big") for n in (1, 2))
    digests = [tx[-32:] for tx in done.results.txs]
    assert ids_in(ledger) == {first: b"".join(sorted(digests[:4])), later: digests[4]}
    block(ledger, put(5, expires_at=START_S + 59))
    assert sorted(ids_in(ledger)) == sorted([first, later, (minute + 1).to_bytes(8, "big") + (2).to_bytes(8, "big")])


def test_the_digest_of_an_id_is_all_of_it_that_varies() -> None:
    assert replays.digest_of(bytes(codec.cid_of_cbor(b"x"))) == sha256(b"x").digest()


def test_every_id_of_a_group_survives_a_restart(tmp_path: Path) -> None:
    ledger = machine(tmp_path)
    several = [put(number) for number in range(5)]
    block(ledger, *several)
    ledger.store.close()
    again = machine(tmp_path)
    assert len(again._replays._ids) == 5
    assert codes(block(again, *several)) == ["ledger.09"] * 5
    again.store.close()


def test_an_id_that_no_block_could_hold_is_not_kept(ledger: Machine) -> None:
    foreign = transaction(Put(key=b"a", value=b"1"), chain="other")
    expired = transaction(Put(key=b"a", value=b"1"), expires_at=START_S + 9)
    assert codes(block(ledger, foreign, expired, time=START_S + 10)) == ["ledger.06", "ledger.07"]
    assert ids_in(ledger) == {}
    assert codes(block(ledger, foreign, expired, foreign)) == ["ledger.06", "ledger.07", "ledger.06"]


def test_an_id_is_kept_in_the_last_second_too(ledger: Machine) -> None:
    last = transaction(Put(key=b"a", value=b"1"), expires_at=START_S + 5)
    assert codes(block(ledger, last, time=START_S + 5)) == [""]
    assert codes(block(ledger, last, time=START_S + 5)) == ["ledger.09"]


def test_the_index_of_a_kept_block_outlives_older_blocks_that_held_the_same(tmp_path: Path) -> None:
    ledger = machine(tmp_path, Kv([MEMBER], Params(retain_blocks=2, kept_heights=1)))
    tx = put(1)
    found = []
    for _ in range(6):
        done = block(ledger, tx)
        outcome = ledger.outcome(done.results.txs[0])
        found.append(None if outcome is None else (outcome[0], outcome[1].code))
    assert found == [(1, ""), (1, ""), None, (4, "ledger.09"), (4, "ledger.09"), None]
    ledger.store.close()


def digest(value: Any) -> bytes:
    return sha256(codec.encode(value)).digest()


def test_a_leaf_of_the_history_is_an_id_its_code_and_its_events(ledger: Machine) -> None:
    done = block(ledger, put(1), b"no transaction", transaction(DropFirst(owner=b"o")))
    tx, _, refused = done.results.txs
    event = {"type": "kv/put", "height": 1, "tx": tx, "attributes": {"key": b"1", "index": 0}}
    rows = [
        [tx, "", digest([event])],
        [sha256(b"no transaction").digest(), "codec.01", digest([])],
        [refused, "kv.01", digest([])],
    ]
    leaves = [sha256(b"\0" + codec.encode(row)).digest() for row in rows]
    assert [told.leaf() for told in done.results.told()] == leaves
    log = history.frontier(ledger.reader())
    assert done.results.leaf == 0
    assert log == history.Frontier(3, [sha256(b"\1" + leaves[0] + leaves[1]).digest(), leaves[2]], log.root)
    assert log.root == sha256(b"\1" + log.peaks[0] + log.peaks[1]).digest()


def test_what_a_block_tells_without_a_transaction_is_a_leaf_before_the_others(ledger: Machine) -> None:
    found = Misbehaviour(kind="two-votes", validator=bytes(20), height=1, time=START_S)
    noted = {"type": "kv/noted", "height": 1, "tx": b"", "attributes": {"height": 1}}
    done = ledger.execute(1, START_S, [put(1)], [found, found])
    ledger.commit(done, block=b"", header=bytes(32))
    assert ledger.results(1).leaf == 0
    assert [(told.tx, told.code) for told in done.results.told()] == [(b"", ""), (done.results.txs[0], "")]
    assert done.results.told()[0].leaf() == sha256(b"\0" + codec.encode([b"", "", digest([noted, noted])])).digest()
    assert history.frontier(ledger.reader()).size == 2
    alone = ledger.execute(2, START_S, [], [found])
    ledger.commit(alone, block=b"", header=bytes(32))
    assert history.frontier(ledger.reader()).size == 3, "also in a block without transactions"
    assert ledger.outcome(done.results.txs[0]) == (1, done.results.results[0], done.results.events[2:])


def test_what_was_sent_again_told_nothing(ledger: Machine) -> None:
    tx = put(1)
    done = block(ledger, tx, tx)
    first, again = done.results.told()
    assert (first.tx, first.code, len(first.events)) == (again.tx, "", 1)
    assert (again.code, again.events) == ("ledger.09", [])
    assert [events for _, _, events in done.results.outcomes()] == [first.events, []]


def test_the_history_is_in_the_first_state(ledger: Machine) -> None:
    stored = codec.encode({"size": 0, "peaks": [], "root": sha256(b"").digest()})
    assert ledger.reader().get(b"ledger/history") == stored
    _, proof, _ = ledger.prove(b"ledger/history")
    assert proof.verify(ledger.head.app_hash, b"ledger/history") == stored


def test_a_path_leads_to_an_earlier_root_too(ledger: Machine) -> None:
    roots = []
    for number in range(6):
        block(ledger, put(number))
        roots.append(history.frontier(ledger.reader()))
    [told] = ledger.results(2).told()
    leaf = told.leaf()
    for log in roots[1:]:
        history.check_path(log.root, log.size, 1, leaf, ledger.prove_transaction(1, log.size))
    assert ledger.prove_transaction(1) == ledger.prove_transaction(1, 6) != ledger.prove_transaction(1, 5)


def test_quota_lies_under_the_sponsor(ledger: Machine) -> None:
    block(ledger, put(1), put(2))
    who = Kv([MEMBER]).members[MEMBER.public].encode()
    assert QUOTA.get(ledger.reader(), who) == Quota(window=START_S // 3_600, used=2)
    assert QUOTA.key(who) == b"ledger/quota/" + len(who).to_bytes(2, "big") + who


def test_genesis_is_kept_like_a_block(ledger: Machine) -> None:
    for number in range(3):
        block(ledger, put(number))
    assert ledger.results(0) == Results([], [], [])
    with ledger.store.read() as read:
        assert read.block(0) == GENESIS
        assert [read.first_height(name) for name in ("blocks", "results", "undo")] == [0, 0, 0]


def test_a_refusal_says_where(ledger: Machine) -> None:
    late = transaction(Put(key=b"a", value=b"1"), expires_at=START_S - 1)
    done = block(ledger, b"\xff", transaction(Put(key=b"a", value=b"1"), DropFirst(owner=b"o")), late)
    assert done.results.results == [
        Result(code="codec.01", sentence="These bytes are not canonical DAG-CBOR."),
        Result(code="kv.01", sentence="This message is refused.", place="msgs[1].empty"),
        Result(code="ledger.07", sentence="The transaction has expired."),
    ]


def place_of(ask: Callable[[], object]) -> str:
    with pytest.raises(CareMeshError) as caught:
        ask()
    return caught.value.place


def test_errors_name_the_height_or_the_leaf(ledger: Machine) -> None:
    block(ledger, put(1))
    assert place_of(lambda: ledger.execute(3, START_S, [])) == "height 3"
    assert place_of(lambda: ledger.execute(2, START_S - 1, [])) == "height 2"
    assert place_of(lambda: ledger.results(2)) == "height 2"
    assert place_of(lambda: ledger.reader(2)) == "height 2"
    assert place_of(lambda: ledger.prove_transaction(4)) == "leaf 4 of 1"
    with pytest.raises(WrongLedger) as caught:
        ledger.start(START_S, b"another")
    assert caught.value.place == "genesis"


def test_errors_name_a_height_that_has_gone(ledger: Machine) -> None:
    reader = ledger.reader()
    block(ledger, put(1))
    ledger.store.write(lambda txn: txn.drop(ledger.store._databases["undo"], delete=False))
    assert place_of(lambda: reader.get(b"a")) == "height 0"
    with pytest.raises(BadInput, match=r"ledger\.11"):
        ledger.reader(0)


def test_chain_is_that_of_the_store(ledger: Machine) -> None:
    assert ledger.head.chain == ledger.store.chain == CHAIN
