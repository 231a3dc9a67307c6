"""The database: growth, other processes, disks that fail, bytes that change."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from caremesh.errors import CareMeshError, StorageFailed, Tampered
from caremesh.ledger.application import Params
from caremesh.ledger.past import StateAt
from caremesh.ledger.records import name_of
from caremesh.ledger.store import Store
from caremesh.ledger.verify import check_store
from tests.support.kv import CHAIN, GENESIS, MEMBER, VALUES, Kv, Put, engine, transaction

ROOT = Path(__file__).parents[3]


def fill(folder: Path, blocks: int = 6) -> None:
    made = engine(folder)
    for number in range(blocks):
        made.submit(transaction(*(Put(key=b"%d.%d" % (number, at), value=os.urandom(40)) for at in range(20))))
    made.close()


def in_process(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_map_grows_by_itself(tmp_path: Path) -> None:
    made = engine(tmp_path, map_bytes=2**18)
    reader = made.reader()
    for number in range(8):
        made.submit(transaction(Put(key=b"%d" % number, value=os.urandom(60_000))))
    assert VALUES.get(reader, b"7") is None
    assert len(VALUES.get(made.reader(), b"7") or b"") == 60_000
    assert made.machine.store.size_bytes() > 2**18
    made.close()
    again = engine(tmp_path, map_bytes=2**18)  # opened with less than it holds
    again.submit(transaction(Put(key=b"8", value=os.urandom(60_000))))
    assert check_store(again.machine.store).height == 9
    again.close()


@pytest.mark.slow
def test_other_processes_read_while_one_writes_and_grows(tmp_path: Path) -> None:
    made = engine(tmp_path, map_bytes=2**18)
    made.submit(transaction(Put(key=b"a", value=b"1")))
    code = (
        "import sys; from tests.support.kv import *; from caremesh.ledger.store import Store\n"
        "from caremesh.ledger.past import StateAt\n"
        "store = Store(sys.argv[1], CHAIN, readonly=True, map_bytes=2**18)\n"
        "first = StateAt(store)\n"
        "print(VALUES.get(first, b'a'), flush=True)\n"
        "sys.stdin.readline()\n"
        "now = StateAt(store)\n"
        "print(VALUES.get(first, b'a'), VALUES.get(now, b'a'), now.height, len(VALUES.get(now, b'5')))\n"
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
    assert child.stdout.readline() == "b'1'\n"
    for number in range(6):
        made.submit(transaction(Put(key=b"a", value=b"2"), Put(key=b"%d" % number, value=os.urandom(60_000))))
    rest, _ = child.communicate("\n", timeout=30)
    assert rest == "b'1' b'2' 7 60000\n"
    assert child.returncode == 0
    made.close()


@pytest.mark.promise("P5")
@pytest.mark.slow
def test_a_full_disk_leaves_the_last_block(tmp_path: Path) -> None:
    """The process may write files of at most 2 MB: the write fails as on a full disk."""
    code = (
        "import os, resource, signal, sys; from pathlib import Path; from tests.support.kv import *\n"
        "from caremesh.errors import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "made = engine(Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))\n"
        "for number in range(1000):\n"
        "    try:\n"
        "        made.submit(transaction(Put(key=b'%d' % number, value=os.urandom(60_000))))\n"
        "    except StorageFailed as error:\n"
        "        print(error.code, number); break\n"
        "print(made.status().running, made.status().height)\n"
        "made.submit(transaction(Put(key=b'x', value=b'')))\n"  # which needs no more room
        "print(made.status().running, made.status().height)\n"
    )
    done = in_process(code, str(tmp_path))
    first, second, third = done.stdout.splitlines()
    error, acknowledged = first.split()
    assert error == "ledger.30"
    assert second == f"False {acknowledged}"
    assert third == f"True {int(acknowledged) + 1}", "it goes on when there is room again"
    again = engine(tmp_path)
    assert again.status().height == int(acknowledged) + 1 > 4
    assert check_store(again.machine.store).height == int(acknowledged) + 1
    again.submit(transaction(Put(key=b"y", value=b"")))
    again.close()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageFailed, match=r"ledger\.30"):
        engine(tmp_path / "file" / "ledger")
    with pytest.raises(StorageFailed, match=r"ledger\.33"):
        Store(str(tmp_path / "nothing"), CHAIN, readonly=True)


def test_nothing_is_written_through_a_readonly_store(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    store = Store(str(tmp_path), CHAIN, readonly=True)
    with pytest.raises(StorageFailed, match=r"ledger\.30"):
        store.write(lambda _: None)
    assert StateAt(store).height == 1
    store.close()


def raw(folder: Path) -> lmdb.Environment:
    return lmdb.open(str(folder), max_dbs=8)


def damage(folder: Path, database: str, at: int = -1, which: int = 0) -> bytes:
    """Flip one bit in the record number ``which`` of a database; the record's key."""
    env = raw(folder)
    table = env.open_db(database.encode())
    with env.begin(write=True) as txn:
        key, record = list(txn.cursor(db=table))[which]
        changed = bytearray(record)
        changed[at] ^= 1
        txn.put(key, bytes(changed), db=table)
    env.close()
    return bytes(key)


@pytest.mark.promise("P6")
@pytest.mark.parametrize("at", [-1, 40])
def test_a_changed_value_is_named_when_it_is_read(tmp_path: Path, at: int) -> None:
    fill(tmp_path, 1)
    digest = damage(tmp_path, "state", at, which=5)
    made = engine(tmp_path)
    with made.machine.store.read() as read, pytest.raises(Tampered, match=r"ledger\.32.*state (key|record)"):
        read.record(digest)
    with pytest.raises(Tampered, match=r"ledger\.32"):
        check_store(made.machine.store)
    made.close()


