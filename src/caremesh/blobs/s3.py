"""Blocks in an object store that speaks S3 (or any other that ``obstore`` knows).

    <prefix>/blocks/<cid>               a block
    <prefix>/held/<cid>/<stream hex>    an empty object: that stream holds the block

A block is put first and marked as held second; deleting goes the other way. What a crash leaves in between, a block
that nobody holds, goes when the store is opened again. One process writes below one prefix: S3 has no locks, and
between looking for the last holder and deleting the block nobody else may mark it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import obstore
from msgspec import Struct
from obstore.exceptions import BaseError
from obstore.store import S3Store

from caremesh.blobs.interface import NO_SERVICE, NOT_HELD, CheckedBlocks, check_block
from caremesh.codec import CID, parse_cid
from caremesh.errors import CareMeshError, StorageFailed, Unavailable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")
R = TypeVar("R")

_AT_ONCE: Final = 8
"""Requests under way of one call."""
_PAGE: Final = 1_000
"""What S3 lists at once, at most."""


class S3Settings(Struct, frozen=True, kw_only=True):
    """Where the blocks are, and as who this node goes there."""

    endpoint: str
    """The service, as ``https://host:port``. Plain ``http`` is refused, but for addresses of this machine."""
    bucket: str
    """It has to be there already."""
    access_key: str
    secret_key: str
    prefix: str = "caremesh"
    """What all names begin with, so that others may use the bucket too."""
    region: str = "us-east-1"
    timeout_s: float = 10.0
    """For one request, and again for all tries of it."""


class S3Blocks:
    """A ``BlockStore`` in a bucket. Any number of threads may use it; one process per prefix writes."""

    def __init__(self, settings: S3Settings, *, to_read: bool = False) -> None:
        """Open, and remove what a crash left behind (lists all names). Raises StorageFailed blobs.04.

        ``to_read``: nothing is listed or removed: another process writes here.
        """
        local = settings.endpoint.startswith(("http://127.0.0.1:", "http://localhost:", "http://[::1]:"))
        with _service(settings.bucket):
            self._store: ObjectStore = S3Store(
                settings.bucket,
                prefix=settings.prefix,
                endpoint=settings.endpoint,
                access_key_id=settings.access_key,
                secret_access_key=settings.secret_key,
                region=settings.region,
                virtual_hosted_style_request=False,
                client_options={"allow_http": local, "timeout": timedelta(seconds=settings.timeout_s)},
                retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=settings.timeout_s)},
            )
        self._lock = threading.Lock()
        if not to_read:
            self._clean()

    def _clean(self) -> None:
        with _service("names"):
            held = {path.split("/")[1] for path in self._list("held/")}
            nobodys = [path for path in self._list("blocks/") if path.removeprefix("blocks/") not in held]
        self._each(self._remove, nobodys)

    def put(self, stream: bytes, cid: CID, data: bytes) -> None:
        """See ``BlockStore``."""
        self.put_all(stream, {cid: data})

    def put_all(self, stream: bytes, blocks: Mapping[CID, bytes]) -> None:
        """See ``BlockStore``."""
        self.put_many({stream: blocks})

    def put_many(self, held: Mapping[bytes, Mapping[CID, bytes]]) -> None:
        """See ``BlockStore``. All blocks at once, then all marks; a block that is there is not written again."""
        every = CheckedBlocks(*held.values())
        added: list[str] = []
        with self._lock:
            try:
                self._each(lambda row: self._add(_block(row[0]), row[1], added), every.items())
                marks = [_mark(stream, cid) for stream, blocks in held.items() for cid in blocks]
                self._each(lambda path: self._add(path, b"", added), marks)
            except BaseException:
                self._take_back(added)
                raise

    def get(self, cid: CID) -> bytes:
        """See ``BlockStore``."""
        name = cid.encode()
        with _service(name):
            try:
                data = bytes(obstore.get(self._store, _block(cid)).bytes())
            except FileNotFoundError as error:
                raise Unavailable(NOT_HELD, name) from error
        check_block(cid, data)
        return data

    def has(self, cid: CID) -> bool:
        """See ``BlockStore``."""
        with _service(cid.encode()):
            return self._size(_block(cid)) is not None

    def delete(self, stream: bytes, cid: CID) -> None:
        """See ``BlockStore``."""
        with self._lock:
            self._remove(_mark(stream, cid))
            if not self.streams_of(cid):
                self._remove(_block(cid))

    def streams_of(self, cid: CID) -> list[bytes]:
        """See ``BlockStore``."""
        with _service(cid.encode()):
            return sorted(bytes.fromhex(path.rpartition("/")[2]) for path in self._list(f"held/{cid.encode()}/"))

    def names(self, after: CID | None, limit: int) -> list[CID]:
        """See ``BlockStore``. In the order of their texts."""
        found: list[str] = []
        # "~" comes after "/": no mark of ``after`` itself is listed again.
        offset = None if after is None else f"held/{after.encode()}~"
        with _service("names"):
            for path in self._list("held/", offset):
                name = path.split("/")[1]
                if found[-1:] != [name]:
                    if len(found) == limit:
                        break
                    found.append(name)
        return [parse_cid(name) for name in found]

    def _list(self, prefix: str, offset: str | None = None) -> Iterator[str]:
        for page in obstore.list(self._store, prefix.rstrip("/"), offset=offset, chunk_size=_PAGE):
            yield from (meta["path"] for meta in page)

    def _size(self, path: str) -> int | None:
        try:
            return obstore.head(self._store, path)["size"]
        except FileNotFoundError:
            return None

    def _add(self, path: str, data: bytes, added: list[str]) -> None:
        """Put an object; what is there already with as many bytes is read, and left when it is the same."""
        with _service(_name_in(path)):
            there = self._size(path)
            if there == len(data) and bytes(obstore.get(self._store, path).bytes()) == data:
                return
            if there is None:  # one that was damaged stays when the call fails: others may hold it
                added.append(path)
            obstore.put(self._store, path, data, use_multipart=False)

    def _remove(self, path: str) -> None:
        with _service(_name_in(path)), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, path)

    def _take_back(self, added: list[str]) -> None:
        """Remove what a failed call added, marks first, as far as the service lets us."""
        for path in sorted(added, reverse=True):
            with contextlib.suppress(CareMeshError):
                self._remove(path)

    def _each(self, call: Callable[[T], R], items: Iterable[T]) -> None:
        """Several at once. Raises what the first of them that failed raised, after all ended."""
        rows = list(items)
        if len(rows) == 1:
            call(rows[0])
        elif rows:
            with ThreadPoolExecutor(min(_AT_ONCE, len(rows))) as pool:
                futures = [pool.submit(call, row) for row in rows]
            for future in futures:
                future.result()


def _block(cid: CID) -> str:
    return f"blocks/{cid.encode()}"


def _mark(stream: bytes, cid: CID) -> str:
    return f"held/{cid.encode()}/{stream.hex()}"


def _name_in(path: str) -> str:
    return path.split("/")[1]


@contextlib.contextmanager
def _service(place: str) -> Iterator[None]:
    """Let the errors of the library out as ours only. ``place``: the CID, or the bucket."""
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        raise StorageFailed(NO_SERVICE, place) from error
