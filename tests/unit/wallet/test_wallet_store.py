"""The wallet's file: whole or untouched, for its owner's eyes, and honest about why it does not open."""

import errno
import os
import stat
from pathlib import Path

import pytest

from caremesh import codec
from caremesh.crypto.envelope import unlock
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, Locked, Refused, StorageFailed, Tampered
from caremesh.wallet import store
from caremesh.wallet.store import WalletFile
from tests.support.recipes import decrypted, hkdf

PASSPHRASE = "correct horse battery staple"
CONTENT = b"what the wallet knows"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("wallet") / "w"
    WalletFile.create(path, PASSPHRASE, CONTENT)
    return path.read_bytes()


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "wallet"
    WalletFile.create(path, PASSPHRASE, CONTENT)
    opened, content = WalletFile.open(path, PASSPHRASE)
    assert content == CONTENT
    opened.save(CONTENT * 2)
    assert WalletFile.open(path, PASSPHRASE)[1] == CONTENT * 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["wallet"]


def test_a_new_passphrase_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "wallet"
    opened = WalletFile.create(path, PASSPHRASE, CONTENT)
    opened.change_passphrase("another passphrase", CONTENT)
    with pytest.raises(Locked):
        WalletFile.open(path, PASSPHRASE)
    assert WalletFile.open(path, "another passphrase")[1] == CONTENT
    opened.save(b"later")
    assert WalletFile.open(path, "another passphrase")[1] == b"later"


def test_the_file_is_the_owners_alone_and_shows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "wallet"
    old = os.umask(0)
    try:
        WalletFile.create(path, PASSPHRASE, CONTENT)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert CONTENT not in path.read_bytes()
    assert PASSPHRASE.encode() not in path.read_bytes()


def test_a_wallet_is_locked_and_encrypted_by_the_published_recipe(tmp_path: Path) -> None:
    path = tmp_path / "wallet"
    WalletFile.create(path, PASSPHRASE, CONTENT)
    file = codec.decode(path.read_bytes())
    domain = b"caremesh/v1/wallet-file"
    assert decrypted(hkdf(unlock(PASSPHRASE, file["locked"]), domain, file["salt"]), file["content"], domain) == CONTENT


def test_two_saves_use_two_keys(tmp_path: Path) -> None:
    path = tmp_path / "wallet"
    opened = WalletFile.create(path, PASSPHRASE, CONTENT)
    files = [codec.decode(path.read_bytes())]
    opened.save(CONTENT)
    files.append(codec.decode(path.read_bytes()))
    assert files[0]["salt"] != files[1]["salt"]
    assert files[0]["content"] != files[1]["content"]
    WalletFile.create(tmp_path / "other", PASSPHRASE, CONTENT)
    assert files[0]["locked"] != codec.decode((tmp_path / "other").read_bytes())["locked"]


def test_a_wrong_passphrase_is_locked_and_not_repeated(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "wallet"
    path.write_bytes(saved)
    with pytest.raises(Locked, match=r"envelope\.03") as caught:
        WalletFile.open(path, "my dog's name")
    assert caught.value.place == "wallet"
    assert "dog" not in str(caught.value)
    assert path.read_bytes() == saved


@pytest.mark.promise("P6")
def test_a_file_cut_short_at_any_byte_is_named(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "wallet"
    for length in range(len(saved)):
        path.write_bytes(saved[:length])
        with pytest.raises(Tampered, match=r"wallet\.05") as caught:
            WalletFile.open(path, PASSPHRASE)
        assert caught.value.place == "wallet"


@pytest.mark.promise("P6")
def test_a_change_of_any_byte_is_found(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "wallet"
    for position in range(0, len(saved), 9):
        changed = bytearray(saved)
        changed[position] ^= 0x01
        path.write_bytes(changed)
        with pytest.raises((Tampered, Refused), match=r"wallet\.0[56]"):
            WalletFile.open(path, PASSPHRASE)


@pytest.mark.promise("P6")
def test_a_change_with_its_digest_made_to_match_does_not_open(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "wallet"
    plain = codec.decode(saved)
    for position in (40, len(plain["locked"]) // 2, len(plain["locked"]) - 1):
        locked = bytearray(plain["locked"])
        locked[position] ^= 1
        path.write_bytes(codec.encode(plain | {"locked": bytes(locked), "digest": sha256(bytes(locked))}))
        with pytest.raises((Locked, Tampered)):
            WalletFile.open(path, PASSPHRASE)
    for field in ("salt", "content"):
        path.write_bytes(codec.encode(plain | {field: plain[field][:-1] + bytes([plain[field][-1] ^ 1])}))
        with pytest.raises(Tampered, match=r"wallet\.05"):
            WalletFile.open(path, PASSPHRASE)


@pytest.mark.parametrize("data", [b"", b"\xa0", b"\x80", b"hello", b"\xff" * 100, b"\x81" * 5000])
def test_what_is_no_wallet_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "wallet"
    path.write_bytes(data)
    with pytest.raises(Tampered, match=r"wallet\.05"):
        WalletFile.open(path, PASSPHRASE)


def test_a_newer_version_is_refused_as_such(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "wallet"
    path.write_bytes(codec.encode(codec.decode(saved) | {"v": 2, "new": True}))
    with pytest.raises(Refused, match=r"wallet\.06"):
        WalletFile.open(path, PASSPHRASE)


def test_a_file_larger_than_any_wallet_is_refused(
    saved: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "wallet"
    path.write_bytes(saved)
    monkeypatch.setattr(store, "MAX_FILE_BYTES", len(saved))
    assert WalletFile.open(path, PASSPHRASE)[1] == CONTENT
    monkeypatch.setattr(store, "MAX_FILE_BYTES", len(saved) - 1)
    with pytest.raises(Tampered, match=r"wallet\.05") as caught:
        WalletFile.open(path, PASSPHRASE)
    assert caught.value.place == "wallet"


def test_a_missing_file_and_a_folder_are_not_readable(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(BadInput, match=r"wallet\.07"):
            WalletFile.open(path, PASSPHRASE)


def test_a_wallet_is_never_created_over_another(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "wallet"
    path.write_bytes(saved)
    with pytest.raises(Refused, match=r"wallet\.08"):
        WalletFile.create(path, PASSPHRASE, b"")
    assert path.read_bytes() == saved
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(Refused, match=r"wallet\.08"):
        WalletFile.create(link, PASSPHRASE, b"")


@pytest.mark.promise("P5")
@pytest.mark.parametrize("failing", ["write", "fsync", "replace", "open"])
@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_fails_leaves_the_old_wallet(
    saved: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, reason: int
) -> None:
    path = tmp_path / "wallet"
    path.write_bytes(saved)
    opened, _ = WalletFile.open(path, PASSPHRASE)

    def fail(*_: object, **__: object) -> None:
        raise OSError(reason, "failed")

    with monkeypatch.context() as patch:
        if failing == "replace":
            patch.setattr(Path, "replace", fail)
        elif failing == "write":
            patch.setattr(os, "fdopen", fail)
        else:
            patch.setattr(os, failing, fail)
        with pytest.raises(StorageFailed, match=r"storage\.01"):
            opened.save(b"new")
    assert path.read_bytes() == saved
    assert [entry.name for entry in tmp_path.iterdir()] == ["wallet"]


def test_a_wallet_is_held_by_one_command_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "wallet"
    with store.held(path), pytest.raises(Refused, match=r"wallet\.09"), store.held(path):
        pass
    with store.held(path):
        pass
    with pytest.raises(StorageFailed, match=r"storage\.01"), store.held(tmp_path / "no folder" / "wallet"):
        pass
