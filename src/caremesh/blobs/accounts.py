"""Who brought which block for which stream, how large it is and since when: for quotas, and for what nobody registers.

    row/<stream><cid>   an Account
    new/<stream><cid>   the same block while the ledger has not been seen to name it
    used/<did>          how many bytes a member has brought

A row is written before its block and goes after it: a crash in between counts too much, never too little, and what has
a row is found by collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import lmdb
from msgspec import Struct

from caremesh import codec
from caremesh.blobs.durable import STORAGE_FAILED
from caremesh.blobs.errors import OVER_QUOTA
from caremesh.blobs.pages import check_pages
from caremesh.codec import CID
from caremesh.errors import Refused, StorageFailed
from caremesh.types import Count, Did, Seconds, StreamId

_ROW: Final = b"row/"
_NEW: Final = b"new/"
_USED: Final = b"used/"
_STREAM_BYTES: Final = 32
_MAP_SIZE_BYTES: Final = 1 << 34

Place = tuple[StreamId, CID]


class Account(Struct, frozen=True):
    """One block of one stream. ``since``: when it was last brought, in seconds."""

    member: str
    """Who brought it first: a member's DID, or ``holding.wallets``."""
    size_bytes: Count
    since: Seconds


class Bringing(NamedTuple):
    """What one member brings at one time, in bytes by place, and how much it may have here in all."""

    member: Did
    sizes: Mapping[Place, Count]
    quota_bytes: Count


class Accounts:
    """The table of one block store. One process writes; any number of threads may use it."""

    def __init__(self, folder: Path) -> None:
        """Open or create. Raises StorageFailed storage.01, Tampered storage.03."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            check_pages(folder)
            self._env = lmdb.open(str(folder), map_size=_MAP_SIZE_BYTES, metasync=False)
        except (OSError, lmdb.Error) as error:
            raise StorageFailed(STORAGE_FAILED, folder.name) from error

    def close(self) -> None:
        """Let go of the files."""
        self._env.close()

    def enter(self, member: Did, sizes: Mapping[Place, Count], now: Seconds, quota_bytes: Count) -> list[Place]:
        """As ``enter_all`` for one. Raises Refused blobs.05 with nothing noted; StorageFailed."""
        [entered] = self.enter_all([Bringing(member, sizes, quota_bytes)], now)
        if isinstance(entered, Refused):
            raise entered
        return entered

    def enter_all(self, brought: Sequence[Bringing], now: Seconds) -> list[list[Place] | Refused]:
        """Note what is brought, in one durable step; for each those places that are new, or why it is not noted.

        What is there already costs nothing and counts from now again. Refused blobs.05: it would be more than the
        quota. Raises StorageFailed; then nothing is noted.
        """
        with self._writing() as txn:
            return [_enter(txn, each, now) for each in brought]

    def leave(self, places: list[Place]) -> None:
        """Forget these; one that is not there is no error. Raises StorageFailed."""
        with self._writing() as txn:
            for place in places:
                key = _key(place)
                stored = txn.pop(_ROW + key)
                txn.delete(_NEW + key)
                if stored is not None:
                    account = codec.decode_as(bytes(stored), Account)
                    name = _USED + account.member.encode()
                    txn.put(name, codec.encode(_number(txn.get(name)) - account.size_bytes))

    def settle(self, places: list[Place]) -> None:
        """The ledger names these: they are no longer looked at by collection. Raises StorageFailed."""
        with self._writing() as txn:
            for place in places:
                txn.delete(_NEW + _key(place))

    def of(self, place: Place) -> Account | None:
        """The account of a block, or None. Raises StorageFailed."""
        with self._reading() as txn:
            stored = txn.get(_ROW + _key(place))
            return None if stored is None else codec.decode_as(bytes(stored), Account)

    def used_bytes(self, member: Did) -> Count:
        """How much a member has brought. Raises StorageFailed."""
        with self._reading() as txn:
            return _number(txn.get(_USED + member.encode()))

    def unsettled(self, until: Seconds) -> dict[StreamId, list[CID]]:
        """What was last brought at ``until`` or before and was not seen on the ledger, by stream."""
        found: dict[StreamId, list[CID]] = {}
        with self._reading() as txn:
            for key in _keys(txn, _NEW):
                stored = txn.get(_ROW + key)
                if stored is not None and codec.decode_as(bytes(stored), Account).since <= until:
                    found.setdefault(key[:_STREAM_BYTES], []).append(CID(key[_STREAM_BYTES:]))
        return found

    def _writing(self) -> _Transaction:
        return _Transaction(self._env, write=True)

    def _reading(self) -> _Transaction:
        return _Transaction(self._env, write=False)


class _Transaction:
    """A transaction of LMDB whose errors are ours."""

    def __init__(self, env: lmdb.Environment, *, write: bool) -> None:
        self._env = env
        self._write = write

    def __enter__(self) -> lmdb.Transaction:
        try:
            self._txn = self._env.begin(write=self._write)
        except lmdb.Error as error:
            raise StorageFailed(STORAGE_FAILED, "accounts") from error
        return self._txn

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None:
            self._txn.abort()
            if isinstance(error, lmdb.Error):
                raise StorageFailed(STORAGE_FAILED, "accounts") from error
            return
        try:
            self._txn.commit()
        except lmdb.Error as failed:
            raise StorageFailed(STORAGE_FAILED, "accounts") from failed


def _enter(txn: lmdb.Transaction, brought: Bringing, now: Seconds) -> list[Place] | Refused:
    """Writes nothing when it is refused."""
    rows: dict[Place, Account] = {}
    added: list[Place] = []
    used = _number(txn.get(_USED + brought.member.encode()))
    for place, size in brought.sizes.items():
        stored = txn.get(_ROW + _key(place))
        if stored is None:
            added.append(place)
            used += size
            rows[place] = Account(brought.member, size, now)
        else:
            known = codec.decode_as(bytes(stored), Account)
            rows[place] = Account(known.member, known.size_bytes, now)
    if added and used > brought.quota_bytes:
        return Refused(OVER_QUOTA, f"{used} of {brought.quota_bytes} bytes")
    for place in added:
        txn.put(_NEW + _key(place), b"")
    for place, account in rows.items():
        txn.put(_ROW + _key(place), codec.encode(account))
    txn.put(_USED + brought.member.encode(), codec.encode(used))
    return added


def _keys(txn: lmdb.Transaction, prefix: bytes) -> Iterator[bytes]:
    with txn.cursor() as cursor:
        if cursor.set_range(prefix):
            for key in cursor.iternext(values=False):
                if not bytes(key).startswith(prefix):
                    return
                yield bytes(key)[len(prefix) :]


def _key(place: Place) -> bytes:
    stream, cid = place
    return stream + bytes(cid)


def _number(data: bytes | memoryview | None) -> Count:
    return 0 if data is None else codec.decode_as(bytes(data), int)
