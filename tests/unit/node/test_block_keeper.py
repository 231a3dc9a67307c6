"""What a holder of blocks does by itself: repairs, fills a lost disk again, collects, and finishes imports."""

from __future__ import annotations

import io
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from caremesh import codec
from caremesh.blobs.accounts import Accounts
from caremesh.blobs.filesystem import FilesystemBlocks
from caremesh.blobs.holding import Holder
from caremesh.blobs.memory import MemoryBlocks
from caremesh.blobs.noticed import Noticed
from caremesh.blobs.s3 import S3Blocks
from caremesh.contracts.records import queries as records
from caremesh.errors import StorageFailed
from caremesh.node import logs
from caremesh.node.block_keeper import BlockKeeper, Others
from caremesh.node.block_stores import ACCESS, SECRET, open_blocks
from caremesh.node.mesh import LocalMesh
from caremesh.settings import load
from caremesh.testing.clock import SettableClock
from tests.support.case import Case
from tests.support.s3_server import running

ROUND = 40


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("keeper") / "mesh", SettableClock()) as made:
        yield made


@pytest.fixture
def case(mesh: LocalMesh, tmp_path: Path) -> Case:
    case = Case(mesh, tmp_path)
    mesh.member("hospital").source(mesh).import_bundle(json.dumps(case.condition(1)).encode())
    return case


class Kept:
    """The laboratory with a keeper."""

    def __init__(self, case: Case, folder: Path, **more: Any) -> None:
        self.member = case.mesh.member("laboratory")
        self.blocks = FilesystemBlocks(self.member.home.folder / "blocks")
        self.said = io.StringIO()
        self.seen: list[Noticed] = []
        copy = self.member.ledger.copy
        self.holder = Holder(
            did=self.member.home.did,
            store=self.blocks,
            accounts=Accounts(folder / "accounts"),
            ledger=copy,
            clock=case.mesh.clock,
        )
        self.finished = 0
        self.keeper = BlockKeeper(
            folder=folder,
            holder=self.holder,
            catalogue=self.member.forgetting,
            holders=case.mesh.holders,
            reader=copy.reader,
            finish=more.pop("finish", self._finish),
            log=logs.begin("test", "info", self.said),
            notice=self.seen.append,
            **more,
        )

    def _finish(self) -> None:
        self.finished += 1

    def round(self) -> None:
        for _ in range(ROUND):
            if self.keeper.check.step().round_ended:
                return
        raise AssertionError


@pytest.fixture
def kept(case: Case, tmp_path: Path) -> Iterator[Kept]:
    made = Kept(case, tmp_path)
    yield made
    made.keeper.close()
    made.holder.accounts.close()


def names(store: FilesystemBlocks) -> set[str]:
    return {cid.encode() for cid in store.names(None, 10_000)}


def wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.promise("P5")
def test_a_lost_disk_is_filled_again_by_what_the_ledger_names(kept: Kept, evidence: Any) -> None:
    folder, before = kept.member.home.folder / "blocks", names(kept.blocks)
    assert len(before) >= 3
    for shard in folder.iterdir():
        if shard.is_dir():
            shutil.rmtree(shard)
    kept.round()
    assert names(kept.blocks) == before
    assert kept.keeper.counts["repaired"] == kept.keeper.counts["missing"] == len(before)
    assert {"event": "block missing", "member": kept.member.home.did}.items() <= json.loads(
        kept.said.getvalue().splitlines()[0]
    ).items()
    kept.round()
    assert kept.keeper.counts["repaired"] == len(before)
    evidence.fault("disk of one member lost")


@pytest.mark.promise("P6")
def test_reading_and_checking_make_good_what_is_damaged(kept: Kept, case: Case, evidence: Any) -> None:
    segment = records.segments(case.reader, case.stream)[0]
    assert segment.descriptor is not None
    path = next((kept.member.home.folder / "blocks").rglob(segment.descriptor.encode()))
    whole = path.read_bytes()
    for again in (lambda: kept.keeper.blocks.get(segment.descriptor), kept.round):  # type: ignore[arg-type]
        path.write_bytes(b"damaged")
        again()
        assert path.read_bytes() == whole
    assert [one.kind for one in kept.seen] == ["damaged", "repaired"] * 2
    evidence.fault("block changed on disk", 2)


