"""How contracts see the state: keys and values, tables of records, and lists whose completeness can be proven.

Keys are bytes: a contract's prefix and fixed-size parts, so that no two tables overlap.
"""

from __future__ import annotations

from typing import Final, Generic, Protocol, TypeVar

from caremesh import codec
from caremesh.types import Count

T = TypeVar("T")

_INDEX_BYTES: Final = 8


class Reader(Protocol):
    """State at one height."""

    def get(self, key: bytes, /) -> bytes | None:
        """The value, or None when the key is absent."""
        ...


class View:
    """Changes on top of a reader. Nothing reaches the reader below until ``changes`` is taken."""

    def __init__(self, below: Reader) -> None:
        self._below = below
        self.changes: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """The value as changed here, or that below."""
        if key in self.changes:
            return self.changes[key]
        return self._below.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Set a value."""
        self.changes[key] = value

    def delete(self, key: bytes) -> None:
        """Make a key absent."""
        self.changes[key] = None


class Table(Generic[T]):
    """Records of one type under one prefix. ``key`` parts have fixed sizes for each table."""

    def __init__(self, prefix: bytes, kind: type[T]) -> None:
        self.prefix = prefix
        self._kind = kind

    def key(self, *parts: bytes) -> bytes:
        """The state key of a record: what a proof is asked for."""
        return self.prefix + b"".join(parts)

    def get(self, reader: Reader, *parts: bytes) -> T | None:
        """The record, or None."""
        stored = reader.get(self.key(*parts))
        return None if stored is None else codec.decode_as(stored, self._kind)

    def put(self, view: View, record: T, *parts: bytes) -> None:
        """Write the record."""
        view.put(self.key(*parts), codec.encode(record))

    def delete(self, view: View, *parts: bytes) -> None:
        """Remove the record."""
        view.delete(self.key(*parts))


class CountedList(Generic[T]):
    """A list per owner, stored as ``…/first``, ``…/count`` and ``…/i``.

    Proofs of ``first``, ``count`` and of each item in between prove the whole list; what has aged out goes at the
    front. ``count`` is the index that the next item gets: it never falls.
    """

    def __init__(self, prefix: bytes, kind: type[T]) -> None:
        self.prefix = prefix
        self._kind = kind

    def key(self, owner: bytes, index: Count) -> bytes:
        """The state key of an item."""
        return self.prefix + owner + b"/i" + index.to_bytes(_INDEX_BYTES)

    def bound_keys(self, owner: bytes) -> tuple[bytes, bytes]:
        """The state keys of ``first`` and ``count``."""
        return self.prefix + owner + b"/first", self.prefix + owner + b"/count"

    def bounds(self, reader: Reader, owner: bytes) -> tuple[Count, Count]:
        """(first, count): items first … count − 1 are there."""
        first, count = (reader.get(key) for key in self.bound_keys(owner))
        return _number(first), _number(count)

    def append(self, view: View, item: T, owner: bytes) -> Count:
        """Add an item and return its index."""
        _, count = self.bounds(view, owner)
        view.put(self.key(owner, count), codec.encode(item))
        view.put(self.bound_keys(owner)[1], (count + 1).to_bytes(_INDEX_BYTES))
        return count

    def get(self, reader: Reader, index: Count, owner: bytes) -> T | None:
        """One item, or None when there is none of that index."""
        stored = reader.get(self.key(owner, index))
        return None if stored is None else codec.decode_as(stored, self._kind)

    def put(self, view: View, item: T, index: Count, owner: bytes) -> None:
        """Replace an item that is there."""
        view.put(self.key(owner, index), codec.encode(item))

    def items(self, reader: Reader, owner: bytes) -> list[T]:
        """All items, oldest first."""
        first, count = self.bounds(reader, owner)
        found = [self.get(reader, index, owner) for index in range(first, count)]
        return [item for item in found if item is not None]

    def drop_first(self, view: View, owner: bytes) -> None:
        """Let the oldest item go."""
        first, count = self.bounds(view, owner)
        if first < count:
            view.delete(self.key(owner, first))
            view.put(self.bound_keys(owner)[0], (first + 1).to_bytes(_INDEX_BYTES))


def _number(stored: bytes | None) -> Count:
    return 0 if stored is None else int.from_bytes(stored)
