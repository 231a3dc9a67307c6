"""Compaction: what was erased is in no file any more, and nobody who reads or crashes meanwhile loses anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from caremesh.consensus import compaction
from caremesh.consensus.compaction import compact, open_for_reading
from caremesh.consensus.embedded import Embedded
from caremesh.errors import StorageFailed
from caremesh.ledger.application import Params
from caremesh.ledger.past import StateAt
from caremesh.ledger.store import Store
from caremesh.ledger.verify import check_store
from tests.support.kv import CHAIN, MEMBER, VALUES, Delete, Kv, Put, engine, transaction

ROOT = Path(__file__).parents[3]
SECRET = b"a value that must not outlive its erasure"
SHORT = Params(kept_heights=1, retain_blocks=1)


def erased(folder: Path) -> Embedded:
    made = engine(folder, Kv([MEMBER], SHORT))
    made.submit(transaction(*(Put(key=b"%d" % at, value=SECRET) for at in range(40))))
    made.submit(transaction(*(Delete(key=b"%d" % at) for at in range(40))))
    made.submit(transaction(Put(key=b"a", value=b"1")))
    return made


def anywhere(folder: Path) -> bool:
    return any(SECRET in path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.promise("P8")
def test_what_was_erased_is_in_no_file_after_compaction(tmp_path: Path) -> None:
    made = erased(tmp_path)
    head, reader = made.machine.head, made.reader()
    assert anywhere(tmp_path), "free pages hold old values"
    compact(made.machine.store, tmp_path)
    assert not anywhere(tmp_path)
    assert made.machine.head == head
    assert check_store(made.machine.store).height == 3
    assert VALUES.get(reader, b"a") == b"1"
    made.submit(transaction(Put(key=b"b", value=b"2")))
    made.close()
    again = engine(tmp_path, Kv([MEMBER], SHORT))
    assert VALUES.get(again.reader(), b"b") == b"2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.mdb", "lock.mdb"]
    again.close()


@pytest.mark.promise("P5")
@pytest.mark.parametrize("step", ["copy", "sync", "unlink", "replace"])
def test_a_failure_at_any_step_leaves_a_whole_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "no space")

    made = erased(tmp_path)
    head = made.machine.head
    with monkeypatch.context() as patch:
        if step == "copy":
            patch.setattr(Path, "mkdir", fail)
        elif step == "sync":
            patch.setattr(compaction, "_sync", fail)
        else:
            patch.setattr(Path, step, fail)
        with pytest.raises(StorageFailed, match=r"ledger\.30"):
            compact(made.machine.store, tmp_path)
    assert made.machine.head == head
    made.submit(transaction(Put(key=b"b", value=b"2")))
    assert check_store(made.machine.store).height == 4
    compact(made.machine.store, tmp_path)
    assert not anywhere(tmp_path)
    made.close()


@pytest.mark.promise("P5")
@pytest.mark.slow
@pytest.mark.parametrize("step", range(6))
def test_kill_at_any_moment_leaves_a_whole_ledger(tmp_path: Path, step: int) -> None:
    erased(tmp_path).close()
    code = (
        "import os, sys; from pathlib import Path; from tests.support.kv import *\n"
        "from caremesh.consensus import compaction\n"
        "left = int(sys.argv[2])\n"
        "def audit(event, args):\n"
        "    global left\n"
        "    if event in ('os.remove', 'os.rename', 'os.mkdir', 'os.rmdir', 'shutil.rmtree') and armed:\n"
        "        left -= 1\n"
        "        if left < 0: os.kill(os.getpid(), 9)\n"
        "armed = False\n"
        "sys.addaudithook(audit)\n"
        "made = engine(Path(sys.argv[1]), Kv([MEMBER]))\n"
        "armed = True\n"
        "compaction.compact(made.machine.store, Path(sys.argv[1]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(step)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert run.returncode in (-9, 0), run.stderr
    assert run.returncode == -9 or step > 3
    made = engine(tmp_path, Kv([MEMBER], SHORT))
    assert check_store(made.machine.store).height == 3
    assert VALUES.get(made.reader(), b"a") == b"1"
    compact(made.machine.store, tmp_path)
    assert not anywhere(tmp_path)
    made.close()


@pytest.mark.slow
def test_a_process_that_only_reads_goes_on_with_the_new_file(tmp_path: Path) -> None:
    made = erased(tmp_path)
    code = (
        "import sys; from pathlib import Path; from tests.support.kv import *\n"
        "from caremesh.consensus.compaction import open_for_reading\n"
        "from caremesh.ledger.past import StateAt\n"
        "store = open_for_reading(Path(sys.argv[1]), CHAIN)\n"
        "for line in sys.stdin:\n"
        "    now = StateAt(store)\n"
        "    print(now.height, VALUES.get(now, b'a'), flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None

    def ask() -> str:
        print(file=child.stdin, flush=True)
        return child.stdout.readline().strip() if child.stdout else ""

    assert ask() == "3 b'1'"
    compact(made.machine.store, tmp_path)
    assert ask() == "3 b'1'"
    for number in range(4, 9):
        made.submit(transaction(Put(key=b"a", value=b"%d" % number)))
        assert ask() == f"{number} b'{number}'"
    compact(made.machine.store, tmp_path)
    made.submit(transaction(Put(key=b"a", value=b"9")))
    assert ask() == "9 b'9'"
    child.communicate(timeout=30)
    made.close()


def test_reading_while_the_lock_file_is_away_goes_on(tmp_path: Path) -> None:
    erased(tmp_path).close()
    store = open_for_reading(tmp_path, CHAIN)
    shutil.move(tmp_path / "lock.mdb", tmp_path / "away")
    assert StateAt(store).height == 3
    shutil.move(tmp_path / "away", tmp_path / "lock.mdb")
    assert StateAt(store).height == 3
    store.close()


def test_a_reader_that_came_too_early_opens_the_ledger_once_it_is_there(tmp_path: Path) -> None:
    writer = lmdb.open(str(tmp_path), max_dbs=12)  # a folder in which a writer has just begun
    writer.close()
    early = []
    for _ in range(2):
        with pytest.raises(StorageFailed) as error:
            open_for_reading(tmp_path, CHAIN)
        early.append(error)  # held, as a log may hold it
    Store(str(tmp_path), CHAIN).close()
    open_for_reading(tmp_path, CHAIN).close()
