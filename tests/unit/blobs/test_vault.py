"""The vault keeps small secrets, and what it destroys is gone for good."""

import errno
import os
from pathlib import Path

import pytest

from caremesh.blobs.vault import Vault
from caremesh.errors import StorageFailed, Tampered

KEY = bytes(range(32))


def all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_what_is_put_is_there_after_reopening(tmp_path: Path) -> None:
    Vault(tmp_path, KEY).put({"seal/1": b"one", "seal/2": b"two", "fragment/1": b""})
    again = Vault(tmp_path, KEY)
    assert (again.get("seal/1"), again.get("seal/2"), again.get("fragment/1")) == (b"one", b"two", b"")
    assert again.get("seal/3") is None
    assert again.names("seal/") == ["seal/1", "seal/2"]


def test_the_plaintext_is_not_on_disk(tmp_path: Path) -> None:
    Vault(tmp_path, KEY).put({"a": b"a secret of some length"})
    assert b"a secret" not in all_bytes(tmp_path)


@pytest.mark.promise("P8")
def test_destroyed_objects_do_not_come_back_with_their_ciphertext(tmp_path: Path) -> None:
    vault = Vault(tmp_path, KEY)
    vault.put({"keep": b"keep", "gone": b"gone"})
    kept_copy = {path: path.read_bytes() for path in (tmp_path / "objects").iterdir()}
    assert vault.destroy(["gone", "never there"]) == ["gone"]
    assert vault.get("gone") is None
    for path, data in kept_copy.items():  # a backup of the ciphertexts alone
        path.write_bytes(data)
    again = Vault(tmp_path, KEY)
    assert again.get("gone") is None
    assert again.get("keep") == b"keep"
    assert len(list((tmp_path / "objects").iterdir())) == 1


@pytest.mark.promise("P8")
def test_the_replaced_key_table_is_overwritten_in_place(tmp_path: Path) -> None:
    vault = Vault(tmp_path, KEY)
    vault.put({"gone": b"gone"})
    os.link(tmp_path / "keys", tmp_path / "old-table")  # a second name keeps the old file reachable
    vault.destroy(["gone"])
    old = (tmp_path / "old-table").read_bytes()
    assert old == bytes(len(old))


def test_a_replaced_object_is_destroyed(tmp_path: Path) -> None:
    vault = Vault(tmp_path, KEY)
    vault.put({"a": b"first"})
    vault.put({"a": b"second"})
    assert vault.get("a") == b"second"
    assert len(list((tmp_path / "objects").iterdir())) == 1


@pytest.mark.promise("P6")
def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    Vault(tmp_path, KEY).put({"a": b"data"})
    for path in [tmp_path / "keys", *(tmp_path / "objects").iterdir()]:
        whole = path.read_bytes()
        for position in range(len(whole)):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
            with pytest.raises(Tampered, match=r"vault\.0[12]"):
                Vault(tmp_path, KEY).get("a")
        path.write_bytes(whole)


@pytest.mark.promise("P6")
def test_swapped_objects_are_noticed(tmp_path: Path) -> None:
    Vault(tmp_path, KEY).put({"a": b"data of a", "b": b"data of b"})
    one, two = sorted((tmp_path / "objects").iterdir())
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    with pytest.raises(Tampered, match=r"vault\.02"):
        Vault(tmp_path, KEY).get("a")


def test_another_key_does_not_open_it(tmp_path: Path) -> None:
    Vault(tmp_path, KEY)
    with pytest.raises(Tampered, match=r"vault\.01"):
        Vault(tmp_path, bytes(32))


def test_a_lost_key_table_is_not_taken_for_an_empty_vault(tmp_path: Path) -> None:
    Vault(tmp_path, KEY).put({"a": b"data"})
    (tmp_path / "keys").unlink()
    with pytest.raises(Tampered, match=r"vault\.01"):
        Vault(tmp_path, KEY)


@pytest.mark.promise("P5")
@pytest.mark.parametrize("failing_call", range(1, 9))
def test_a_failing_disk_leaves_the_old_or_the_new_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_call: int
) -> None:
    vault = Vault(tmp_path, KEY)
    vault.put({"old": b"old"})
    calls = 0
    real_fsync = os.fsync

    def full_disk(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing_call:
            raise OSError(errno.ENOSPC, "full")
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_disk)
    acknowledged = False
    try:
        vault.put({"new 1": b"1", "new 2": b"2"})
        acknowledged = True
    except (StorageFailed, OSError):
        pass
    monkeypatch.setattr(os, "fsync", real_fsync)
    again = Vault(tmp_path, KEY)
    assert again.get("old") == b"old"
    assert len(again.names("new")) in ([2] if acknowledged else [0, 2])
    assert [again.get(name) for name in again.names("new")] == [b"1", b"2"][: len(again.names("new"))]


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "vault").write_bytes(b"")
    with pytest.raises(StorageFailed, match=r"storage\.01"):
        Vault(tmp_path / "vault", KEY)
