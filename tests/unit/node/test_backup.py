"""A backup of a home, taken while its node runs; a home made of one; and what a custodian does after that."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from caremesh.codec import cid_of_raw
from caremesh.custodian.log import ToLog
from caremesh.errors import CareMeshError, Refused, Tampered
from caremesh.node import backup, restored
from caremesh.node.node import Node
from caremesh.testing.clock import SettableClock
from tests.support.near import Near, found

STREAM, RECEIPT = bytes(32), bytes(32)


@pytest.fixture(scope="module")
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def near(tmp_path: Path, clock: SettableClock) -> Iterator[Near]:
    found(tmp_path, int(time.time()))
    made = Near(tmp_path, clock)
    yield made
    made.close()


def until(holds) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def release(node: Node, stream: bytes = STREAM) -> str:
    """Log a release as a custodian does first of all, together with others'; the code of the refusal."""
    log, asked = node.member.log, ToLog(stream, RECEIPT, [cid_of_raw(os.urandom(8))])
    before = log.heads()
    [answer] = log.append_each([asked], 1)
    if isinstance(answer, CareMeshError):
        assert log.heads() == before
        assert [type(each) for each in log.append_each([asked, asked], 1)] == [type(answer)] * 2
        assert log.heads() == before
        return answer.code
    return ""


def back_up(home: Path, out: Path) -> int:
    """As an operator does: by the command, in a process of its own, while the node runs."""
    command = [str(Path(sys.executable).with_name("caremesh")), "backup", "--home", str(home), str(out)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode


def taken(near: Near, folder: Path) -> Path:
    """A backup of the first follower, taken while it runs; it has released and keeps a block and a secret."""
    near.start("operator")
    node = near.start("first")
    until(lambda: node.status().height > 2)
    assert release(node) == ""
    data = os.urandom(100)
    node.home.blocks.put(STREAM, cid_of_raw(data), data)
    node.home.vault.put({"note": b"kept"})
    assert back_up(near.folder / "first", folder / "backup") == 0
    return folder / "backup"


@pytest.mark.slow
@pytest.mark.promise("P5")
def test_a_home_made_of_a_backup_is_the_one_that_was_backed_up(near: Near, tmp_path: Path) -> None:
    made = taken(near, tmp_path)
    assert backup.verify(made).chain == "near"
    assert not list(made.rglob("secrets.key"))
    near.stop("first")
    (tmp_path / "first").rename(tmp_path / "lost")
    backup.restore(made, tmp_path / "first", tmp_path / "lost" / "secrets.key", near.clock())
    node = near.start("first")
    assert node.home.vault.get("note") == b"kept"
    assert node.member.log.heads()[STREAM].count == 1
    assert len(node.home.blocks.names(None, 10)) == 1
    until(lambda: node.status().height > near.nodes["operator"].status().height - 1)


@pytest.mark.slow
@pytest.mark.promise("P2")
def test_a_restored_custodian_takes_no_place_in_a_log_twice(
    near: Near, tmp_path: Path, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = taken(near, tmp_path)
    assert release(near.nodes["first"]) == ""  # after the backup: the restored log does not know of it
    near.stop("first")
    (tmp_path / "first").rename(tmp_path / "lost")
    backup.restore(made, tmp_path / "first", tmp_path / "lost" / "secrets.key", near.clock() + 20)
    node = near.start("first")
    height = node.status().height
    opened: dict[bytes, int] = {STREAM: 1}

    class Known:
        def __init__(self, height: int) -> None:
            self.opened = height

    monkeypatch.setattr(
        restored.streams, "stream", lambda _, stream: Known(opened[stream]) if stream in opened else None
    )
    assert release(node) == "node.27"
    new = os.urandom(32)
    opened[new] = height + 1_000_000
    until(lambda: node.status().height > height + 2)
    assert release(node, new) == "node.27"  # no block is surely later than the restore: nothing is released
    clock.advance(30)
    until(lambda: (known := restored.read(near.folder / "first")) is not None and known.height is not None)
    assert release(node) == "node.27"  # now, and for good
    assert release(node, new) == ""
    assert node.member.log.heads()[STREAM].count == 1
    near.stop("first")
    assert release(near.start("first")) == "node.27"


@pytest.mark.slow
@pytest.mark.promise("P6")
def test_any_changed_missing_or_added_file_is_named(near: Near, tmp_path: Path) -> None:
    made = taken(near, tmp_path)
    files = sorted(path for path in made.rglob("*") if path.is_file())
    assert len(files) > 10
    for path in files:
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if data else b"x")
        with pytest.raises(Tampered) as error:
            backup.verify(made)
        assert error.value.code == "node.24"
        named = path.relative_to(made / "home" if made / "home" in path.parents else made).as_posix()
        assert error.value.place == (backup.MANIFEST if named == "admission.cbor" else named)
        path.unlink()
        with pytest.raises(Tampered):
            backup.verify(made)
        path.write_bytes(data)
    backup.verify(made)
    (made / "home" / "more").write_bytes(b"")
    with pytest.raises(Tampered) as error:
        backup.verify(made)
    assert error.value.place == "more"
    with pytest.raises(Tampered):
        backup.restore(made, tmp_path / "new", tmp_path / "first" / "secrets.key", near.clock())
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_nothing_is_overwritten_and_nothing_opens_without_the_key(near: Near, tmp_path: Path) -> None:
    made, key = taken(near, tmp_path), tmp_path / "first" / "secrets.key"
    assert back_up(tmp_path / "first", made) == Refused.exit_code
    with pytest.raises(Refused) as refused:
        backup.restore(made, tmp_path / "first", key, near.clock())
    assert refused.value.code == "node.15"
    for wrong, code in ((tmp_path / "second" / "secrets.key", "vault.01"), (tmp_path / "none", "node.26")):
        with pytest.raises(CareMeshError) as error:
            backup.restore(made, tmp_path / "new", wrong, near.clock())
        assert error.value.code == code
        assert not (tmp_path / "new").exists()


@pytest.mark.slow
@pytest.mark.promise("P7")
def test_a_node_that_orders_blocks_is_not_made_anew_from_a_backup(near: Near, tmp_path: Path) -> None:
    node = near.start("operator")
    until(lambda: node.status().height > 2)
    assert back_up(tmp_path / "operator", tmp_path / "backup") == 0
    with pytest.raises(Refused) as error:
        backup.restore(tmp_path / "backup", tmp_path / "new", tmp_path / "operator" / "secrets.key", near.clock())
    assert error.value.code == "node.25"
