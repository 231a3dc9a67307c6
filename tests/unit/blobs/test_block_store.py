"""What every block store promises; one suite against all adapters."""

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from caremesh import codec
from caremesh.blobs.filesystem import FilesystemBlocks
from caremesh.blobs.interface import BlockStore
from caremesh.blobs.memory import MemoryBlocks
from caremesh.codec import CID
from caremesh.errors import Tampered, Unavailable

ONE, TWO = bytes([1]) * 32, bytes([2]) * 32
DATA = b"ciphertext"
NAME = codec.cid_of_raw(DATA)


@pytest.fixture(params=["memory", "filesystem"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlockStore:
    makers: dict[str, Callable[[], BlockStore]] = {
        "memory": MemoryBlocks,
        "filesystem": lambda: FilesystemBlocks(tmp_path / "blocks"),
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
