"""Whenever the power goes or the process is killed: what was acknowledged is there, and nothing is half-done."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from caremesh.errors import CareMeshError
from caremesh.ledger.verify import check_store
from tests.support.kv import VALUES, Put, engine, transaction

ROOT = Path(__file__).parents[3]
SHIM = Path(__file__).with_name("recording_disk.c")
WRITE, DURABLE, SYNC, ACK = 1, 2, 3, 4

# Commits blocks and acknowledges each: height and app hash, written only after the engine has answered.
WRITER = """
import os, sys
from pathlib import Path
from tests.support.history import blocks
from tests.support.kv import *
made = engine(Path(sys.argv[1]), Kv([MEMBER], Params(kept_heights=4, retain_blocks=6, quota_messages=10**6)))
acks = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.write(acks, b"%d %s\\n" % (made.status().height, made.status().app_hash.hex().encode()))
for _, txs in blocks(int(sys.argv[3]), int(sys.argv[4])):
    made.submit_many([transaction(Put(key=os.urandom(2), value=os.urandom(200))), *txs])
    os.write(acks, b"%d %s\\n" % (made.status().height, made.status().app_hash.hex().encode()))
"""


class Step(NamedTuple):
    """One entry of a recording."""

    kind: int
    offset: int
    data: bytes


def steps(recording: bytes) -> list[Step]:
    found, at = [], 0
    while at < len(recording):
        kind, offset, length = (int.from_bytes(recording[at + 8 * n : at + 8 * n + 8], "little") for n in range(3))
        found.append(Step(kind, offset, recording[at + 24 : at + 24 + length]))
        at += 24 + length
    return found


def writer(folder: Path, seed: int, count: int, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder / "ledger"), str(folder / "acks"), str(seed), str(count)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), **environment},
    )


def acknowledged(lines: list[bytes]) -> tuple[int, str]:
    height, app_hash = lines[-1].split()
    return int(height), app_hash.decode()


def disk_at(recording: list[Step], crash: int, rng: random.Random | None) -> tuple[bytes, list[bytes]]:
    """What the disk holds when the power goes after ``crash`` steps, and what was acknowledged by then.

    Writes since the last sync are lost (without ``rng``) or survive in part, torn at sectors of 512 bytes.
    """
    image, unsynced, acks = bytearray(), list[Step](), list[bytes]()

    def put(offset: int, data: bytes) -> None:
        if len(image) < offset + len(data):
            image.extend(bytes(offset + len(data) - len(image)))
        image[offset : offset + len(data)] = data

    for step in recording[:crash]:
        if step.kind == WRITE:
            unsynced.append(step)
        elif step.kind == DURABLE:
            put(step.offset, step.data)
        elif step.kind == ACK:
            acks.append(step.data)
        else:
            for late in unsynced:
                put(late.offset, late.data)
            unsynced.clear()
    for late in unsynced if rng is not None else []:
        for at in range(0, len(late.data), 512):
            if rng is not None and rng.random() < 0.5:
                put(late.offset + at, late.data[at : at + 512])
    return bytes(image), acks


@pytest.mark.promise("P5")
@pytest.mark.slow
def test_power_may_go_at_every_write(tmp_path: Path, evidence: Any) -> None:
    library = tmp_path / "recording_disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-w", "-o", library, SHIM, "-ldl"], check=True)
    child = writer(tmp_path, 1, 9, LD_PRELOAD=str(library), RECORDING=str(tmp_path / "recording"))
    assert child.wait(60) == 0
    recording = steps((tmp_path / "recording").read_bytes())
    assert sum(step.kind == ACK for step in recording) == 10
    assert {WRITE, SYNC} <= {step.kind for step in recording} or DURABLE in {step.kind for step in recording}
    first = next(at for at, step in enumerate(recording) if step.kind == ACK) + 1
    rng = random.Random(5)  # noqa: S311 - a seed must replay
    for crash in range(first, len(recording) + 1):
        for chance in (None, rng):
            image, acks = disk_at(recording, crash, chance)
            height, app_hash = acknowledged(acks)
            check_image(tmp_path / "image", image, height, app_hash)
            evidence.fault("power lost, unsynced writes dropped" if chance is None else "power lost, writes torn")


def check_image(folder: Path, image: bytes, height: int, app_hash: str) -> None:
    folder.mkdir()
    (folder / "data.mdb").write_bytes(image)
    made = engine(folder)
    found = made.status()
    assert found.height in (height, height + 1)
    if found.height == height:
        assert found.app_hash.hex() == app_hash
    assert check_store(made.machine.store).height == found.height
    made.close()
    shutil.rmtree(folder)


@pytest.mark.promise("P5")
@pytest.mark.slow
def test_killed_at_any_time_it_recovers_the_last_acknowledged_block(tmp_path: Path, evidence: Any) -> None:
    rng = random.Random(7)  # noqa: S311 - a seed must replay
    lines: list[bytes] = []
    for run in range(4):
        child = writer(tmp_path, run, 10_000)
        wanted = len(lines) + rng.randrange(2, 12)
        while len(lines) < wanted:
            assert child.poll() is None
            lines = (tmp_path / "acks").read_bytes().splitlines() if (tmp_path / "acks").exists() else []
        child.send_signal(signal.SIGKILL)
        child.wait()
        evidence.fault("kill -9")
        lines = (tmp_path / "acks").read_bytes().splitlines()
        height, app_hash = acknowledged(lines)
        made = engine(tmp_path / "ledger")
        status = made.status()
        assert status.height in (height, height + 1)
        if status.height == height:
            assert status.app_hash.hex() == app_hash
        assert check_store(made.machine.store).height == status.height
        made.submit(transaction(Put(key=b"after", value=b"1")))
        made.close()


@pytest.mark.promise("P6")
@pytest.mark.slow
def test_a_changed_byte_anywhere_in_the_file_is_noticed_or_does_no_harm(tmp_path: Path, evidence: Any) -> None:
    made = engine(tmp_path / "ledger")
    for number in range(6):
        made.submit(transaction(*(Put(key=b"%d" % at, value=b"%d" % number) for at in range(20))))
    app_hash = made.status().app_hash
    made.close()
    image = (tmp_path / "ledger" / "data.mdb").read_bytes()
    rng = random.Random(3)  # noqa: S311 - a seed must replay
    heard = set()
    for number in range(120):
        bent = bytearray(image)
        bent[rng.randrange(len(image))] ^= 1 << rng.randrange(8)
        folder = tmp_path / "bent" / str(number)
        folder.mkdir(parents=True)
        (folder / "data.mdb").write_bytes(bent)
        evidence.fault("byte changed in data.mdb")
        try:
            made = engine(folder)
        except CareMeshError as error:
            heard.add(error.code)
            continue
        try:
            check_store(made.machine.store)
            made.query(VALUES.key(b"1"))
            assert made.status().app_hash == app_hash
        except CareMeshError as error:
            heard.add(error.code)
        finally:
            made.close()
    assert "ledger.32" in heard
    assert heard <= {"ledger.11", "ledger.30", "ledger.31", "ledger.32", "ledger.33"}
