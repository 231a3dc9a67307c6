"""What an engine and a replica both answer: from the first block on, in order, each once."""

from __future__ import annotations

from pathlib import Path

import pytest

from caremesh import codec
from caremesh.consensus import kept
from caremesh.consensus.gate import ReadersGate
from caremesh.consensus.interface import Status
from caremesh.errors import BadInput, StorageFailed
from caremesh.ledger import history
from caremesh.ledger.application import Params
from caremesh.ledger.blocks import Block, Header, HeaderSignature, Misbehaviour, SignedHeader, txs_root
from caremesh.ledger.inclusion import check_entries, check_inclusion
from caremesh.ledger.machine import Machine
from tests.support.blocks import machine
from tests.support.kv import CHAIN, GENESIS, MEMBER, START_S, Kv, Put, engine, transaction


def put(number: int) -> bytes:
    return transaction(Put(key=b"%d" % number, value=b"1"))


def opened(folder: Path, app: Kv | None = None) -> Machine:
    return kept.open_machine(folder, app or Kv([MEMBER]), chain=CHAIN, genesis=GENESIS, genesis_time=START_S)


def test_a_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "ledger"
    machine = opened(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (machine.head.height, machine.head.time, machine.store.chain) == (0, START_S, CHAIN)
    assert isinstance(machine.store.gate, ReadersGate)
    machine.store.close()
    opened(folder).store.close()


def test_the_map_is_as_large_as_it_was_asked_for(tmp_path: Path) -> None:
    made = engine(tmp_path, map_bytes=2**19)
    assert made.machine.store._env.info()["map_size"] == 2**19
    made.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageFailed, match=r"ledger\.30") as caught:
        opened(tmp_path / "file" / "ledger")
    assert caught.value.place == "ledger"


def test_a_store_is_let_go_when_opening_fails(tmp_path: Path) -> None:
    """LMDB opens a folder once in a process: a second time works only if the first was closed."""

    class Broken(Kv):
        def params(self, reader: object) -> Params:  # noqa: ARG002 - the interface's
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        opened(tmp_path / "a", Broken([MEMBER]))
    opened(tmp_path / "a").store.close()


def test_before_the_first_block_there_is_none(tmp_path: Path) -> None:
    made = engine(tmp_path)
    assert made.status() == Status(CHAIN, 0, START_S, made.machine.head.app_hash, 0, running=True)
    assert list(made.blocks(0)) == list(made.subscribe()) == []
    for height in (0, 1):
        with pytest.raises(BadInput, match=r"ledger\.11") as caught:
            made.block(height)
        assert caught.value.place == f"height {height}"
    made.close()


def test_blocks_begin_at_one_or_later(tmp_path: Path) -> None:
    made = engine(tmp_path)
    for number in range(3):
        made.submit(put(number))
    heights = {start: [block.signed.content().height for block in made.blocks(start)] for start in (0, 1, 2, 3, 4)}
    assert heights == {0: [1, 2, 3], 1: [1, 2, 3], 2: [2, 3], 3: [3], 4: []}
    assert made.status().oldest == 1
    made.close()


def test_blocks_that_come_while_they_are_read_are_read_too(tmp_path: Path) -> None:
    made = engine(tmp_path)
    made.submit(put(1))
    reading = made.blocks(1)
    events = made.subscribe()
    assert next(reading).signed.content().height == 1
    assert next(events)[0] == "1.0.1"
    made.submit(put(2))
    assert [block.signed.content().height for block in reading] == [2]
    assert [cursor for cursor, _ in events] == ["2.1.1"]
    made.close()


