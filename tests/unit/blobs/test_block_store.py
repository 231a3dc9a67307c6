"""What every block store promises; one suite against all adapters."""

import itertools
import secrets
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.blobs import interface
from caremesh.blobs.filesystem import FilesystemBlocks
from caremesh.blobs.holding import HeldFor
from caremesh.blobs.interface import BlockStore, CheckedBlocks
from caremesh.blobs.memory import MemoryBlocks
from caremesh.blobs.mending import MendingBlocks, OtherHolders
from caremesh.blobs.peers import PeerBlocks
from caremesh.blobs.s3 import S3Blocks
from caremesh.client.blocking import Portal
from caremesh.client.blocks import BlocksClient, RemoteBlocks
from caremesh.codec import CID
from caremesh.errors import Tampered, Unavailable
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from tests.support.block_node import block_node
from tests.support.holders import ME, Copy, holder
from tests.support.s3_server import S3Server, running

ONE, TWO = bytes([1]) * 32, bytes([2]) * 32
DATA = b"ciphertext"
NAME = codec.cid_of_raw(DATA)


# The S3 server is built by whichever test asks first: a minute and a half, once for each machine.
S3 = pytest.param("s3", marks=(pytest.mark.slow, pytest.mark.timeout(900)))
PEERS = pytest.param("peers", marks=pytest.mark.slow)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running(tmp_path_factory.mktemp("s3") / "served") as server:
        yield server


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("peers") / "mesh", SettableClock()) as made:
        yield made


@pytest.fixture
def peers(mesh: LocalMesh, tmp_path: Path) -> Iterator[PeerBlocks]:
    """The payer's blocks as the hospital sees them: over TLS, signed."""
    with block_node(mesh, "payer", tmp_path) as served, Portal() as portal:
        node = portal.node(lambda: served.as_member("hospital"))
        made = PeerBlocks(served.home.did, lambda: RemoteBlocks(portal, BlocksClient(node)))
        made.behind = served.store  # type: ignore[attr-defined]
        yield made


@pytest.fixture(params=["memory", "filesystem", "held", "mending", S3, PEERS])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlockStore:
    makers: dict[str, Callable[[], BlockStore]] = {
        "memory": MemoryBlocks,
        "filesystem": lambda: FilesystemBlocks(tmp_path / "blocks"),
        "held": lambda: holder(tmp_path, Copy()).of(ME),
        "mending": lambda: MendingBlocks(ME, FilesystemBlocks(tmp_path / "blocks"), OtherHolders({})),
        "s3": lambda: S3Blocks(replace(request.getfixturevalue("s3").settings, prefix=f"store-{secrets.token_hex(8)}")),
        "peers": lambda: request.getfixturevalue("peers"),
    }
    return makers[request.param]()


def test_what_is_put_can_be_got(store: BlockStore) -> None:
    assert not store.has(NAME)
    store.put(ONE, NAME, DATA)
    assert store.has(NAME)
    assert store.get(NAME) == DATA
    assert store.streams_of(NAME) == [ONE]


def test_an_empty_block_and_one_of_a_mebibyte(store: BlockStore) -> None:
    for data in (b"", bytes(1024 * 1024)):
        store.put(ONE, codec.cid_of_raw(data), data)
        assert store.get(codec.cid_of_raw(data)) == data


def test_a_descriptor_is_kept_under_its_own_kind_of_name(store: BlockStore) -> None:
    descriptor = codec.encode({"a": 1})
    store.put(ONE, codec.cid_of_cbor(descriptor), descriptor)
    assert store.get(codec.cid_of_cbor(descriptor)) == descriptor
    assert not store.has(codec.cid_of_raw(descriptor))


def test_an_unknown_block_is_named(store: BlockStore) -> None:
    with pytest.raises(Unavailable, match=rf"blobs\.02.*{NAME.encode()}"):
        store.get(NAME)
    assert store.streams_of(NAME) == []


@pytest.mark.promise("P6")
def test_bytes_under_a_wrong_name_are_not_kept(store: BlockStore) -> None:
    with pytest.raises(Tampered, match=rf"blobs\.01.*{NAME.encode()}"):
        store.put(ONE, NAME, DATA + b"!")
    assert not store.has(NAME)


