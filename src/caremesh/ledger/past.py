"""State as it was: the head, and what the blocks since then have changed, undone.

An undo record is the DAG-CBOR of [buckets, keys]: ``buckets`` holds 34 bytes for each bucket that the block
touched (its number, and its root before), ``keys`` each key that it changed followed by its value before.
"""

from __future__ import annotations

from typing import Final

from caremesh import codec
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput
from caremesh.ledger.store import NOT_KEPT, Head, Read, Store
from caremesh.ledger.trie import bucket_of
from caremesh.types import Digest, Height

_ROW: Final = 34


def undo_record(changes: list[tuple[bytes, bytes | None, bytes | None]], roots: dict[int, Digest]) -> bytes:
    """What undoes a block: ``changes`` as (key, value before, value now), ``roots`` of its buckets before it."""
    buckets = b"".join(number.to_bytes(2, "big") + roots[number] for number in sorted(roots))
    keys: list[bytes | None] = []
    for key, before, _ in changes:
        keys += (key, before)
    return codec.encode([buckets, keys])


class Past:
    """What differs between the state at ``height`` and the head; it grows as the head moves on."""

    def __init__(self, height: Height) -> None:
        self.height: Final = height
        self.upto = height
        """The height that ``values`` and ``roots`` lead back from."""
        self.values: Final[dict[bytes, bytes | None]] = {}
        self.roots: Final[dict[int, Digest]] = {}

    def extend(self, read: Read, head: Head) -> None:
        """Take in the blocks up to the head. Raises BadInput ledger.11 when one is no longer kept."""
        if self.height > head.height:
            raise BadInput(NOT_KEPT, f"height {self.height}")
        for newer in range(self.upto + 1, head.height + 1):
            stored = read.undo(newer)
            if stored is None:
                raise BadInput(NOT_KEPT, f"height {self.height}")
            buckets, keys = codec.decode(stored)
            # What the oldest block since then found is what was there.
            for at in range(0, len(buckets), _ROW):
                number = int.from_bytes(buckets[at : at + 2], "big")
                self.roots.setdefault(number, buckets[at + 2 : at + _ROW])
            for key, before in zip(keys[::2], keys[1::2], strict=True):
                self.values.setdefault(key, before)
            self.upto = newer

    def in_bucket(self, number: int) -> list[tuple[Digest, bytes | None]]:
        """(SHA-256 of the key, value then) of the changed keys of a bucket."""
        if number not in self.roots:
            return []
        rows = ((sha256(key), value) for key, value in self.values.items())
        return sorted((digest, value) for digest, value in rows if bucket_of(digest) == number)


class StateAt:
    """A reader of the state at one height, however far the head has moved on (as long as undo records are kept)."""

    def __init__(self, store: Store, height: Height | None = None) -> None:
        """``height``: None for the head of now. Raises BadInput ledger.11."""
        self._store: Final = store
        with store.read() as read:
            head = head_of(read)
            self._past: Final = Past(head.height if height is None else height)
            self._past.extend(read, head)

    @property
    def height(self) -> Height:
        """The height whose state this is."""
        return self._past.height

    def get(self, key: bytes) -> bytes | None:
        """The value at this height. Raises BadInput ledger.11 once it is no longer kept, Tampered ledger.32."""
        with self._store.read() as read:
            head = head_of(read)
            if head.height != self._past.upto:
                self._past.extend(read, head)
            values = self._past.values
            return values[key] if key in values else read.get(key)


def head_of(read: Read) -> Head:
    """The last commit. Raises BadInput ledger.11 before genesis."""
    head = read.head()
    if head is None:
        raise BadInput(NOT_KEPT, "before genesis")
    return head
