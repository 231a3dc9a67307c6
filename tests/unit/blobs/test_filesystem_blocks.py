"""The filesystem store against a disk that fails, fills up, flips bits, and loses power at every step."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caremesh import codec
from caremesh.blobs.filesystem import FilesystemBlocks
from caremesh.errors import StorageFailed, Tampered, Unavailable

ONE, TWO = bytes([1]) * 32, bytes([2]) * 32
DATA, OTHER = b"ciphertext", b"other ciphertext"
NAME, OTHER_NAME = codec.cid_of_raw(DATA), codec.cid_of_raw(OTHER)
BOTH = {NAME: DATA, OTHER_NAME: OTHER}


class PowerLoss(BaseException):
    """Nothing of the process runs any more; not even its clean-up reaches the disk."""


def path_of(folder: Path, name: str = NAME.encode()) -> Path:
    return folder / name[-2:] / name


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != "lock")


def break_disk(
    monkeypatch: pytest.MonkeyPatch, failing_call: int, failure: Callable[[], BaseException], *, forever: bool
) -> Callable[[], int]:
    """Let the ``failing_call``-th call that changes the disk fail (and all after it); gives a counter of calls."""
    calls = 0

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == failing_call or (forever and calls > failing_call):
                raise failure()
            return real(*args, **kwargs)

        return counted

    for name in ("open", "fsync", "replace", "link", "unlink", "mkdir"):
        monkeypatch.setattr(os, name, wrap(getattr(os, name)))
    return lambda: calls


def test_blocks_are_there_after_reopening(tmp_path: Path) -> None:
    FilesystemBlocks(tmp_path).put_all(ONE, BOTH)
    again = FilesystemBlocks(tmp_path)
    assert again.get(NAME) == DATA
    assert again.streams_of(OTHER_NAME) == [ONE]


@pytest.mark.promise("P6")
def test_every_flipped_byte_is_noticed_and_the_block_named(tmp_path: Path) -> None:
    store = FilesystemBlocks(tmp_path)
    store.put(ONE, NAME, DATA)
    for position in range(len(DATA)):
        path_of(tmp_path).write_bytes(DATA[:position] + bytes([DATA[position] ^ 1]) + DATA[position + 1 :])
        with pytest.raises(Tampered, match=rf"blobs\.01.*{NAME.encode()}"):
            store.get(NAME)
    for damaged in (b"", DATA[:-1], DATA + b"\0"):
        path_of(tmp_path).write_bytes(damaged)
        with pytest.raises(Tampered, match=NAME.encode()):
            store.get(NAME)


def test_a_damaged_block_is_repaired_by_storing_it_again(tmp_path: Path) -> None:
    store = FilesystemBlocks(tmp_path)
    store.put(ONE, NAME, DATA)
    path_of(tmp_path).write_bytes(b"damaged")
    store.put(TWO, NAME, DATA)
    assert store.get(NAME) == DATA
    assert store.streams_of(NAME) == [ONE, TWO]


def test_a_block_in_place_is_not_written_again(tmp_path: Path) -> None:
    store = FilesystemBlocks(tmp_path)
    store.put(ONE, NAME, DATA)
    before = path_of(tmp_path).stat().st_ino
    store.put(TWO, NAME, DATA)
    assert path_of(tmp_path).stat().st_ino == before


def test_leftovers_go_at_opening_and_what_is_held_stays(tmp_path: Path) -> None:
    store = FilesystemBlocks(tmp_path)
    store.put(ONE, NAME, DATA)
    shard = path_of(tmp_path).parent
    (shard / ".writing-0123").write_bytes(b"half a bl")
    (shard / OTHER_NAME.encode()).write_bytes(OTHER)  # written, but not yet held by anyone
    again = FilesystemBlocks(tmp_path)
    assert files_of(tmp_path) == sorted([NAME.encode(), f"{NAME.encode()}.{ONE.hex()}"])
    assert again.get(NAME) == DATA


def test_data_is_synced_before_the_name_and_the_name_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FilesystemBlocks(tmp_path)
    path_of(tmp_path).parent.mkdir()
    done: list[str] = []
    real_fsync, real_replace, real_link = os.fsync, os.replace, os.link

    def fsync(descriptor: int) -> None:
        kind = "folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file"
        done.append(f"sync {kind}")
        real_fsync(descriptor)

    def replace(source: Path, target: Path) -> None:
        assert source.parent == target.parent
        done.append("rename")
        real_replace(source, target)

    def link(source: Path, target: Path) -> None:
        done.append("mark")
        real_link(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "link", link)
    store.put(ONE, NAME, DATA)
    assert done == ["sync file", "rename", "mark", "sync folder"]
    assert path_of(tmp_path).stat().st_mode & 0o777 == 0o600


@pytest.mark.promise("P5")
@pytest.mark.parametrize("held_before", [False, True])
def test_a_crash_at_every_step_leaves_each_block_whole_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, held_before: bool
) -> None:
    for failing_call in range(1, 100):
        folder = tmp_path / str(failing_call)
        store = FilesystemBlocks(folder)
        if held_before:
            store.put(TWO, NAME, DATA)
        with monkeypatch.context() as patched:
            calls = break_disk(patched, failing_call, PowerLoss, forever=True)
            try:
                store.put_all(ONE, BOTH)
                acknowledged = True
            except PowerLoss:
                acknowledged = False
            count = calls()
        again = FilesystemBlocks(folder)
        for cid, data in BOTH.items():
            if acknowledged:
                assert ONE in again.streams_of(cid)
            if acknowledged or again.has(cid):
                assert again.get(cid) == data
                assert again.streams_of(cid) != []
        if held_before:
            assert again.get(NAME) == DATA
            assert TWO in again.streams_of(NAME)
        assert not [name for name in files_of(folder) if name.startswith(".")]
        again.put_all(ONE, BOTH)
        assert [again.get(cid) for cid in BOTH] == list(BOTH.values())
        if acknowledged:
            assert count >= 8
            return
    pytest.fail("the store never finished")


@pytest.mark.promise("P5")
def test_a_crash_while_deleting_never_drops_a_block_that_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for failing_call in range(1, 20):
        folder = tmp_path / str(failing_call)
        store = FilesystemBlocks(folder)
        store.put_all(ONE, BOTH)
        store.put(TWO, NAME, DATA)
        with monkeypatch.context() as patched:
            break_disk(patched, failing_call, PowerLoss, forever=True)
            try:
                store.delete(ONE, NAME)
                store.delete(ONE, OTHER_NAME)
                finished = True
            except PowerLoss:
                finished = False
        again = FilesystemBlocks(folder)
        assert again.get(NAME) == DATA
        assert again.has(OTHER_NAME) == bool(again.streams_of(OTHER_NAME))
        if finished:
            assert not again.has(OTHER_NAME)
            return
    pytest.fail("the store never finished")


@pytest.mark.promise("P5")
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_refuses_at_any_step_keeps_nothing_of_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    codes: set[str] = set()
    for failing_call in range(1, 100):
        folder = tmp_path / str(failing_call)
        store = FilesystemBlocks(folder)
        store.put(TWO, OTHER_NAME, OTHER)
        before = files_of(folder)
        with monkeypatch.context() as patched:
            break_disk(patched, failing_call, lambda: OSError(code, os.strerror(code)), forever=False)
            try:
                store.put_all(ONE, BOTH)
            except StorageFailed as error:
                codes.add(error.code)
            else:
                assert codes == {"storage.01"}
                return
        assert files_of(folder) == before
    pytest.fail("the store never finished")


def test_a_failed_call_does_not_take_away_what_others_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FilesystemBlocks(tmp_path)
    store.put(ONE, NAME, DATA)
    real_fsync = os.fsync

    def no_folder(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            raise OSError(errno.EIO, "broken")
        real_fsync(descriptor)

    path_of(tmp_path, OTHER_NAME.encode()).parent.mkdir()
    for damage in (DATA, b"damaged"):
        path_of(tmp_path).write_bytes(damage)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", no_folder)
            with pytest.raises(StorageFailed):
                store.put_all(ONE, BOTH)
        assert store.streams_of(NAME) == [ONE]
        assert store.get(NAME) == DATA
        assert not store.has(OTHER_NAME)


def test_every_folder_that_changed_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    folder = tmp_path / "blocks"
    shard = NAME.encode()[-2:]
    store = FilesystemBlocks(folder)
    assert synced == ["blocks", tmp_path.name]
    synced.clear()
    store.put(ONE, NAME, DATA)
    assert [name for name in synced if not name.startswith(".writing-")] == ["blocks", shard]
    synced.clear()
    store.delete(ONE, NAME)
    assert synced == [shard]
    (folder / shard / ".writing-0123").touch()
    synced.clear()
    FilesystemBlocks(folder)
    assert synced == [shard, "blocks", tmp_path.name]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EMLINK])
def test_without_hard_links_an_empty_file_marks_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def no_link(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", no_link)
    store = FilesystemBlocks(tmp_path)
    store.put_all(ONE, BOTH)
    again = FilesystemBlocks(tmp_path)
    assert (again.streams_of(NAME), again.get(NAME)) == ([ONE], DATA)
    again.delete(ONE, NAME)
    assert not again.has(NAME)


def test_a_disk_that_makes_no_second_name_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "link", broken)
    with pytest.raises(StorageFailed, match=r"storage\.01"):
        FilesystemBlocks(tmp_path).put_all(ONE, BOTH)
    assert files_of(tmp_path) == []


def test_files_are_synced_in_groups_and_an_error_of_any_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = {codec.cid_of_raw(data): data for data in (number.to_bytes(2) for number in range(150))}
    FilesystemBlocks(tmp_path / "fine").put_many({ONE: blocks, TWO: BOTH})
    again = FilesystemBlocks(tmp_path / "fine")
    assert [again.get(cid) for cid in blocks] == list(blocks.values())
    assert (again.streams_of(NAME), again.streams_of(next(iter(blocks)))) == ([TWO], [ONE])
    synced = 0
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal synced
        synced += 1
        if synced == 100:
            raise OSError(errno.EIO, "broken")
        real_fsync(descriptor)

    broken = FilesystemBlocks(tmp_path / "broken")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageFailed, match=r"storage\.01"):
        broken.put_many({ONE: blocks, TWO: BOTH})
    assert files_of(tmp_path / "broken") == []


LIMITED = """
import resource, sys
from pathlib import Path
from caremesh import codec
from caremesh.blobs.filesystem import FilesystemBlocks
from caremesh.errors import StorageFailed
store = FilesystemBlocks(Path(sys.argv[1]))
small, large = b"small", bytes(100_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    store.put_all(bytes(32), {codec.cid_of_raw(small): small, codec.cid_of_raw(large): large})
except StorageFailed as error:
    print(error.code, error.place == codec.cid_of_raw(large).encode())
"""


def test_a_real_limit_of_the_operating_system(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ran.stdout == "storage.01 True\n"
    assert files_of(tmp_path) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY


WRITER = """
import sys
from pathlib import Path
from caremesh import codec
from caremesh.blobs.filesystem import FilesystemBlocks
store = FilesystemBlocks(Path(sys.argv[1]))
print("ready", flush=True)
i = 0
while True:
    data = i.to_bytes(4, "big") * 50_000
    store.put(bytes(32), codec.cid_of_raw(data), data)
    print(i, flush=True)
    i += 1
"""


@pytest.mark.promise("P5")
def test_what_was_acknowledged_survives_a_killed_process(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as lines:
        acknowledged = [lines.readline() for _ in range(6)]
        process.kill()
        acknowledged += lines.readlines()
    process.wait()
    store = FilesystemBlocks(tmp_path)
    for line in acknowledged[1:]:
        if line.endswith("\n"):
            data = int(line).to_bytes(4, "big") * 50_000
            assert store.get(codec.cid_of_raw(data)) == data
    assert not [name for name in files_of(tmp_path) if name.startswith(".")]


def test_opening_does_not_remove_what_another_process_is_writing(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as lines:
        assert lines.readline() == "ready\n"
        for _ in range(10):
            FilesystemBlocks(tmp_path)
            line = lines.readline()
            assert line.strip().isdigit(), "the writer failed"
        process.kill()
    process.wait()


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "blocks").write_bytes(b"")
    with pytest.raises(StorageFailed, match=r"storage\.01.*blocks"):
        FilesystemBlocks(tmp_path / "blocks")


def test_a_file_where_a_shard_should_be(tmp_path: Path) -> None:
    store = FilesystemBlocks(tmp_path)
    path_of(tmp_path).parent.write_bytes(b"")
    for action in (
        lambda: store.put(ONE, NAME, DATA),
        lambda: store.get(NAME),
        lambda: store.delete(ONE, NAME),
        lambda: store.streams_of(NAME),
    ):
        with pytest.raises(StorageFailed, match=rf"storage\.01.*{NAME.encode()}"):
            action()


def test_errors_while_reading_are_not_absence(tmp_path: Path) -> None:
    store = FilesystemBlocks(tmp_path)
    path_of(tmp_path).mkdir(parents=True)
    with pytest.raises(StorageFailed):
        store.get(NAME)
    path_of(tmp_path).rmdir()
    with pytest.raises(Unavailable):
        store.get(NAME)
