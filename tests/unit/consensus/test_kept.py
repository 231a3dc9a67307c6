"""What an engine and a replica both answer: from the first block on, in order, each once."""

from __future__ import annotations

from pathlib import Path

import pytest

from caremesh.consensus import kept
from caremesh.consensus.gate import ReadersGate
from caremesh.consensus.interface import Status
from caremesh.errors import BadInput, StorageFailed
from caremesh.ledger.application import Params
from caremesh.ledger.machine import Machine
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
    assert next(events)[0] == "1.0"
    made.submit(put(2))
    assert [block.signed.content().height for block in reading] == [2]
    assert [cursor for cursor, _ in events] == ["2.0"]
    made.close()


def test_a_cursor_is_a_height_and_a_position(tmp_path: Path) -> None:
    made = engine(tmp_path)
    made.submit(transaction(*(Put(key=b"%d" % number, value=b"1") for number in range(12))))
    made.make_block()
    made.submit(put(1))
    cursors = [cursor for cursor, _ in made.subscribe()]
    assert cursors == [*(f"1.{at}" for at in range(12)), "3.0"]
    assert [cursor for cursor, _ in made.subscribe("1.9")] == ["1.10", "1.11", "3.0"]
    assert [cursor for cursor, _ in made.subscribe("1.99")] == ["3.0"]
    assert [cursor for cursor, _ in made.subscribe("2.0")] == ["3.0"]
    assert list(made.subscribe("4.0")) == []
    made.close()


def test_the_oldest_is_the_first_that_is_kept(tmp_path: Path) -> None:
    app = Kv([MEMBER], Params(retain_blocks=2, kept_heights=1))
    made = engine(tmp_path, app)
    found = []
    for number in range(4):
        made.submit(put(number))
        found.append(made.status().oldest)
    assert found == [1, 1, 2, 3]
    assert [cursor for cursor, _ in made.subscribe()] == ["3.0", "4.0"]
    made.close()