@pytest.mark.promise("P6")
def test_the_error_names_the_key(tmp_path: Path) -> None:
    made = engine(tmp_path)
    made.submit(transaction(Put(key=b"\x01\x02", value=b"1")))
    key = VALUES.key(b"\x01\x02")
    made.close()
    env = raw(tmp_path)
    table = env.open_db(b"state")
    with env.begin(write=True) as txn:
        for digest, record in txn.cursor(db=table):
            if key in record:
                txn.put(digest, record[:-1] + b"2", db=table)
    env.close()
    again = engine(tmp_path)
    with pytest.raises(Tampered) as caught:
        VALUES.get(again.reader(), b"\x01\x02")
    assert caught.value.place == name_of(key) == "state key kv/value/00020102"
    again.close()


@pytest.mark.promise("P6")
@pytest.mark.parametrize("at", [0, 31])
def test_a_changed_leaf_hash_is_noticed_at_start(tmp_path: Path, at: int) -> None:
    fill(tmp_path, 1)
    damage(tmp_path, "state", at, which=3)
    with pytest.raises(Tampered, match=r"ledger\.32") as caught:
        engine(tmp_path)
    assert caught.value.place == "leaf hashes"


@pytest.mark.promise("P6")
@pytest.mark.parametrize("database", ["undo", "blocks", "results", "history", "txs"])
@pytest.mark.parametrize("which", [0, -1])
@pytest.mark.parametrize("at", [0, -1])
def test_a_changed_record_of_any_kind_is_noticed(tmp_path: Path, database: str, which: int, at: int) -> None:
    fill(tmp_path, 3)
    damage(tmp_path, database, at, which)
    made = engine(tmp_path)
    with pytest.raises(Tampered, match=r"ledger\.32|codec"):
        check_store(made.machine.store)
    made.close()


@pytest.mark.promise("P6")
@pytest.mark.parametrize("at", [0, 20])
def test_a_changed_head_is_noticed(tmp_path: Path, at: int) -> None:
    fill(tmp_path, 1)
    damage(tmp_path, "meta", at, which=1)
    with pytest.raises(Tampered, match=r"ledger\.32.*meta"):
        engine(tmp_path)


@pytest.mark.promise("P6")
@pytest.mark.parametrize("database", ["state", "undo", "blocks", "results", "history"])
def test_a_missing_record_is_noticed(tmp_path: Path, database: str) -> None:
    fill(tmp_path, 3)
    env = raw(tmp_path)
    table = env.open_db(database.encode())
    with env.begin(write=True) as txn:
        keys = [bytes(key) for key, _ in txn.cursor(db=table)]
        txn.delete(keys[1], db=table)
    env.close()
    with pytest.raises(CareMeshError, match=r"ledger\.(32|11)"):
        check(tmp_path)


def check(folder: Path) -> None:
    made = engine(folder)
    try:
        check_store(made.machine.store)
    finally:
        made.close()


def test_a_sound_ledger_passes(tmp_path: Path) -> None:
    app = Kv([MEMBER], Params(retain_blocks=3, kept_heights=2))
    made = engine(tmp_path, app)
    steps: list[str] = []
    assert (check_store(made.machine.store).height, check_store(made.machine.store).blocks) == (0, 0)
    for number in range(7):
        made.submit(transaction(*(Put(key=b"%d.%d" % (number, at), value=b"v") for at in range(3))))
    done = check_store(made.machine.store, steps.append)
    assert (done.height, done.blocks) == (7, 3)
    assert done.keys >= 7 * 3
    assert steps[0] == "state"
    made.close()


def test_compaction_keeps_all_and_leaves_nothing_old(tmp_path: Path) -> None:
    made = engine(tmp_path / "a")
    secret = os.urandom(50_000)
    made.submit(transaction(Put(key=b"a", value=secret)))
    app = made.machine.head.app_hash
    (tmp_path / "b").mkdir()
    made.machine.store.compact(str(tmp_path / "b"))
    made.close()
    again = engine(tmp_path / "b")
    assert again.machine.head.app_hash == app
    again.close()


def test_an_empty_store_holds_no_ledger(tmp_path: Path) -> None:
    store = Store(str(tmp_path), CHAIN)
    assert check_store(store).keys == 0
    with store.read() as read:
        assert read.head() is None
        assert read.genesis() is None
    store.close()
    assert GENESIS


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (b"kv/value/", "kv/value/"),
        (b"!~", "!~"),
        (b"a b", "a2062"),
        (b"a\x7fb", "a7f62"),
        (b"a\x00b", "a0062"),
        (b"\xffa", "ff61"),
        (b"", ""),
    ],
)
def test_a_key_is_named_by_its_text_as_far_as_it_is_text(key: bytes, name: str) -> None:
    assert name_of(key) == f"state key {name}"


def test_the_place_of_a_transaction_is_twelve_bytes(tmp_path: Path) -> None:
    """Height and position, big-endian: later versions read the same files."""
    made = engine(tmp_path)
    done = made.submit(transaction(Put(key=b"1", value=b"1")))
    made.close()
    env = raw(tmp_path)
    with env.begin() as txn:
        place = txn.get(done.tx, db=env.open_db(b"txs", txn))
    env.close()
    assert place == done.height.to_bytes(8, "big") + bytes(4)
