"""Who the hospitals and practitioners are that records name: asked of their member's directory, and checked.

A record says ``Practitioner?identifier=…`` or ``Organization/…`` and means an entry of the directory of the member that
wrote it. What comes back counts when that member has signed it, by the key that this member's own copy of the ledger
names, and when it is what was asked for. Entries are kept in memory for a while, and never replaced by older ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from caremesh import codec
from caremesh.contracts.members import queries as members
from caremesh.errors import BadInput, Refused, Tampered, Unavailable
from caremesh.fhir.directory import (
    MAX_WANTED,
    TOO_MUCH,
    DirectoryAnswer,
    DirectoryEntry,
    DirectoryQuery,
    fits,
    open_entry,
    wanted_by,
)
from caremesh.fhir.references import Condition
from caremesh.gateway import errors
from caremesh.ledger.state import Reader
from caremesh.types import Did, Multikey, Seconds

KEPT_S: Final[Seconds] = 3600
MAX_KEPT: Final = 10_000


class DirectoryWay(Protocol):
    """The way to another member's directory."""

    def answer(self, query: bytes) -> bytes:
        """Its ``DirectoryAnswer`` to a ``DirectoryQuery``. Raises CareMeshError."""
        ...


class Copy(Protocol):
    """This member's own copy of the ledger."""

    def reader(self) -> Reader:
        """Committed state."""
        ...


Found = tuple[Seconds, DirectoryEntry]


class Directories:
    """The directories of other members, as one member sees them. Any thread may call."""

    def __init__(self, ways: Mapping[Did, DirectoryWay], ledger: Copy, clock: Callable[[], Seconds]) -> None:
        """``ways``: to the directory of each member that can be reached."""
        self._ways = ways
        self._ledger = ledger
        self._clock = clock
        self._kept: dict[tuple[Did, Condition], Found] = {}
        self._lock: Final = threading.Lock()

    def resolve(self, member: Did, references: Iterable[str]) -> dict[str, DirectoryEntry]:
        """What the references in a member's records mean, for those that fit exactly one entry of its directory.

        Others (to records, to nothing, to several) are not in the result. Raises Unavailable gateway.16 when the
        member is unknown or cannot be reached, Tampered custody.NN, fhir.34, gateway.15 when what it answers is not
        what it signed, or not what was asked.
        """
        wanted = {reference: one for reference in references if (one := _wanted(reference)) is not None}
        missing = [one for one in dict.fromkeys(wanted.values()) if not self._is_fresh(member, one)]
        for start in range(0, len(missing), MAX_WANTED):
            self._ask(member, missing[start : start + MAX_WANTED])
        with self._lock:
            found = {reference: self._kept.get((member, one)) for reference, one in wanted.items()}
        return {reference: kept[1] for reference, kept in found.items() if kept is not None}

    def _is_fresh(self, member: Did, wanted: Condition) -> bool:
        kept = self._kept.get((member, wanted))
        return kept is not None and 0 <= self._clock() - kept[0] < KEPT_S

    def _ask(self, member: Did, wanted: list[Condition]) -> None:
        known = members.member(self._ledger.reader(), member)
        way = self._ways.get(member)
        if known is None or way is None:
            raise Unavailable(errors.NO_DIRECTORY, member)
        try:
            data = way.answer(codec.encode(DirectoryQuery(wanted=wanted)))
        except BadInput as error:  # it is of a version that does not take this
            raise Unavailable(errors.NO_DIRECTORY, member) from error
        except Refused as error:
            if error.code != TOO_MUCH.code or len(wanted) == 1:
                raise
            half = len(wanted) // 2
            self._ask(member, wanted[:half])
            self._ask(member, wanted[half:])
            return
        try:
            answer = codec.decode_as(data, DirectoryAnswer)
        except BadInput as error:
            raise Tampered(errors.WRONG_ANSWER, member) from error
        if len(answer.found) != len(wanted):
            raise Tampered(errors.WRONG_ANSWER, member)
        for one, found in zip(wanted, answer.found, strict=True):
            entries = [_checked(data, member, known.keys.node, one) for data in found]
            with self._lock:
                if len(entries) == 1:
                    self._keep(member, one, entries[0])
                else:
                    self._kept.pop((member, one), None)

    def _keep(self, member: Did, wanted: Condition, entry: DirectoryEntry) -> None:
        before = self._kept.pop((member, wanted), None)
        if before is not None and before[1].id == entry.id and before[1].recorded > entry.recorded:
            entry = before[1]
        self._kept[member, wanted] = (self._clock(), entry)
        while len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]


def _wanted(reference: str) -> Condition | None:
    """None for what is no reference to a directory, or asks in a way that no directory can answer."""
    try:
        return wanted_by(reference)
    except BadInput:
        return None


def _checked(data: bytes, member: Did, key: Multikey, wanted: Condition) -> DirectoryEntry:
    entry = open_entry(data, member, key)
    if not fits(entry, wanted):
        raise Tampered(errors.WRONG_ANSWER, member)
    return entry
