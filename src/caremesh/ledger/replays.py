"""Which transactions were in a block and could still be in another: none of them may be twice.

Ids are kept in the authenticated state, grouped by the minute in which they can no longer be in a block and by
the block that held them: one key for such a group, its value the ids' digests in order. A replica made from a
snapshot so knows what all others know. In memory they are one set, rebuilt from the state at start.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from caremesh.errors import ErrorCode
from caremesh.ledger.state import Reader, View
from caremesh.types import Height, Seconds

PREFIX: Final = b"ledger/ids/"
REPLAYED = ErrorCode("ledger.09", "This transaction is in a block already.", "Nothing: it was counted once.")
_MINUTE_S: Final = 60
_DIGEST: Final = 32


def digest_of(tx_id: bytes) -> bytes:
    """The digest in a CID (its last 32 bytes), which is all of it that varies."""
    return tx_id[-_DIGEST:]


class Replays:
    """The ids that the state holds, for looking them up."""

    def __init__(self) -> None:
        self._groups: Final[dict[bytes, frozenset[bytes]]] = {}
        self._ids: Final[set[bytes]] = set()

    def load(self, keys: Iterable[bytes], reader: Reader) -> None:
        """Take in the groups under these state keys."""
        for key in keys:
            value = reader.get(key) or b""
            self._add(key, frozenset(value[at : at + _DIGEST] for at in range(0, len(value), _DIGEST)))

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._ids

    def stage(self, view: View, seen: dict[bytes, Seconds], height: Height, time: Seconds) -> Staged:
        """Put new ids (digest → expiry) into the view, and take out groups that no block can hold any more."""
        gone = sorted(key for key in self._groups if _last_second(key) < time)
        for key in gone:
            view.delete(key)
        groups: dict[bytes, list[bytes]] = {}
        for digest in sorted(seen):
            minute = -(-seen[digest] // _MINUTE_S)
            groups.setdefault(PREFIX + minute.to_bytes(8, "big") + height.to_bytes(8, "big"), []).append(digest)
        for key in sorted(groups):
            view.put(key, b"".join(groups[key]))
        return Staged(gone, {key: frozenset(ids) for key, ids in groups.items()})

    def apply(self, staged: Staged) -> None:
        """Do in memory what was staged, now that it is committed."""
        for key in staged.gone:
            self._ids.difference_update(self._groups.pop(key))
        for key, ids in staged.new.items():
            self._add(key, ids)

    def _add(self, key: bytes, ids: frozenset[bytes]) -> None:
        self._groups[key] = ids
        self._ids.update(ids)


class Staged:
    """What a block does to the ids: groups that go, groups that come."""

    def __init__(self, gone: list[bytes], new: dict[bytes, frozenset[bytes]]) -> None:
        self.gone: Final = gone
        self.new: Final = new


def _last_second(key: bytes) -> Seconds:
    """The last second of block time at which an id of this group could be in a block."""
    return int.from_bytes(key[len(PREFIX) : len(PREFIX) + 8], "big") * _MINUTE_S