def test_a_cursor_is_a_height_a_leaf_and_how_much_it_told(tmp_path: Path) -> None:
    made = engine(tmp_path)
    made.submit(transaction(*(Put(key=b"%d" % number, value=b"1") for number in range(12))))
    made.make_block()
    made.submit(put(1))
    cursors = [cursor for cursor, _ in made.subscribe()]
    assert cursors == [*(f"1.0.{at}" for at in range(1, 13)), "3.1.1"]
    assert [cursor for cursor, _ in made.subscribe("1.0.10")] == ["1.0.11", "1.0.12", "3.1.1"]
    assert [cursor for cursor, _ in made.subscribe("1.0.99")] == ["3.1.1"]
    assert [cursor for cursor, _ in made.subscribe("2.0.12")] == ["3.1.1"]
    assert [cursor for cursor, _ in made.subscribe("2.1.0")] == ["3.1.1"]
    assert list(made.subscribe("4.0.0")) == list(made.subscribe("3.1.1")) == []
    made.close()


def test_the_oldest_is_the_first_that_is_kept(tmp_path: Path) -> None:
    app = Kv([MEMBER], Params(retain_blocks=2, kept_heights=1))
    made = engine(tmp_path, app)
    found = []
    for number in range(4):
        made.submit(put(number))
        found.append(made.status().oldest)
    assert found == [1, 1, 2, 3]
    assert [cursor for cursor, _ in made.subscribe()] == ["3.2.1", "4.3.1"]
    made.close()


def test_entries_are_those_of_whole_blocks_under_a_height(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MAX_ENTRIES", 3)
    made = engine(tmp_path)
    for number in range(3):
        for future in [made.submit_soon(put(10 * number + at)) for at in range(2)]:
            made.make_block()
            future.result(60)
        made.make_block()
    log = history.frontier(made.reader())
    everything = [told for height in range(1, made.status().height + 1) for told in made.machine.results(height).told()]
    assert len(everything) == log.size == 6

    def asked(start: int, height: int | None = None) -> tuple[int, int, int]:
        found = made.entries(start, height)
        assert found.told == everything[found.start : found.end]
        length = check_entries(found, made.block(found.log.height).signed.own())
        return found.through, found.start, length

    seen, start, place = [], 0, 0
    while start <= made.status().height:
        found = made.entries(start)
        assert found.start == place
        assert asked(start)[2] == 6
        seen += found.told
        start, place = found.through + 1, found.end
    assert seen == everything
    assert asked(1, 1)[0] == 1
    assert asked(2, 1) == (1, made.entries(1, 1).end, made.entries(1, 1).end)
    assert made.entries(1, 0).told == [], "under the first state there is none"
    for _ in range(5):
        made.make_block()
    assert asked(start)[:2] == (start + 2, 6), "as many blocks, if they hold nothing"
    with pytest.raises(BadInput, match=r"ledger\.11"):
        made.entries(1, 99)
    made.close()


@pytest.mark.promise("P4")
def test_what_became_of_a_transaction_is_proven_in_a_block_that_tells_more(tmp_path: Path) -> None:
    """Misbehaviour is a leaf of its own, before those of the transactions."""
    ledger, tx = machine(tmp_path), put(1)
    found = Misbehaviour(kind="two-votes", validator=bytes(20), height=1, time=START_S)
    done = ledger.execute(1, START_S, [tx], [found])
    header = Header(CHAIN, 1, START_S, bytes(32), txs_root([tx]), done.app_hash, bytes(32), bytes(32))
    signed = SignedHeader(codec.encode(header), [HeaderSignature(MEMBER.public, bytes(64))])
    ledger.commit(done, block=codec.encode(Block(signed, [tx], [found])), header=header.hash())
    [tx_id] = done.results.txs
    proof = kept.inclusion_of(ledger, tx_id, None)
    assert proof is not None
    assert (proof.position, proof.index, proof.events) == (0, 1, done.results.events[1:])
    check_inclusion(proof, tx_id, header, header)
    ledger.store.close()


def test_entries_that_have_gone_are_said_to_have_gone(tmp_path: Path) -> None:
    made = engine(tmp_path, Kv([MEMBER], Params(retain_blocks=2, kept_heights=1)))
    for number in range(4):
        made.submit(put(number))
    assert (made.entries(0).start, made.entries(0).end) == (2, 4)
    with pytest.raises(BadInput, match=r"ledger\.11"):
        made.entries(2)
    made.close()
