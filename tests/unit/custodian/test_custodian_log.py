"""The release log as a custodian keeps it: whole, durable, and what it anchored is found again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from caremesh import codec
from caremesh.custodian.log import ReleaseLog, ToLog
from caremesh.errors import CareMeshError
from caremesh.sealing.release_log import START, Anchor, LogEntry, LogHead, link_of
from tests.conftest import Evidence
from tests.support.keepers import refusal

ONE, TWO = bytes([1]) * 32, bytes([2]) * 32
RECEIPT = bytes(range(32))
CIDS = [codec.cid_of_raw(bytes([number])) for number in range(4)]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ReleaseLog]:
    made = ReleaseLog(tmp_path / "a" / "log")
    yield made
    made.close()


def append(log: ReleaseLog, stream: bytes, receipt: bytes, descriptors: list[codec.CID], at: int) -> list[LogEntry]:
    """The releases of one request."""
    [answer] = log.append_each([ToLog(stream, receipt, descriptors)], at)
    if isinstance(answer, CareMeshError):
        raise answer
    return answer


def put(log: ReleaseLog, key: bytes, value: bytes | None) -> None:
    """As if something else had written to the file."""
    with log._env.begin(write=True) as txn:
        if value is None:
            txn.delete(key)
        else:
            txn.put(key, value)


def test_entries_stand_in_the_order_in_which_they_were_released(log: ReleaseLog) -> None:
    assert log.entries(ONE) == ([], LogHead(0, START))
    first = append(log, ONE, RECEIPT, CIDS[:2], 100)
    second = append(log, ONE, bytes(32), CIDS[2:3], 101)
    append(log, TWO, RECEIPT, CIDS[3:], 102)
    assert first == [
        LogEntry(ONE, 0, START, RECEIPT, CIDS[0], 100),
        LogEntry(ONE, 1, link_of(first[0]), RECEIPT, CIDS[1], 100),
    ]
    assert second == [LogEntry(ONE, 2, link_of(first[1]), bytes(32), CIDS[2], 101)]
    assert log.entries(ONE) == (first + second, LogHead(3, link_of(second[0])))
    assert log.heads() == {ONE: LogHead(3, link_of(second[0])), TWO: log.entries(TWO)[1]}


def test_it_outlives_its_keeper_and_is_nobody_elses(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    first = ReleaseLog(folder)
    entries = append(first, ONE, RECEIPT, CIDS, 100)
    anchor = first.anchor()
    first.close()
    assert folder.stat().st_mode & 0o777 == 0o700
    again = ReleaseLog(folder)
    assert again._env.info()["map_size"] == 2**34
    assert again.entries(ONE)[0] == entries
    found = again.anchored(anchor.root)
    assert found is not None
    assert found.heads() == anchor.heads()
    again.close()


def test_a_log_that_does_not_hold_together(log: ReleaseLog) -> None:
    append(log, ONE, RECEIPT, CIDS, 100)
    key = b"entry/" + ONE + (1).to_bytes(8)
    put(log, key, None)
    assert refusal(lambda: log.entries(ONE)) == ("custodian.21", "entry 1")
    put(log, key, codec.encode(LogEntry(ONE, 1, START, RECEIPT, CIDS[1], 100)))
    assert refusal(lambda: log.entries(ONE)) == ("custody.04", "entry 1")


@pytest.mark.promise("P6")
def test_what_is_not_what_it_should_be_is_named(log: ReleaseLog) -> None:
    append(log, ONE, RECEIPT, CIDS, 100)
    root = log.anchor().root
    put(log, b"anchor/0", b"?")
    assert refusal(lambda: log.anchored(root)) == ("custodian.21", "anchor")
    assert refusal(log.anchor) == ("custodian.21", "anchor")
    put(log, b"entry/" + ONE + (2).to_bytes(8), b"?")
    assert refusal(lambda: log.entries(ONE)) == ("custodian.21", "entry 2")
    put(log, b"head/" + ONE, b"?")
    for read in (lambda: log.entries(ONE), log.heads, lambda: append(log, ONE, RECEIPT, CIDS, 101)):
        assert refusal(read) == ("custodian.21", "head")


@pytest.mark.promise("P6")
def test_a_file_that_cannot_be_read_is_the_logs_damage(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / "data.mdb").write_bytes(bytes(4096))
    assert refusal(lambda: ReleaseLog(folder)) == ("custodian.21", "data.mdb")


def test_an_entry_is_never_written_over(log: ReleaseLog) -> None:
    """Without its head a log would begin anew, over what it holds."""
    entries = append(log, ONE, RECEIPT, CIDS[:2], 100)
    head = codec.encode(LogHead(2, link_of(entries[1])))
    put(log, b"head/" + ONE, codec.encode(LogHead(1, link_of(entries[0]))))
    assert refusal(lambda: append(log, ONE, bytes(32), CIDS[2:], 101)) == ("custodian.21", "entry 1")
    put(log, b"head/" + ONE, head)
    assert log.entries(ONE)[0] == entries


def test_only_heads_are_heads(log: ReleaseLog) -> None:
    assert log.heads() == {}
    put(log, b"i", b"?")
    assert log.heads() == {}
    append(log, ONE, RECEIPT, CIDS[:1], 100)
    assert list(log.heads()) == [ONE]


def test_the_last_two_anchors_are_found_again(log: ReleaseLog) -> None:
    roots = []
    for number in range(3):
        append(log, TWO, RECEIPT, CIDS[:1], number)
        append(log, ONE, RECEIPT, CIDS[:2], number)
        anchor = log.anchor()
        assert log.anchor().root == anchor.root, "nothing new"
        assert anchor.heads() == log.heads()
        assert anchor.count == 3 * (number + 1)
        roots.append(anchor)
    assert log.anchored(roots[0].root) is None
    for made in (*roots[1:], *roots[1:]):
        found = log.anchored(made.root)
        assert found is not None
        assert found.heads() == made.heads()
        assert found.root == made.root


def test_an_empty_log_has_an_anchor_too(log: ReleaseLog) -> None:
    assert log.anchor().root == Anchor({}).root
    found = log.anchored(Anchor({}).root)
    assert found is not None
    assert found.heads() == {}


def test_what_the_disk_refuses_is_said(tmp_path: Path, log: ReleaseLog) -> None:
    place = tmp_path / "file"
    place.write_bytes(b"")
    assert refusal(lambda: ReleaseLog(place)) == ("storage.01", "file")
    append(log, ONE, RECEIPT, CIDS, 100)
    log._env.set_mapsize(2**15)
    assert refusal(lambda: [append(log, ONE, RECEIPT, CIDS, 1) for _ in range(200)]) == ("storage.01", "release log")
    assert refusal(lambda: log._put({b"anchor/0": bytes(2**16)})) == ("storage.01", "release log")


def reading(folder: Path) -> list[object]:
    """What a process that begins on this folder reads of both streams, or the code of its refusal."""
    try:
        log = ReleaseLog(folder)
    except CareMeshError as error:
        return [error.code]
    try:
        return ["read", log.entries(ONE), log.entries(TWO)]
    except CareMeshError as error:
        return [error.code]
    finally:
        log.close()


@pytest.mark.slow
@pytest.mark.promise("P6")
def test_a_changed_byte_of_a_release_log_is_noticed_or_does_no_harm(tmp_path: Path, evidence: Evidence) -> None:
    made = ReleaseLog(tmp_path / "log")
    for number in range(8):
        append(made, ONE, RECEIPT, CIDS, 100 + number)
        append(made, TWO, RECEIPT, CIDS[:1], 100 + number)
    made.close()
    image = (tmp_path / "log" / "data.mdb").read_bytes()
    dice = random.Random(5)  # noqa: S311 - a seed must replay
    sound = reading(tmp_path / "log")
    assert sound[0] == "read"
    heard = []
    for number in range(160):
        bent = bytearray(image)
        bent[dice.randrange(len(image))] ^= 1 << dice.randrange(8)
        folder = tmp_path / f"bent{number}"
        folder.mkdir()
        (folder / "data.mdb").write_bytes(bent)
        verdict = reading(folder)
        evidence.fault("byte changed in a release log")
        assert verdict == sound or verdict[0] in ("custodian.21", "custody.04"), (
            "what is changed is not the disk's failure"
        )
        heard.append(verdict[0])
    assert "custodian.21" in heard
