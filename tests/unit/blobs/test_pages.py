"""A database whose pages lead LMDB astray is named, and the process that would open it goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from caremesh.blobs import page_walk, pages
from caremesh.errors import ErrorCode, StorageFailed, Tampered

CODE = ErrorCode("test.01", "It is damaged.", "Restore it.")
KEY, VALUE = b"a key of some bytes", b"v" * 100
PAGE_BYTES = 4_096


def made(folder: Path, name: bytes | None = None, records: int = 3) -> Path:
    folder.mkdir()
    with lmdb.open(str(folder), max_dbs=4) as env:
        database = env.open_db(name)
        with env.begin(write=True) as txn:
            for number in range(records):
                txn.put(KEY + b"%d" % number, VALUE, db=database)
    return folder / pages.FILE


def lead_astray(file: Path) -> None:
    """Let the first record of the last page begin 65,280 bytes further on, where the map has no file."""
    data = bytearray(file.read_bytes())
    page = data.rindex(KEY) // PAGE_BYTES * PAGE_BYTES
    data[page + 16 : page + 18] = (0xFF00).to_bytes(2, "little")
    assert page + 0xFF00 > len(data)
    file.write_bytes(data)


@pytest.mark.promise("P6")
@pytest.mark.parametrize("name", [None, "named"])
def test_a_page_that_would_end_the_process_is_named(tmp_path: Path, name: str | None) -> None:
    file = made(tmp_path / "a", name and name.encode())
    pages.check_pages(tmp_path / "a", CODE, [name] if name else [])
    lead_astray(file)
    names = [name] if name else []
    ended = subprocess.run([sys.executable, "-m", page_walk.__name__, str(tmp_path / "a"), "0", *names], check=False)
    assert -ended.returncode in (signal.SIGSEGV, signal.SIGBUS)
    with pytest.raises(Tampered) as caught:
        pages.check_pages(tmp_path / "a", CODE, names)
    assert (caught.value.code, caught.value.place) == ("test.01", "data.mdb")
    with pytest.raises(Tampered, match=r"storage\.03"):
        pages.check_pages(tmp_path / "a", names=names)


def test_what_lmdb_refuses_itself_is_damage_too(tmp_path: Path) -> None:
    file = made(tmp_path / "a")
    file.write_bytes(b"no database" * 1_000)
    with pytest.raises(Tampered, match=r"test\.01"):
        pages.check_pages(tmp_path / "a", CODE)


def test_records_that_lmdb_counts_and_nobody_finds_are_damage(tmp_path: Path) -> None:
    file = made(tmp_path / "a", b"named")
    data = bytearray(file.read_bytes())
    at = data.rindex(b"named") + 5 + 32  # a named database: flags, depth, pages of three kinds, then its count
    assert data[at : at + 8] == (3).to_bytes(8, "little")
    data[at] = 4
    file.write_bytes(data)
    with pytest.raises(Tampered):
        pages.check_pages(tmp_path / "a", CODE, ["named"])


def test_nothing_there_is_nothing_damaged(tmp_path: Path) -> None:
    pages.check_pages(tmp_path / "none", CODE)
    (tmp_path / pages.FILE).write_bytes(b"")
    pages.check_pages(tmp_path, CODE)
    made(tmp_path / "a")
    pages.check_pages(tmp_path / "a", CODE, ["not begun"])


def test_what_is_open_elsewhere_is_checked_as_it_stands(tmp_path: Path) -> None:
    made(tmp_path / "a")
    with lmdb.open(str(tmp_path / "a")) as env, env.begin(write=True) as txn:
        txn.put(b"not committed", VALUE)
        pages.check_pages(tmp_path / "a", CODE, readers=126)


def test_who_could_not_look_does_not_say_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "a")
    killer = tmp_path / "killed"
    killer.write_text("#!/bin/sh\nkill -9 $$\n")
    killer.chmod(0o700)
    for interpreter in (str(killer), str(tmp_path / "nowhere")):
        monkeypatch.setattr(sys, "executable", interpreter)
        with pytest.raises(StorageFailed, match=r"storage\.02"):
            pages.check_pages(tmp_path / "a", CODE)
