"""State as contracts see it: bytes under keys, typed tables, counted arrays, and an overlay that can be rolled back.

Keys: ``prefix ‖ (length as 2 bytes ‖ part) …``. A prefix is text that ends in ``/``, so no key of one
table is a key of another. Values are canonical DAG-CBOR.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from caremesh import codec
from caremesh.errors import BadInput, ErrorCode

T = TypeVar("T")

MAX_KEY_BYTES: Final = 65_535
MAX_REMEMBERED: Final = 8_192
"""Decoded values that stay in memory: members, keys, parameters and busy streams are read by nearly everything."""

BAD_KEY = ErrorCode("state.01", "A state key has 1 to 65,535 bytes.")
BAD_PREFIX = ErrorCode("state.02", "The prefix of a table is lower-case text that ends in a slash.")
PAST_END = ErrorCode("state.03", "A counted array holds no such element.")


_UNREAD: Final = object()
"""What no key holds."""


class Reader(Protocol):
    """State that can be read."""

    def get(self, key: bytes, /) -> bytes | None:
        """The value under ``key``, or None when there is none."""


class View:
    """Changes on top of a reader. Nothing below is touched; whoever made the view decides what becomes of it."""

    def __init__(self, base: Reader) -> None:
        self._base: Final = base
        self._read: Final[dict[bytes, Any]] = {}
        self._changes: Final[dict[bytes, Any]] = {}
        self._journal: Final[list[tuple[bytes, bool, bytes | None]]] = []

    def get(self, key: bytes) -> bytes | None:
        """The value under ``key`` with all changes so far, or None."""
        value: bytes | None = self._changes.get(key, _UNREAD)
        if value is _UNREAD:
            value = self._read.get(key, _UNREAD)
            if value is _UNREAD:
                value = self._read[key] = self._base.get(key)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Set ``key`` (1 to 65,535 bytes). Raises BadInput state.01."""
        if not 0 < len(key) <= MAX_KEY_BYTES:
            raise BadInput(BAD_KEY)
        self._set(key, value)

    def delete(self, key: bytes) -> None:
        """Remove ``key``; nothing happens when it is not there."""
        self._set(key, None)

    def checkpoint(self) -> int:
        """A mark to roll back to."""
        return len(self._journal)

    def rollback(self, mark: int) -> None:
        """Undo every change since ``mark``, and forget later marks."""
        while len(self._journal) > mark:
            key, had, value = self._journal.pop()
            if had:
                self._changes[key] = value
            else:
                del self._changes[key]

    def changes(self) -> list[tuple[bytes, bytes | None, bytes | None]]:
        """(key, value before, value now) of all that really differs from the reader below, in order of keys."""
        rows = ((key, self._below(key), self._changes[key]) for key in sorted(self._changes))
        return [row for row in rows if row[1] != row[2]]

    def _below(self, key: bytes) -> bytes | None:
        value: bytes | None = self._read.get(key, _UNREAD)
        if value is _UNREAD:
            value = self._read[key] = self._base.get(key)
        return value

    def _set(self, key: bytes, value: bytes | None) -> None:
        self._journal.append((key, key in self._changes, self._changes.get(key)))
        self._changes[key] = value


