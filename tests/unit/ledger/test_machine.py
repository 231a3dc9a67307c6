"""What a block does, rule by rule."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from caremesh import codec
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, Refused, Unavailable, WrongLedger
from caremesh.ledger import history, replays
from caremesh.ledger.admission import QUOTA
from caremesh.ledger.application import Params, Result
from caremesh.ledger.machine import Machine
from caremesh.ledger.past import StateAt
from caremesh.ledger.store import Store
from tests.support.blocks import block, codes, machine
from tests.support.kv import (
    CHAIN,
    GENESIS,
    LISTS,
    MEMBER,
    START_S,
    VALUES,
    Append,
    Delete,
    DropFirst,
    Fail,
    Kv,
    Put,
    Refuse,
    Revoke,
    transaction,
)

STRANGER = SigningKey.from_seed(b"stranger".ljust(32, b"."))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Machine]:
    made = machine(tmp_path)
    yield made
    made.store.close()


def value(ledger: Machine, key: bytes) -> bytes | None:
    return VALUES.get(ledger.reader(), key)


def test_messages_take_effect_in_order(ledger: Machine) -> None:
    done = block(ledger, transaction(Put(key=b"a", value=b"1"), Put(key=b"a", value=b"2"), Put(key=b"b", value=b"3")))
    assert done.results.results == [Result()]
    assert (value(ledger, b"a"), value(ledger, b"b")) == (b"2", b"3")
    assert [event.attributes["index"] for event in done.results.events] == [0, 1, 2]
    assert {event.tx for event in done.results.events} == {done.results.txs[0]}


def test_of_a_refused_transaction_nothing_takes_effect(ledger: Machine) -> None:
    bad = transaction(Put(key=b"a", value=b"1"), Refuse(key=b"b"), Put(key=b"c", value=b"1"))
    done = block(ledger, bad, transaction(Put(key=b"d", value=b"1")))
    assert done.results.results[0] == Result(code="kv.01", sentence="This message is refused.", place="msgs[1]")
    assert codes(done)[1] == ""
    assert [value(ledger, key) for key in (b"a", b"b", b"c", b"d")] == [None, None, None, b"1"]
    assert [event.type for event in done.results.events] == ["kv/put"]


def test_a_transaction_counts_once(ledger: Machine) -> None:
    tx = transaction(Append(owner=b"o", item=b"i"))
    assert codes(block(ledger, tx, tx)) == ["", "ledger.09"]
    assert codes(block(ledger, tx)) == ["ledger.09"]
    assert LISTS.bounds(ledger.reader(), b"o") == (0, 1)
    with pytest.raises(Refused, match=r"ledger\.09"):
        ledger.check(ledger.codec.decode(tx), START_S)


def test_a_refused_transaction_stays_refused(ledger: Machine) -> None:
    drop = transaction(DropFirst(owner=b"o"))
    assert codes(block(ledger, drop)) == ["kv.01"]
    block(ledger, transaction(Append(owner=b"o", item=b"i")))
    assert codes(block(ledger, drop)) == ["ledger.09"]
    assert LISTS.bounds(ledger.reader(), b"o") == (0, 1)


def test_one_that_expires_too_far_ahead_stays_refused_too(ledger: Machine) -> None:
    early = transaction(Put(key=b"a", value=b"1"), expires_at=START_S + 601)
    assert codes(block(ledger, early)) == ["ledger.08"]
    assert codes(block(ledger, early, time=START_S + 10)) == ["ledger.09"]


def test_expiry_is_block_time(ledger: Machine) -> None:
    last = transaction(Put(key=b"a", value=b"1"), expires_at=START_S + 5)
    late = transaction(Put(key=b"b", value=b"1"), expires_at=START_S + 4)
    farthest = transaction(Put(key=b"c", value=b"1"), expires_at=START_S + 605)
    assert codes(block(ledger, last, late, farthest, time=START_S + 5)) == ["", "ledger.07", ""]


def test_ids_are_forgotten_when_they_have_expired_and_only_in_blocks_that_hold_transactions(ledger: Machine) -> None:
    tx = transaction(Put(key=b"a", value=b"1"), expires_at=START_S + 60)
    block(ledger, tx)
    kept = [key for key in keys(ledger) if key.startswith(replays.PREFIX)]
    assert len(kept) == 1
    before = block(ledger, time=START_S + 500).app_hash
    assert before == ledger.head.app_hash
    assert kept[0] in keys(ledger)
    block(ledger, transaction(Put(key=b"a", value=b"1"), expires_at=START_S + 900), time=START_S + 500)
    assert kept[0] not in keys(ledger)
    assert codes(block(ledger, tx)) == ["ledger.07"]


def test_an_id_is_kept_through_the_second_in_which_it_expires(ledger: Machine) -> None:
    minute = START_S - START_S % 60 + 60
    tx = transaction(Put(key=b"a", value=b"1"), expires_at=minute)
    block(ledger, tx)
    other = transaction(Put(key=b"b", value=b"1"), expires_at=minute + 100)
    assert codes(block(ledger, other, tx, time=minute)) == ["", "ledger.09"]
    assert codes(block(ledger, tx, time=minute)) == ["ledger.09"]


def keys(ledger: Machine) -> list[bytes]:
    with ledger.store.read() as read:
        return [key for _, key, _ in read.records()]


def test_ids_survive_a_restart(tmp_path: Path) -> None:
    ledger = machine(tmp_path)
    tx = transaction(Put(key=b"a", value=b"1"))
    block(ledger, tx)
    ledger.store.close()
    again = machine(tmp_path)
    assert codes(block(again, tx)) == ["ledger.09"]
    again.store.close()


def test_a_transaction_of_another_chain_is_refused(ledger: Machine) -> None:
    other = transaction(Put(key=b"a", value=b"1"), chain="other")
    assert codes(block(ledger, other)) == ["ledger.06"]
    with pytest.raises(Refused, match=r"ledger\.06"):
        ledger.check(ledger.codec.decode(other), START_S)


def test_bytes_that_are_no_transaction_are_refused_alike_everywhere(ledger: Machine) -> None:
    good = transaction(Put(key=b"a", value=b"1"))
    bent = good[:-1] + bytes([good[-1] ^ 1])
    done = block(ledger, b"", b"\xff" * 40, bent, good)
    assert codes(done) == ["codec.01", "codec.01", "signatures.03", ""]


def test_a_bad_signature_does_not_use_up_the_id(ledger: Machine) -> None:
    good = transaction(Put(key=b"a", value=b"1"))
    block(ledger, good[:-1] + bytes([good[-1] ^ 1]))
    assert codes(block(ledger, good)) == [""]


def test_limits_of_size_and_number(tmp_path: Path) -> None:
    tx = transaction(Put(key=b"a", value=b"1"), Put(key=b"b", value=b"1"))
    cases = (
        (Params(max_tx_bytes=len(tx), max_tx_messages=2), ""),
        (Params(max_tx_bytes=len(tx) - 1), "ledger.14"),
        (Params(max_tx_messages=1), "ledger.14"),
    )
    for number, (params, code) in enumerate(cases):
        ledger = machine(tmp_path / str(number), Kv([MEMBER], params))
        assert codes(block(ledger, tx)) == [code]
        ledger.store.close()


def test_only_a_member_sponsors(ledger: Machine) -> None:
    tx = transaction(Put(key=b"a", value=b"1"), key=STRANGER)
    with pytest.raises(Refused, match=r"kv\.02"):
        ledger.check(ledger.codec.decode(tx), START_S)
    assert codes(block(ledger, tx)) == ["kv.02"]
    assert codes(block(ledger, tx)) == ["ledger.09"]


def quota_of(ledger: Machine, key: SigningKey = MEMBER) -> int:
    found = QUOTA.get(ledger.reader(), Kv([key]).members[key.public].encode())
    return 0 if found is None else found.used


def test_a_sponsor_has_so_many_messages_in_a_window(tmp_path: Path) -> None:
    ledger = machine(tmp_path, Kv([MEMBER], Params(quota_messages=3, quota_window_s=3_600)))
    two = [transaction(Put(key=b"a", value=b"1"), Put(key=b"b", value=b"1")) for _ in range(2)]
    assert codes(block(ledger, *two)) == ["", "ledger.10"]
    assert quota_of(ledger) == 2
    assert codes(block(ledger, transaction(Refuse(key=b"x")))) == ["kv.01"]
    assert quota_of(ledger) == 3  # what is refused was still carried
    assert codes(block(ledger, transaction(Put(key=b"c", value=b"1")))) == ["ledger.10"]
    window = START_S - START_S % 3_600 + 3_600
    later = transaction(Put(key=b"c", value=b"1"), expires_at=window + 10)
    assert codes(block(ledger, later, time=window)) == [""]
    assert quota_of(ledger) == 1
    ledger.store.close()


def test_revocation_commits_when_the_quota_is_used_up(tmp_path: Path) -> None:
    ledger = machine(tmp_path, Kv([MEMBER], Params(quota_messages=1)))
    assert codes(block(ledger, transaction(Put(key=b"a", value=b"1")))) == [""]
    mixed = transaction(Revoke(key=b"a"), Put(key=b"b", value=b"1"))
    assert codes(block(ledger, mixed, transaction(Revoke(key=b"a")))) == ["ledger.10", ""]
    assert value(ledger, b"a") is None
    assert quota_of(ledger) == 1
    ledger.store.close()


def test_quota_of_one_sponsor_is_not_that_of_another(tmp_path: Path) -> None:
    ledger = machine(tmp_path, Kv([MEMBER, STRANGER], Params(quota_messages=1)))
    both = [transaction(Put(key=b"a", value=b"1"), key=key) for key in (MEMBER, STRANGER)]
    assert codes(block(ledger, *both)) == ["", ""]
    ledger.store.close()


def test_the_app_hash_changes_only_when_state_does(ledger: Machine) -> None:
    first = block(ledger, transaction(Put(key=b"a", value=b"1"))).app_hash
    assert block(ledger).app_hash == first
    assert block(ledger, time=START_S + 10_000).app_hash == first
    assert block(ledger, transaction(Put(key=b"a", value=b"2"), expires_at=START_S + 10_300)).app_hash != first


def test_a_handler_that_fails_stops_the_ledger_and_keeps_nothing(tmp_path: Path) -> None:
    ledger = machine(tmp_path)
    before = block(ledger, transaction(Put(key=b"a", value=b"1"))).app_hash
    with pytest.raises(ZeroDivisionError):
        ledger.execute(2, START_S, [transaction(Put(key=b"a", value=b"2")), transaction(Fail())])
    with pytest.raises(Unavailable, match=r"ledger\.15"):
        ledger.execute(2, START_S, [])
    ledger.store.close()
    again = machine(tmp_path)
    assert (again.head.height, again.head.app_hash, value(again, b"a")) == (1, before, b"1")
    again.store.close()


def test_executing_changes_nothing_and_may_be_repeated(ledger: Machine) -> None:
    tx = transaction(Put(key=b"a", value=b"1"))
    before = ledger.head
    one, two = ledger.execute(1, START_S, [tx]), ledger.execute(1, START_S, [tx])
    assert one == two or (one.app_hash, one.results, one.changes) == (two.app_hash, two.results, two.changes)
    assert ledger.head == before
    assert value(ledger, b"a") is None
    ledger.commit(two, block=b"", header=bytes(32))
    assert ledger.head.app_hash == one.app_hash


def test_blocks_follow_each_other(ledger: Machine) -> None:
    block(ledger, time=START_S + 5)
    for height in (0, 1, 3):
        with pytest.raises(BadInput, match=r"ledger\.13"):
            ledger.execute(height, START_S + 5, [])
    with pytest.raises(BadInput, match=r"ledger\.12"):
        ledger.execute(2, START_S + 4, [])
    assert ledger.execute(2, START_S + 5, []).height == 2


def test_another_ledger_is_refused(tmp_path: Path) -> None:
    machine(tmp_path).store.close()
    with pytest.raises(WrongLedger, match=r"ledger\.31"):
        Store(str(tmp_path), "other")
    store = Store(str(tmp_path), CHAIN)
    with pytest.raises(WrongLedger, match=r"ledger\.31"):
        Machine(store, Kv([MEMBER])).start(START_S, GENESIS + b"\x00")
    store.close()


def test_results_and_outcomes_are_kept(ledger: Machine) -> None:
    tx = transaction(Put(key=b"a", value=b"1"))
    done = block(ledger, transaction(Refuse(key=b"b")), tx)
    assert ledger.results(1) == done.results
    outcome = ledger.outcome(done.results.txs[1])
    assert outcome is not None
    assert outcome[:2] == (1, Result())
    assert [event.attributes["key"] for event in outcome[2]] == [b"a"]
    block(ledger, tx)
    assert ledger.outcome(done.results.txs[1]) == outcome  # the replay does not hide the first
    assert ledger.outcome(bytes(36)) is None


def test_what_is_older_than_the_retention_goes(tmp_path: Path) -> None:
    ledger = machine(tmp_path, Kv([MEMBER], Params(retain_blocks=3, kept_heights=2)))
    ids = [block(ledger, transaction(Put(key=b"a", value=b"%d" % number))).results.txs[0] for number in range(6)]
    assert [ledger.results(height).txs[0] for height in (4, 5, 6)] == ids[3:]
    for height in (0, 1, 2, 3, 7):
        with pytest.raises(BadInput, match=r"ledger\.11"):
            ledger.results(height)
    with ledger.store.read() as read:
        assert [read.block(height) is not None for height in (3, 4, 5, 6)] == [False, True, True, True]
        assert [read.undo(height) is not None for height in (4, 5, 6)] == [False, True, True]
    assert [ledger.outcome(tx) is not None for tx in ids] == [False, False, False, True, True, True]
    assert [VALUES.get(ledger.reader(height), b"a") for height in (4, 5, 6)] == [b"3", b"4", b"5"]
    with pytest.raises(BadInput, match=r"ledger\.11"):
        ledger.reader(3)
    with pytest.raises(BadInput, match=r"ledger\.11"):
        ledger.prove(b"a", 3)
    ledger.store.close()


def test_a_reader_stays_at_its_height(ledger: Machine) -> None:
    block(ledger, transaction(Put(key=b"a", value=b"1")))
    reader = ledger.reader()
    block(ledger, transaction(Put(key=b"a", value=b"2"), Put(key=b"b", value=b"2")))
    block(ledger, transaction(Delete(key=b"a"), Put(key=b"c", value=b"3")))
    assert [VALUES.get(reader, key) for key in (b"a", b"b", b"c")] == [b"1", None, None]
    assert reader.height == 1
    assert VALUES.get(ledger.reader(2), b"a") == b"2"
    with pytest.raises(BadInput, match=r"ledger\.11"):
        StateAt(ledger.store, 4)


def test_the_history_is_proven_by_the_state(ledger: Machine) -> None:
    leaves = []
    for number in range(5):
        messages = [transaction(Put(key=b"a", value=b"%d%d" % (number, at))) for at in range(number)]
        done = block(ledger, *messages, transaction(Refuse(key=b"b")))
        leaves += [told.leaf() for told in done.results.told()]
    found, proof, _ = ledger.prove(history.STATE_KEY)
    assert proof.verify(ledger.head.app_hash, history.STATE_KEY) == found
    log = history.frontier(ledger.reader())
    assert log.size == len(leaves)
    assert log.root == history.tree_root(leaves)
    for index, leaf in enumerate(leaves):
        history.check_path(log.root, log.size, index, leaf, ledger.prove_transaction(index))
    with pytest.raises(BadInput, match=r"history\.02"):
        ledger.prove_transaction(len(leaves))


def test_proofs_at_the_head_and_at_kept_heights(tmp_path: Path) -> None:
    ledger = machine(tmp_path)
    hashes = [ledger.head.app_hash]
    for number in range(1, 8):
        changes = [Put(key=b"%d" % at, value=b"%d" % number) for at in range(number)]
        hashes.append(block(ledger, transaction(*changes, Delete(key=b"%d" % (number - 3)))).app_hash)

    def check(ledger: Machine) -> None:
        for height, app_hash in enumerate(hashes):
            for at in range(9):
                key = VALUES.key(b"%d" % at)
                found, proof, proven_at = ledger.prove(key, height)
                assert proven_at == height
                assert proof.verify(app_hash, key) == found
                there = at < height and at != height - 3
                assert found == (codec.encode(b"%d" % height) if there else None)

    check(ledger)
    assert ledger.prove(VALUES.key(b"0"))[2] == 7
    ledger.store.close()
    again = machine(tmp_path)
    check(again)
    again.store.close()


def test_the_genesis_document_reaches_the_application(ledger: Machine) -> None:
    assert value(ledger, b"genesis") == GENESIS
    assert ledger.head.height == 0
    assert codec.decode(GENESIS)["chain"] == CHAIN