def test_all_blocks_or_none(store: BlockStore) -> None:
    other = codec.cid_of_raw(b"other")
    with pytest.raises(Tampered):
        store.put_all(ONE, {other: b"other", NAME: b"wrong"})
    assert not store.has(other)
    store.put_all(ONE, {other: b"other", NAME: DATA})
    assert (store.get(other), store.get(NAME)) == (b"other", DATA)
    store.put_all(ONE, {})


def test_blocks_of_several_streams_at_once_or_none(store: BlockStore) -> None:
    other = codec.cid_of_raw(b"other")
    with pytest.raises(Tampered):
        store.put_many({ONE: {other: b"other"}, TWO: {NAME: b"wrong"}})
    assert not store.has(other)
    store.put_many({ONE: {other: b"other", NAME: DATA}, TWO: {NAME: DATA}})
    assert (store.streams_of(other), store.streams_of(NAME)) == ([ONE], [ONE, TWO])
    store.put_many({})


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_what_was_checked_is_not_hashed_again(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store: BlockStore = MemoryBlocks() if kind == "memory" else FilesystemBlocks(tmp_path)
    other = codec.cid_of_raw(b"other")
    one, two = CheckedBlocks({other: b"other"}), CheckedBlocks({NAME: DATA})
    with monkeypatch.context() as patched:
        patched.setattr(interface, "check_block", lambda *_: pytest.fail("hashed again"))
        store.put_many({ONE: one, TWO: CheckedBlocks(one, two)})
    assert (store.get(other), store.get(NAME)) == (b"other", DATA)


def test_checked_blocks_are_what_their_names_say() -> None:
    good = CheckedBlocks({NAME: DATA})
    assert (dict(good), len(good)) == ({NAME: DATA}, 1)
    assert (
        dict(CheckedBlocks.by_hash(NAME, DATA, sha256(DATA).digest()))
        == dict(CheckedBlocks.by_hash(NAME, DATA, None))
        == {NAME: DATA}
    )
    for wrong in (
        lambda: CheckedBlocks(good, {NAME: b"wrong"}),
        lambda: CheckedBlocks.by_hash(NAME, b"wrong", None),
        lambda: CheckedBlocks.by_hash(NAME, b"wrong", sha256(b"wrong").digest()),
        lambda: CheckedBlocks.by_hash(NAME, b"wrong", b""),
        lambda: CheckedBlocks.by_hash(NAME, b"wrong", sha256(DATA).digest()[1:]),
    ):
        with pytest.raises(Tampered, match=r"blobs\.01"):
            wrong()
    with pytest.raises(TypeError):
        good[NAME] = b"wrong"  # type: ignore[index]


def test_a_block_goes_when_the_last_stream_lets_go(store: BlockStore) -> None:
    store.put(TWO, NAME, DATA)
    store.put(ONE, NAME, DATA)
    store.put(ONE, NAME, DATA)
    assert store.streams_of(NAME) == [ONE, TWO]
    store.delete(ONE, NAME)
    store.delete(ONE, NAME)
    assert store.get(NAME) == DATA
    assert store.streams_of(NAME) == [TWO]
    store.delete(TWO, NAME)
    assert not store.has(NAME)
    store.delete(TWO, NAME)
    with pytest.raises(Unavailable):
        store.get(NAME)


def test_who_does_not_hold_a_block_cannot_drop_it(store: BlockStore) -> None:
    store.put(ONE, NAME, DATA)
    store.delete(TWO, NAME)
    assert store.get(NAME) == DATA


def test_a_block_can_come_back(store: BlockStore) -> None:
    store.put(ONE, NAME, DATA)
    store.delete(ONE, NAME)
    store.put(TWO, NAME, DATA)
    assert store.streams_of(NAME) == [TWO]


def test_many_threads_at_once(store: BlockStore) -> None:
    blocks: dict[CID, bytes] = {codec.cid_of_raw(bytes([i])): bytes([i]) for i in range(8)}
    failures: list[BaseException] = []

    def work(stream: bytes) -> None:
        try:
            for cid, data in itertools.chain.from_iterable(itertools.repeat(list(blocks.items()), 3)):
                store.put(stream, cid, data)
                assert store.get(cid) == data
                store.delete(stream, cid)
            store.put_all(stream, blocks)
        except BaseException as error:  # noqa: BLE001 -- a thread's failure is reported by the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(bytes([i]) * 32,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for cid in blocks:
        assert store.streams_of(cid) == [bytes([i]) * 32 for i in range(4)]


def test_names_come_in_pieces_and_in_one_order(store: BlockStore) -> None:
    assert store.names(None, 10) == []
    blocks = {codec.cid_of_raw(bytes([i])): bytes([i]) for i in range(7)}
    store.put_all(ONE, blocks)
    store.put(TWO, codec.cid_of_raw(b"\0"), b"\0")
    every = store.names(None, 10)
    assert sorted(every, key=CID.encode) == sorted(blocks, key=CID.encode)
    found: list[CID] = []
    while piece := store.names(found[-1] if found else None, 3):
        assert len(piece) <= 3
        found += piece
    assert found == every
    store.delete(ONE, every[2])
    store.delete(TWO, every[2])
    assert store.names(every[2], 10) == every[3:]
    assert store.names(every[-1], 10) == []


def where(store: BlockStore, request: pytest.FixtureRequest) -> Path | dict[CID, bytes]:
    """Where the bytes of ``NAME`` lie."""
    if isinstance(store, HeldFor):
        return where(store._holder.store, request)
    if isinstance(store, MendingBlocks):
        return where(store._store, request)
    if isinstance(store, PeerBlocks):
        return where(store.behind, request)  # type: ignore[attr-defined]
    if isinstance(store, MemoryBlocks):
        return store._data
    if isinstance(store, FilesystemBlocks):
        return store._path(NAME.encode())
    assert isinstance(store, S3Blocks)
    server: S3Server = request.getfixturevalue("s3")
    prefix = str(store._store.prefix)  # type: ignore[attr-defined]
    return server.folder / server.settings.bucket / prefix / "blocks" / NAME.encode()


# Over the network damage looks like absence (the member looks at it itself); who mends tells what nobody has.
DAMAGED = {PeerBlocks: (Unavailable, r"blobs\.02"), MendingBlocks: (Unavailable, r"blobs\.09")}


@pytest.mark.promise("P6")
@pytest.mark.parametrize("damage", [b"ciphertexT", b"", b"ciphertext and more"])
def test_damage_is_named_and_made_good_by_storing_again(
    store: BlockStore, request: pytest.FixtureRequest, damage: bytes, evidence: Any
) -> None:
    store.put_many({ONE: {NAME: DATA}, TWO: {NAME: DATA}})
    place = where(store, request)
    if isinstance(place, Path):
        place.write_bytes(damage)
    else:
        place[NAME] = damage
    kind, code = DAMAGED.get(type(store), (Tampered, r"blobs\.01"))
    with pytest.raises(kind, match=rf"{code}.*{NAME.encode()}"):
        store.get(NAME)
    store.put(ONE, NAME, DATA)
    assert (store.get(NAME), store.streams_of(NAME)) == (DATA, [ONE, TWO])
    evidence.fault("block changed where it lies")


def test_a_lost_block_is_still_known_by_who_holds_it(store: BlockStore, request: pytest.FixtureRequest) -> None:
    store.put_many({ONE: {NAME: DATA}, TWO: {NAME: DATA}})
    place = where(store, request)
    if isinstance(place, Path):
        place.unlink()
    else:
        del place[NAME]
    with pytest.raises(Unavailable, match=r"blobs\.0[29]"):
        store.get(NAME)
    assert (store.has(NAME), store.names(None, 9), store.streams_of(NAME)) == (False, [NAME], [ONE, TWO])
    store.put(ONE, NAME, DATA)
    assert (store.get(NAME), store.streams_of(NAME)) == (DATA, [ONE, TWO])