def _decoded(data: bytes, kind: Any) -> Any:
    try:
        return msgspec.convert(codec.decode(data), kind, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise BadInput(codec.WRONG_SHAPE) from error


_typed: Final[Callable[[bytes, Any], Any]] = lru_cache(maxsize=MAX_REMEMBERED)(_decoded)
"""A memo of a pure function: it changes how long an answer takes, never the answer."""


class Table(Generic[T]):
    """Values of one type under a prefix: ``Table(b"members/member/", Member)``."""

    def __init__(self, prefix: bytes, kind: type[T]) -> None:
        """Raises BadInput state.02 for a prefix that is not lower-case text ending in a slash."""
        if not prefix.endswith(b"/") or not all(0x21 <= byte <= 0x7A and not 0x41 <= byte <= 0x5A for byte in prefix):
            raise BadInput(BAD_PREFIX)
        self.prefix: Final = prefix
        self.kind: Final = kind

    def key(self, *parts: bytes) -> bytes:
        """The state key of these parts (each at most 65,535 bytes)."""
        key = self.prefix
        for part in parts:
            key += len(part).to_bytes(2, "big") + part
        return key

    def get(self, reader: Reader, *parts: bytes) -> T | None:
        """The value under these parts, or None."""
        key = self.prefix
        for part in parts:  # as ``key``, which is asked most of all
            key += len(part).to_bytes(2, "big") + part
        data = reader.get(key)
        return None if data is None else _typed(data, self.kind)

    def put(self, view: View, value: T, *parts: bytes) -> None:
        """Set the value under these parts."""
        view.put(self.key(*parts), codec.encode(value))

    def delete(self, view: View, *parts: bytes) -> None:
        """Remove the value under these parts."""
        view.delete(self.key(*parts))


class CountedList(Generic[T]):
    """An array per owner whose completeness can be proven by point proofs.

    ``…/first`` is the index of the oldest element still there (absent: 0), ``…/count`` how many were ever
    appended (absent: 0), ``…/<index as 8 bytes>`` an element: the list is exactly first … count - 1.
    """

    def __init__(self, prefix: bytes, kind: type[T]) -> None:
        self._table: Final[Table[Any]] = Table(prefix, kind)

    def first_key(self, *owner: bytes) -> bytes:
        """The state key of the first index."""
        return self._table.key(*owner) + b"/first"

    def count_key(self, *owner: bytes) -> bytes:
        """The state key of the count."""
        return self._table.key(*owner) + b"/count"

    def key(self, index: int, *owner: bytes) -> bytes:
        """The state key of an element."""
        return self._table.key(*owner) + b"/" + index.to_bytes(8, "big")

    def bounds(self, reader: Reader, *owner: bytes) -> tuple[int, int]:
        """(first, count): indices first … count - 1 are there."""
        base = self._table.key(*owner)
        return _number(reader, base + b"/first"), _number(reader, base + b"/count")

    def append(self, view: View, item: T, *owner: bytes) -> int:
        """Add an element at the end; its index."""
        base = self._table.key(*owner)
        index = _number(view, base + b"/count")
        view.put(base + b"/" + index.to_bytes(8, "big"), codec.encode(item))
        view.put(base + b"/count", codec.encode(index + 1))
        return index

    def get(self, reader: Reader, index: int, *owner: bytes) -> T | None:
        """The element with this index, or None when it is not there (any more)."""
        if index < 0:
            return None
        data = reader.get(self.key(index, *owner))
        return None if data is None else self._read(data)

    def put(self, view: View, index: int, item: T, *owner: bytes) -> None:
        """Replace an element. Raises BadInput state.03 when it is not there."""
        first, count = self.bounds(view, *owner)
        if not first <= index < count:
            raise BadInput(PAST_END, str(index))
        view.put(self.key(index, *owner), codec.encode(item))

    def items(self, reader: Reader, *owner: bytes) -> list[T]:
        """All elements, oldest first. Raises BadInput state.03 when one within the bounds is missing."""
        first, count = self.bounds(reader, *owner)
        found = []
        for index in range(first, count):
            data = reader.get(self.key(index, *owner))
            if data is None:
                raise BadInput(PAST_END, str(index))
            found.append(self._read(data))
        return found

    def drop_first(self, view: View, *owner: bytes) -> None:
        """Remove the oldest element. Raises BadInput state.03 when there is none."""
        first, count = self.bounds(view, *owner)
        if first >= count:
            raise BadInput(PAST_END, str(first))
        view.delete(self.key(first, *owner))
        view.put(self.first_key(*owner), codec.encode(first + 1))

    def _read(self, data: bytes) -> T:
        value: T = read_value(data, self._table.kind)
        return value


def read_value(data: bytes, kind: type[T]) -> T:
    """A typed value out of state, which the ledger itself wrote. Raises BadInput codec.01 to codec.03.

    The same bytes give the same object as long as it is remembered: nothing may change what it holds.
    """
    value: T = _typed(data, kind)
    return value


def _number(reader: Reader, key: bytes) -> int:
    data = reader.get(key)
    return 0 if data is None else read_value(data, int)
