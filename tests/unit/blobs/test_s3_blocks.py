"""What is particular to blocks in an object store: crashes, failures, and who else is in the bucket."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.blobs.s3 import S3Blocks, S3Settings
from caremesh.errors import StorageFailed
from tests.support.s3_server import S3Server, running

# The server is built by whichever test asks first: a minute and a half, once for each machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ONE, TWO = bytes([1]) * 32, bytes([2]) * 32
DATA = b"ciphertext"
NAME = codec.cid_of_raw(DATA)
BLOCKS = {codec.cid_of_raw(bytes([i])): bytes([i]) for i in range(20)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running(tmp_path_factory.mktemp("s3") / "served") as found:
        yield found


@pytest.fixture
def settings(server: S3Server) -> S3Settings:
    return replace(server.settings, prefix=f"test-{secrets.token_hex(8)}")


def objects(server: S3Server, settings: S3Settings) -> list[str]:
    folder = server.folder / settings.bucket / settings.prefix
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_another_opening_finds_everything(settings: S3Settings) -> None:
    S3Blocks(settings).put_many({ONE: BLOCKS, TWO: {NAME: DATA}})
    again = S3Blocks(settings)
    assert {cid: again.get(cid) for cid in BLOCKS} == BLOCKS
    assert again.streams_of(NAME) == [TWO]
    assert len(again.names(None, 100)) == len(BLOCKS) + 1


def test_prefixes_are_apart(settings: S3Settings) -> None:
    S3Blocks(settings).put(ONE, NAME, DATA)
    other = S3Blocks(replace(settings, prefix=f"{settings.prefix}-other"))
    assert (other.has(NAME), other.names(None, 9)) == (False, [])


def test_a_block_that_nobody_holds_goes_at_the_next_opening(server: S3Server, settings: S3Settings) -> None:
    store = S3Blocks(settings)
    store.put(ONE, NAME, DATA)
    obstore.put(store._store, f"blocks/{codec.cid_of_raw(b'left').encode()}", b"left")
    S3Blocks(settings)
    assert objects(server, settings) == [f"blocks/{NAME.encode()}", f"held/{NAME.encode()}/{ONE.hex()}"]


@pytest.mark.promise("P5")
def test_what_fails_halfway_is_not_acknowledged_and_taken_back(
    server: S3Server, settings: S3Settings, monkeypatch: pytest.MonkeyPatch, evidence: Any
) -> None:
    store = S3Blocks(settings)
    store.put(ONE, NAME, DATA)
    before, real = objects(server, settings), obstore.put
    for failing in range(2 * len(BLOCKS)):
        left = [failing]

        def put(*args: Any, left: list[int] = left, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise obstore.exceptions.GenericError("full")
            return real(*args, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr(obstore, "put", put)
            with pytest.raises(StorageFailed, match=r"blobs\.04"):
                store.put_many({ONE: BLOCKS, TWO: {NAME: DATA}})
        assert objects(server, settings) == before
    evidence.fault("object store refuses a write", 2 * len(BLOCKS))
    store.put_many({ONE: BLOCKS, TWO: {NAME: DATA}})
    assert len(store.names(None, 100)) == len(BLOCKS) + 1


def test_a_failed_call_leaves_a_damaged_block_to_be_made_good(
    server: S3Server, settings: S3Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = S3Blocks(settings)
    store.put(ONE, NAME, DATA)
    path = server.folder / settings.bucket / settings.prefix / "blocks" / NAME.encode()
    path.write_bytes(b"damaged")
    real = obstore.put

    def put(held: Any, path: str, *args: Any, **more: Any) -> Any:
        if path.startswith("held/"):
            raise obstore.exceptions.GenericError("full")
        return real(held, path, *args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(obstore, "put", put)
        with pytest.raises(StorageFailed):
            store.put(TWO, NAME, DATA)
    assert (store.get(NAME), store.streams_of(NAME)) == (DATA, [ONE])


def test_a_block_is_there_before_it_is_held_and_goes_after(
    settings: S3Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, done = S3Blocks(settings), list[str]()
    put, delete = obstore.put, obstore.delete
    monkeypatch.setattr(obstore, "put", lambda *args, **more: (done.append(args[1]), put(*args, **more))[1])
    monkeypatch.setattr(obstore, "delete", lambda *args: (done.append(f"not {args[1]}"), delete(*args))[1])
    store.put(ONE, NAME, DATA)
    store.delete(ONE, NAME)
    block, mark = f"blocks/{NAME.encode()}", f"held/{NAME.encode()}/{ONE.hex()}"
    assert done == [block, mark, f"not {mark}", f"not {block}"]


def test_a_service_that_is_not_there_is_named(settings: S3Settings, tmp_path: Path) -> None:
    with running(tmp_path / "served") as server:
        store = S3Blocks(replace(server.settings, timeout_s=1.0))
        store.put(ONE, NAME, DATA)
    for call in (
        lambda: store.get(NAME),
        lambda: store.has(NAME),
        lambda: store.put(ONE, codec.cid_of_raw(b"x"), b"x"),
        lambda: store.delete(ONE, NAME),
        lambda: store.streams_of(NAME),
        lambda: store.names(None, 1),
        lambda: S3Blocks(replace(server.settings, timeout_s=1.0)),
    ):
        with pytest.raises(StorageFailed, match=r"blobs\.04") as caught:
            call()
        assert settings.secret_key not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"secret_key": "another secret"}, {"access_key": "nobody"}, {"bucket": "none"}])
def test_a_wrong_key_or_bucket_is_refused(settings: S3Settings, wrong: dict[str, str]) -> None:
    with pytest.raises(StorageFailed, match=r"blobs\.04"):
        S3Blocks(replace(settings, **wrong)).put(ONE, NAME, DATA)


def test_no_secret_goes_to_another_machine_in_the_clear(settings: S3Settings) -> None:
    with pytest.raises(StorageFailed, match=r"blobs\.04") as caught:
        S3Blocks(replace(settings, endpoint="http://192.0.2.1:9000"))
    assert "BadScheme" in str(caught.value.__cause__)
