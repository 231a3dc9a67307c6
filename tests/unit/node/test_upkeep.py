"""Snapshots and retention of a running mesh, executing what is kept again, and making a copy anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from caremesh.contracts.network.messages import Params
from caremesh.errors import BadInput, CareMeshError, Refused, StorageFailed, Tampered
from caremesh.node import snapshots
from caremesh.node.mesh import LocalMesh
from caremesh.node.reexecute import reexecute
from caremesh.node.repair import repair

START_S = 1_800_000_000
RETAINED = 8
PARAMS = Params(batch_wait_s=0, kept_heights=4, retain_blocks=RETAINED)


class Clock:
    now = START_S

    def __call__(self) -> int:
        self.now += 1
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def aged(folder: Path, clock: Clock, height: int = 30) -> LocalMesh:
    mesh = LocalMesh(folder, clock, PARAMS)
    while mesh.engine.status().height < height:
        mesh.tick()
    return mesh


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(8_192, len(data), 64):  # whatever page and record a reader comes to
        data[at] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.promise("P8")
@pytest.mark.slow
def test_what_is_old_goes_on_every_copy_and_the_rest_can_be_executed_again(tmp_path: Path, clock: Clock) -> None:
    with aged(tmp_path, clock) as mesh:
        assert mesh.engine.status().oldest == 30 - RETAINED + 1
        for name in mesh.members:
            kept = snapshots.heights(tmp_path / name / "snapshots")
            assert kept[0] == 22
            assert kept[0] >= 30 - RETAINED
            assert len(kept) == 5
        files = [tmp_path / name / "snapshots" / f"{28:012}.snapshot" for name in ("hospital", "payer", "regulator")]
        states = {file.read_bytes() for file in files}
        assert len(states) == 1, "snapshots are equal byte for byte"
        done = reexecute(mesh)
        assert (done.start, done.height, done.app_hash) == (22, 30, mesh.engine.status().app_hash)
    with LocalMesh(tmp_path, clock) as again:
        again.tick()
        assert reexecute(again).height == again.engine.status().height
        for height in snapshots.heights(again.snapshots):
            snapshots.path_of(again.snapshots, height).unlink()
        with pytest.raises(BadInput, match=r"node\.07"):
            reexecute(again)


@pytest.mark.promise("P5")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["hospital", "regulator"])
def test_a_damaged_copy_is_noticed_and_made_anew(tmp_path: Path, clock: Clock, name: str) -> None:
    with aged(tmp_path, clock, 12) as mesh:
        snapshots.write(mesh.engine, tmp_path / "file")
        while mesh.engine.status().height < 15:
            mesh.tick()
        state = mesh.engine.status()
    damage(tmp_path / name / "ledger" / "data.mdb")
    with pytest.raises((Tampered, StorageFailed)):
        LocalMesh(tmp_path, clock).close()
    frames: list[int] = []
    done = repair(tmp_path, name, tmp_path / "file", clock, lambda at, _: frames.append(at))
    assert (done.start, done.height) == (12, 15)
    assert frames == list(range(1, snapshots.FRAMES + 1))
    with LocalMesh(tmp_path, clock) as again:
        assert again.engine.status().height == 16
        assert again.engine.block(15).signed.content().app_hash == state.app_hash
        assert {replica.status().app_hash for replica in again.replicas} == {again.engine.status().app_hash}
    assert not (tmp_path / name / "ledger" / "restored").exists()


@pytest.mark.promise("P6")
@pytest.mark.slow
def test_a_snapshot_that_is_not_whole_changes_nothing(tmp_path: Path, clock: Clock) -> None:
    with aged(tmp_path, clock, 4) as mesh:
        snapshots.write(mesh.engine, tmp_path / "file")
    whole = (tmp_path / "file").read_bytes()
    before = (tmp_path / "payer" / "ledger" / "data.mdb").read_bytes()
    for at in (2, 40, 400, 20_000, len(whole) - 3):
        flipped = bytearray(whole)
        flipped[at] ^= 1
        for broken in (bytes(flipped), whole[:at], whole + b"\0\0\0\1x"):
            (tmp_path / "broken").write_bytes(broken)
            with pytest.raises(CareMeshError) as found:
                repair(tmp_path, "payer", tmp_path / "broken", clock)
            assert found.value.exit_code in (3, 5)
            assert (tmp_path / "payer" / "ledger" / "data.mdb").read_bytes() == before


@pytest.mark.slow
def test_what_cannot_be_repaired_is_said(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(BadInput, match=r"node\.02"):
        repair(tmp_path / "none", "hospital", tmp_path / "file", clock)
    with aged(tmp_path / "mesh", clock, 4) as mesh:
        snapshots.write(mesh.engine, tmp_path / "file")
        with pytest.raises(Refused, match=r"node\.03"):
            repair(tmp_path / "mesh", "hospital", tmp_path / "file", clock)
        while mesh.engine.status().height < 4 + RETAINED + 2:
            mesh.tick()
    with pytest.raises(BadInput, match=r"node\.04"):
        repair(tmp_path / "mesh", "stranger", tmp_path / "file", clock)
    with pytest.raises(StorageFailed, match=r"storage\.01"):
        repair(tmp_path / "mesh", "hospital", tmp_path / "nothing", clock)
    with pytest.raises(BadInput, match=r"ledger\.11"):
        repair(tmp_path / "mesh", "hospital", tmp_path / "file", clock)
