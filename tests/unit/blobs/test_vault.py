"""The vault keeps small secrets, and what it destroys is gone for good."""

import errno
import os
import random
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caremesh.blobs import vault as vaults
from caremesh.blobs.durable import STORAGE_FAILED
from caremesh.blobs.key_table import SLOTS, KeyTableFiles
from caremesh.blobs.vault import PAGE_ENTRIES, Vault
from caremesh.crypto.envelope import open_aead
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


def keys_in(folder: Path) -> set[bytes]:
    """Every key that whoever has the folder and the owner's key can come by."""
    tables = KeyTableFiles(folder, KEY).read()
    return {key for table in tables for key in table.pages.values()}


@pytest.mark.promise("P8")
def test_no_key_of_what_was_destroyed_is_left_in_any_file(tmp_path: Path) -> None:
    vault = Vault(tmp_path, KEY)
    vault.put({f"keep {number}": b"keep" for number in range(2 * PAGE_ENTRIES)})
    vault.put({"gone": b"gone"})
    entry = vault._page(vault._page_of["gone"])["gone"]
    before = keys_in(tmp_path)
    ghosts = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for path in ghosts:  # a second name keeps what is unlinked reachable
        os.link(path, path.with_name(f"{path.name}.ghost"))
    vault.destroy(["gone"])
    stored = all_bytes(tmp_path)
    left = keys_in(tmp_path)
    assert left < before | left
    for key in (entry.key, *(before - left)):
        assert key not in stored
    for number in range(SLOTS):  # neither under the old name nor where the old table lay
        table = (tmp_path / f"keys.{number}.ghost").read_bytes()
        assert table == (tmp_path / f"keys.{number}").read_bytes()
    opened = [opens(key, data, name.name) for name, data in ghosts.items() for key in left]
    assert any(opened)  # the pages that stay
    assert all(entry.key not in page for page in opened)


def opens(key: bytes, data: bytes, name: str) -> bytes:
    try:
        return open_aead(key, data, b"caremesh/v1/vault\0" + name.encode(), "")
    except Tampered:
        return b""


@pytest.mark.promise("P8")
def test_the_table_before_is_overwritten_where_it_lay(tmp_path: Path) -> None:
    vault = Vault(tmp_path, KEY)
    vault.put({"gone": b"gone"})
    assert all(any((tmp_path / f"keys.{number}").read_bytes()) for number in range(SLOTS))
    vault.destroy(["gone"])
    assert sorted(any((tmp_path / f"keys.{number}").read_bytes()) for number in range(SLOTS)) == [False, True]
    vault.put({"other": b"other"})
    Vault(tmp_path, KEY)
    assert sorted(any((tmp_path / f"keys.{number}").read_bytes()) for number in range(SLOTS)) == [False, True]


@pytest.mark.promise("P8")
def test_what_could_not_be_overwritten_is_made_good_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = Vault(tmp_path, KEY)
    vault.put({"gone": b"gone"})
    with monkeypatch.context() as patched:
        patched.setattr(KeyTableFiles, "forget", _full)
        with pytest.raises(StorageFailed):
            vault.destroy(["gone"])
    assert vault.destroy(["gone"]) == []
    assert sorted(any((tmp_path / f"keys.{number}").read_bytes()) for number in range(SLOTS)) == [False, True]


def _full(*_: object) -> None:
    raise StorageFailed(STORAGE_FAILED)


