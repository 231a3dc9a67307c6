"""A worker reads blocks where they lie; what it does not find whole it asks the ledger process for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from caremesh import codec
from caremesh.api.routes import Answer, Call, Caller, Route
from caremesh.blobs import links
from caremesh.blobs.filesystem import FilesystemBlocks
from caremesh.blobs.links import BlockLink
from caremesh.client import wire
from caremesh.codec import CID
from caremesh.crypto.keys import SigningKey
from caremesh.errors import CareMeshError
from caremesh.node.block_reads import READ_HERE, read_here
from caremesh.settings import load
from tests.support.holders import ME, OTHER, every, segment

ONE = bytes([1]) * 32
NOW = 1_800_000_000
KEY = SigningKey.generate()
SEALED = segment(ONE)
MEMBER, ANYONE = Caller("member", OTHER), Caller("anyone", "")


class Worker:
    """Its table; ``asked``: what it passed on."""

    def __init__(self, home: Path) -> None:
        self.asked: list[str] = []
        others = [self._route(name) for name in (*sorted(READ_HERE), "blocks.put", "ledger.status")]
        made = read_here(
            others,
            home=home,
            settings=load(home),
            did=ME,
            key=KEY.public,
            reader=lambda: None,
            clock=lambda: NOW,  # type: ignore[arg-type, return-value]
        )
        self.routes = {route.name: route for route in made}

    def _route(self, name: str) -> Route:
        async def there(_: Call) -> Answer:
            self.asked.append(name)
            return Answer(b"from the ledger process")

        return Route(name=name, method="GET", path="/", summary="", handler=there)

    def ask(self, name: str, cid: CID, caller: Caller = MEMBER, **headers: str) -> Answer:
        query = {"format": "raw"} if name.startswith("ipfs") else {}
        call = Call(caller, {"cid": cid.encode()}, query, headers, b"")

        async def run() -> Answer:
            return await self.routes[name].handler(call)

        return asyncio.run(run())


@pytest.fixture
def blocks(tmp_path: Path) -> FilesystemBlocks:
    store = FilesystemBlocks(tmp_path / "blocks")
    store.put_all(ONE, every(SEALED))
    return store


def test_what_is_here_is_read_here(tmp_path: Path, blocks: FilesystemBlocks) -> None:
    worker, cid = Worker(tmp_path), SEALED.descriptor_cid
    assert worker.ask("blocks.get", cid).body == SEALED.descriptor
    assert worker.ask("ipfs.get", cid).body == SEALED.descriptor
    assert worker.ask("blocks.has", cid).headers["content-length"] == str(len(SEALED.descriptor))
    assert worker.ask("ipfs.head", cid).headers["etag"] == f'"{cid.encode()}.raw"'
    assert worker.asked == []
    blocks.put(ONE, codec.cid_of_raw(b"later"), b"later")
    assert worker.ask("blocks.get", codec.cid_of_raw(b"later")).body == b"later"


@pytest.mark.promise("P6")
def test_what_is_damaged_or_missing_is_asked_for_where_it_is_looked_after(
    tmp_path: Path, blocks: FilesystemBlocks
) -> None:
    worker, cid = Worker(tmp_path), SEALED.descriptor_cid
    blocks._path(cid.encode()).write_bytes(b"damaged")
    for name in sorted(READ_HERE):
        assert worker.ask(name, cid).body == b"from the ledger process"
    assert worker.ask("blocks.get", codec.cid_of_raw(b"missing")).body == b"from the ledger process"
    assert worker.asked == [*sorted(READ_HERE), "blocks.get"]


@pytest.mark.promise("P2")
def test_a_worker_refuses_whom_the_ledger_process_would(tmp_path: Path, blocks: FilesystemBlocks) -> None:
    del blocks
    worker, cid = Worker(tmp_path), SEALED.descriptor_cid
    for name in sorted(READ_HERE):
        with pytest.raises(CareMeshError, match=r"api\.05"):
            worker.ask(name, cid, ANYONE)
    link = BlockLink(member=ME, stream=ONE, action="get", cids=[cid], until=NOW + 60)
    text = wire.text_of(links.make(link, KEY))
    assert worker.ask("blocks.get", cid, ANYONE, authorization=f"Bearer {text}").body == SEALED.descriptor
    forged = wire.text_of(links.make(link, SigningKey.generate()))
    with pytest.raises(CareMeshError, match=r"blobs\.10"):
        worker.ask("blocks.get", cid, ANYONE, authorization=f"Bearer {forged}")
    assert worker.asked == []


def test_everything_else_is_passed_on_and_nothing_is_made(tmp_path: Path) -> None:
    worker: Any = Worker(tmp_path)
    for name in ("blocks.put", "ledger.status"):
        assert worker.ask(name, SEALED.descriptor_cid).body == b"from the ledger process"
    assert worker.ask("blocks.get", SEALED.descriptor_cid).body == b"from the ledger process"
    assert list(tmp_path.iterdir()) == []