@pytest.mark.promise("P8")
def test_what_was_erased_is_not_brought_back(kept: Kept, case: Case) -> None:
    catalogue = kept.member.forgetting
    rows = [row for row in catalogue.rows(b"", 10_000) if row.stream == case.stream]
    assert [row.descriptor for row in rows] == [records.segments(case.reader, case.stream)[0].descriptor]
    assert catalogue.stands(rows[0])
    case.wallet.erase(case.stream, 0, case.ledger, case.sponsor)
    assert not catalogue.stands(rows[0])
    assert [row for row in catalogue.rows(b"", 10_000) if row.stream == case.stream] == []
    before = names(kept.blocks)
    kept.round()
    assert names(kept.blocks) == before
    assert rows[0].descriptor.encode() not in before


def test_the_catalogue_comes_in_pieces(kept: Kept, case: Case) -> None:
    source = case.mesh.member("hospital").source(case.mesh)
    for number in range(2, 6):
        source.import_bundle(json.dumps(case.condition(number)).encode())
    catalogue = kept.member.forgetting
    every = catalogue.rows(b"", 10_000)
    assert len(every) >= 5
    found = []
    while piece := catalogue.rows(found[-1].place if found else b"", 2):
        assert len(piece) <= 2
        found += piece
    assert found == every


def test_it_collects_and_finishes_and_tells_of_failures_once(case: Case, tmp_path: Path) -> None:
    def fails() -> None:
        raise StorageFailed(codec.BAD_CID)

    kept = Kept(case, tmp_path, finish=fails)
    data = b"nobody registers this"
    kept.holder.of("did:caremesh:demo:" + "a" * 32).put(case.stream, codec.cid_of_raw(data), data)
    kept.keeper.tidy()
    assert kept.blocks.has(codec.cid_of_raw(data))
    case.clock.advance(2 * 86_400)
    case.mesh.tick()
    kept.keeper.tidy()
    assert not kept.blocks.has(codec.cid_of_raw(data))
    assert kept.keeper.counts["collected"] == 1
    events = [json.loads(line)["event"] for line in kept.said.getvalue().splitlines()]
    assert events == ["duty failed", "blocks collected"]
    kept.holder.accounts.close()


def test_its_threads_work_and_end(case: Case, tmp_path: Path) -> None:
    kept = Kept(case, tmp_path, every_s=0.01, rate_bytes_s=2**40)
    segment = records.segments(case.reader, case.stream)[0]
    assert segment.descriptor is not None
    path = next((kept.member.home.folder / "blocks").rglob(segment.descriptor.encode()))
    path.write_bytes(b"damaged")
    kept.keeper.suspect(segment.descriptor)
    kept.keeper.start()
    wait_for(lambda: kept.keeper.counts["repaired"] == 1 and kept.finished > 2)
    kept.keeper.close()
    assert not {"blocks", "collect"} & {thread.name for thread in threading.enumerate()}
    kept.holder.accounts.close()


def test_the_check_is_begun_again_when_something_unforeseen_ends_it(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(case, tmp_path, every_s=0.01)
    calls: list[int] = []

    def run(*_: object, **__: object) -> None:
        calls.append(1)
        raise RuntimeError

    monkeypatch.setattr(kept.keeper.check, "run", run)
    kept.keeper.start()
    wait_for(lambda: len(calls) > 2)
    kept.keeper.close()
    kept.holder.accounts.close()


def test_the_others_are_all_but_oneself() -> None:
    stores = {"a": MemoryBlocks(), "b": MemoryBlocks(), "c": MemoryBlocks()}
    others = Others("b", lambda: stores)
    assert (list(others), len(others), others.get("b"), others["a"] is stores["a"]) == (["a", "c"], 2, None, True)
    del stores["c"]
    assert list(others) == ["a"]


def test_the_settings_say_where_blocks_are(tmp_path: Path) -> None:
    made = open_blocks(tmp_path, load(tmp_path))
    assert isinstance(made, FilesystemBlocks)
    assert (tmp_path / "blocks").is_dir()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_settings_say_which_service_blocks_are_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path / "served") as server:
        monkeypatch.setenv(ACCESS, server.settings.access_key)
        monkeypatch.setenv(SECRET, server.settings.secret_key)
        said = {"endpoint": server.settings.endpoint, "bucket": server.settings.bucket, "prefix": "one/node"}
        made = open_blocks(tmp_path, load(tmp_path, {f"blocks_s3_{name}": value for name, value in said.items()}))
        assert isinstance(made, S3Blocks)
        made.put(bytes(32), codec.cid_of_raw(b"x"), b"x")
        assert (server.folder / server.settings.bucket / "one" / "node" / "blocks").is_dir()
        assert not (tmp_path / "blocks").exists()