def test_many_objects_over_many_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a dictionary: puts, replacements and destructions, over several pages, reopened in between."""
    monkeypatch.setattr(vaults, "PAGE_ENTRIES", 8)
    dice = random.Random(5)  # noqa: S311 -- the same on every run
    vault, model = Vault(tmp_path, KEY), {}
    for step in range(60):
        if step % 3 < 2:
            fresh = {f"{dice.randrange(9)}/{dice.randrange(200)}": dice.randbytes(9) for _ in range(dice.randrange(60))}
            vault.put(fresh)
            model |= fresh
        else:
            some = dice.sample(sorted(model), len(model) // 5)
            assert vault.destroy(some) == some
            model = {name: data for name, data in model.items() if name not in some}
        if step % 20 == 19:
            vault = Vault(tmp_path, KEY)
            assert {name: vault.get(name) for name in vault.names()} == model
    assert vault.names("3/") == sorted(name for name in model if name.startswith("3/"))
    assert all(vault.has(name) for name in model)
    assert not vault.has("3")
    files = {vault._page(page)[name].file for name, page in vault._page_of.items()}
    assert {path.name for path in (tmp_path / "objects").iterdir()} == files
    assert {path.name for path in (tmp_path / "pages").iterdir()} == set(vault._table.pages)


def test_a_write_costs_a_page_however_much_is_there(tmp_path: Path) -> None:
    """Not quadratic: the bytes that a put writes do not grow with what is there, but for a key a page."""

    def written(vault: Vault) -> int:
        vault.put({secrets.token_hex(8): b"x"})
        return max(path.stat().st_size for path in (tmp_path / "pages").iterdir())

    vault = Vault(tmp_path, KEY)
    vault.put({f"{number:05}": b"x" for number in range(PAGE_ENTRIES)})
    few = written(vault)
    vault.put({f"{number:06}": b"x" for number in range(20 * PAGE_ENTRIES)})
    assert written(vault) <= 1.1 * few
    assert (tmp_path / "keys.0").stat().st_size < 100 * len(vault._table.pages)


def test_a_replaced_object_is_destroyed(tmp_path: Path) -> None:
    vault = Vault(tmp_path, KEY)
    vault.put({"a": b"first"})
    vault.put({"a": b"second"})
    assert vault.get("a") == b"second"
    assert len(list((tmp_path / "objects").iterdir())) == 1


@pytest.mark.promise("P6")
def test_flipped_bytes_all_over_are_noticed(tmp_path: Path) -> None:
    Vault(tmp_path, KEY).put({"a": b"data"})
    Vault(tmp_path, KEY)  # which overwrites the table before
    parts = [next(iter((tmp_path / name).iterdir())) for name in ("pages", "objects")]
    for path in [tmp_path / "keys.0", *parts]:
        whole = path.read_bytes()
        assert any(whole)
        for position in range(0, len(whole), 1 + len(whole) // 97):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
            with pytest.raises(Tampered, match=r"vault\.0[12]"):
                Vault(tmp_path, KEY).get("a")
        for other in (whole[:-1], whole + b"\0", b""):
            path.write_bytes(other)
            if path.parent.name != "objects" or len(other) < len(whole):
                with pytest.raises(Tampered, match=r"vault\.0[12]"):
                    Vault(tmp_path, KEY).get("a")
        path.write_bytes(whole)
    assert Vault(tmp_path, KEY).get("a") == b"data"


@pytest.mark.promise("P6")
def test_a_damaged_table_or_page_is_not_taken_for_the_state_before(tmp_path: Path) -> None:
    """The table before names a page that is gone, so it does not count."""
    vault = Vault(tmp_path, KEY)
    for name in ("a", "b", "c"):
        vault.put({name: b"data"})
    (page,) = (tmp_path / "pages").iterdir()
    for path in (page, tmp_path / f"keys.{vault._table.number % SLOTS}"):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(Tampered, match=r"vault\.01"):
            Vault(tmp_path, KEY)
        path.write_bytes(whole)
    assert Vault(tmp_path, KEY).names() == ["a", "b", "c"]


@pytest.mark.promise("P6")
def test_swapped_objects_are_noticed(tmp_path: Path) -> None:
    vault = Vault(tmp_path, KEY)
    vault.put({"a": b"data of a"})
    vault.put({"b": b"data of b"})
    one, two = sorted((tmp_path / "objects").iterdir())
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    with pytest.raises(Tampered, match=r"vault\.02"):
        Vault(tmp_path, KEY).get("a")


@pytest.mark.promise("P6")
def test_a_table_in_the_place_of_the_other_does_not_count(tmp_path: Path) -> None:
    """The next write would go over the only one there is."""
    Vault(tmp_path, KEY).put({"a": b"data"})
    Vault(tmp_path, KEY)
    (tmp_path / "keys.0").rename(tmp_path / "keys.1")
    with pytest.raises(Tampered, match=r"vault\.01"):
        Vault(tmp_path, KEY)


def test_another_key_does_not_open_it(tmp_path: Path) -> None:
    Vault(tmp_path, KEY)
    with pytest.raises(Tampered, match=r"vault\.01"):
        Vault(tmp_path, bytes(32))


def test_a_lost_key_table_is_not_taken_for_an_empty_vault(tmp_path: Path) -> None:
    Vault(tmp_path, KEY).put({"a": b"data"})
    for path in tmp_path.glob("keys.*"):
        path.unlink()
    with pytest.raises(Tampered, match=r"vault\.01"):
        Vault(tmp_path, KEY)


class PowerLoss(BaseException):
    """Nothing of the process runs any more."""


def every_call(failing_call: int, failure: BaseException, *, torn: bool) -> Callable[[pytest.MonkeyPatch], list[int]]:
    """Let the ``failing_call``-th call that changes the disk fail, and all after it; ``torn``: half of it is done."""

    def patch(patched: pytest.MonkeyPatch) -> list[int]:
        calls = [0]

        def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*args: Any, **kwargs: Any) -> Any:
                if name == "open" and not args[1] & os.O_CREAT:
                    return real(*args, **kwargs)
                calls[0] += 1
                if calls[0] < failing_call:
                    return real(*args, **kwargs)
                if calls[0] == failing_call and torn and name in ("write", "pwrite"):
                    real(args[0], args[1][: len(args[1]) // 2], *args[2:])
                raise failure

            return counted

        for name in ("open", "write", "pwrite", "fsync", "replace", "unlink", "mkdir"):
            patched.setattr(os, name, wrap(name, getattr(os, name)))
        return calls

    return patch


@pytest.mark.slow
@pytest.mark.promise("P5")
@pytest.mark.parametrize("what", ["create", "put", "replace", "destroy"])
@pytest.mark.parametrize("failure", [PowerLoss(), OSError(errno.ENOSPC, "full")], ids=["power", "full"])
@pytest.mark.parametrize("torn", [False, True])
def test_a_crash_at_every_write_leaves_the_old_or_the_new_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, failure: BaseException, *, torn: bool, evidence: Any
) -> None:
    monkeypatch.setattr(vaults, "PAGE_ENTRIES", 4)
    old = {f"old {number}": b"old" for number in range(6)}
    new = {"create": {}, "put": {"new 1": b"1", "new 2": b"2"}, "replace": {"old 1": b"new"}, "destroy": {}}[what]
    for failing_call in range(1, 60):
        folder = tmp_path / str(failing_call)
        if what != "create":
            vault = Vault(folder, KEY)
            vault.put(old)
        with pytest.MonkeyPatch.context() as patched:
            every_call(failing_call, failure, torn=torn)(patched)
            try:
                if what == "create":
                    Vault(folder, KEY)
                elif what == "destroy":
                    vault.destroy(["old 1", "old 2"])
                else:
                    vault.put(new)
                done = True
            except (PowerLoss, StorageFailed):
                done = False
        before = {} if what == "create" else old
        after = {name: data for name, data in old.items() if name not in ("old 1", "old 2")}
        after = after if what == "destroy" else before | new
        if what != "create" and isinstance(failure, OSError):  # the same process goes on
            vault.put({"later": b"later"})
            before, after = before | {"later": b"later"}, after | {"later": b"later"}
            assert {name: vault.get(name) for name in vault.names()} in ([after] if done else [before, after])
        again = Vault(folder, KEY)
        assert {name: again.get(name) for name in again.names()} in ([after] if done else [before, after])
        again.put({"even later": b"x"})
        assert Vault(folder, KEY).get("even later") == b"x"
        if done:
            evidence.fault(f"crash while the vault writes ({what})", failing_call)
            return
    pytest.fail("the vault never finished")


@pytest.mark.promise("P5")
def test_what_a_table_names_is_synced_before_the_table_and_removed_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Vault(tmp_path, KEY)
    vault.put({"a": b"a"})
    done: list[str] = []
    real_fsync, real_unlink = os.fsync, os.unlink

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        done.append(
            f"sync {path.name if path.name in ('pages', 'objects') else path.name[:4]}"
            if path.is_dir() or path.name.startswith("keys")
            else f"sync a file of {path.parent.name}"
        )
        real_fsync(descriptor)

    def unlink(path: Path) -> None:
        done.append("remove")
        real_unlink(path)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "unlink", unlink)
    vault.put({"b": b"b"})
    assert sorted(done[:2]) == ["sync a file of objects", "sync a file of pages"]
    assert sorted(done[2:4]) == ["sync objects", "sync pages"]
    assert done[4:] == ["sync keys", "remove"]
    done.clear()
    vault.destroy(["a"])
    assert done == ["sync a file of pages", "sync pages", "sync keys", "remove", "remove", "sync keys"]


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "vault").write_bytes(b"")
    with pytest.raises(StorageFailed, match=r"storage\.01"):
        Vault(tmp_path / "vault", KEY)
