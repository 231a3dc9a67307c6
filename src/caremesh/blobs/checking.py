"""The slow check in the background: every block that is held here is read, and what should be here is looked for.

    blocks   each held block, by name: read, compared with its name, made good from others
    ledger   each segment that the ledger names and that is placed here: what is missing of it is fetched

Both go round and round, at most so many bytes a second, and after a restart from where they stood.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from caremesh import codec
from caremesh.blobs.durable import write_durably
from caremesh.blobs.interface import BlockStore
from caremesh.blobs.mending import MendingBlocks, Others
from caremesh.blobs.named import listed
from caremesh.blobs.noticed import Notice, Noticed, silently
from caremesh.blobs.placement import preferred
from caremesh.codec import CID
from caremesh.errors import BadInput, CareMeshError, StorageFailed, Tampered, Unavailable
from caremesh.types import Count, Did, StreamId

RATE_BYTES_S: Final[Count] = 4 * 2**20
_PIECE: Final = 16
_PAUSE_S: Final = 0.05
REST_S: Final = 60.0
"""Between two rounds, and after a failure of this member's own store."""
_SUSPECTS: Final = 1_024


class Row(Struct, frozen=True):
    """A segment that the ledger names. ``place``: where it stands in the catalogue."""

    place: bytes
    stream: StreamId
    descriptor: CID


class Catalogue(Protocol):
    """What the ledger names, segment by segment."""

    def rows(self, after: bytes, limit: int) -> list[Row]:
        """At most ``limit`` segments behind a place, in an order that does not change. Raises StorageFailed."""
        ...

    def stands(self, row: Row) -> bool:
        """Whether the ledger still names it."""
        ...


class Checked(Struct, frozen=True, kw_only=True):
    """What one step of the check did. ``not_repaired``: what is damaged or missing, and nobody has it whole."""

    blocks: Count = 0
    bytes_read: Count = 0
    fetched: list[CID] = []
    not_repaired: list[CID] = []
    round_ended: bool = False


class _Cursor(Struct, frozen=True):
    """Where both parts of a round stand. A round ends when both have."""

    name: CID | None = None
    place: bytes = b""
    names_ended: bool = False
    rows_ended: bool = False


class Check:
    """One member's. Step by step by whoever has the time, or ``run`` in a thread of its own."""

    def __init__(
        self,
        *,
        did: Did,
        store: BlockStore,
        others: Others,
        catalogue: Catalogue,
        holders: Callable[[], Sequence[Did]],
        replicas: Callable[[], Count],
        cursor: Path | None,
        notice: Notice = silently,
    ) -> None:
        """``store``: this member's own, with accounts (``Holder.of``); ``holders``: all members that hold blocks.

        ``cursor``: the file that says where the check stands; None for one round that is not taken up again.
        """
        self._did = did
        self._store = store
        self._others = others
        self._mending = MendingBlocks(did, store, others, notice)
        self._catalogue = catalogue
        self._holders = holders
        self._replicas = replicas
        self._file = cursor
        self._notice = notice
        self._cursor = _read(cursor)
        self._suspects: deque[CID] = deque(maxlen=_SUSPECTS)
        self._at_work = False
        self.done: Final[Counter[str]] = Counter()
        """Blocks and bytes read, rounds ended, since it was made: for metrics."""

    def suspect(self, cid: CID) -> None:
        """Look at this block next: someone was told that it is damaged here, or missing."""
        self._suspects.append(cid)

    @property
    def is_at_work(self) -> bool:
        """Whether something is being looked at, or will be at once since it is suspected."""
        return self._at_work or bool(self._suspects)

    def step(self) -> Checked:
        """Check what is suspected, then the next few blocks, then the next few segments; remember where it stands.

        Raises StorageFailed when this member's own store does not work.
        """
        self._at_work = True
        try:
            return self._step()
        finally:
            self._at_work = False

    def _step(self) -> Checked:
        suspects = [self._suspects.popleft() for _ in range(min(len(self._suspects), _PIECE))]
        at = self._cursor
        names = [] if at.names_ended else self._store.names(at.name, _PIECE)
        rows = [] if at.rows_ended else self._catalogue.rows(at.place, _PIECE)
        read, bad = 0, []
        for cid in [*suspects, *names]:
            try:
                read += len(self._mending.get(cid))
            except (Unavailable, Tampered):
                if self._store.streams_of(cid):  # else it was let go of meanwhile
                    bad.append(cid)
        fetched: list[CID] = []
        for row in rows:
            got, missing = self._complete(row)
            fetched += got
            bad += missing
        ended = len(names) < _PIECE and len(rows) < _PIECE
        self.done.update(blocks=len(suspects) + len(names), bytes=read, rounds=int(ended))
        self._remember(
            _Cursor()
            if ended
            else _Cursor(
                names[-1] if names else at.name,
                rows[-1].place if rows else at.place,
                len(names) < _PIECE,
                len(rows) < _PIECE,
            )
        )
        return Checked(
            blocks=len(suspects) + len(names),
            bytes_read=read,
            fetched=fetched,
            not_repaired=bad,
            round_ended=ended,
        )

    def run(
        self,
        stopped: Callable[[float], bool],
        rate_bytes_s: Count = RATE_BYTES_S,
        clock: Callable[[], float] = time.monotonic,
        rest_s: float = REST_S,
    ) -> None:
        """Go on until stopped. ``stopped``: waits so many seconds and says whether to end, as ``Event.wait`` does."""
        pause = 0.0
        while not stopped(pause):
            start = clock()
            try:
                done = self.step()
            except StorageFailed:  # a full or broken disk: whoever writes to it says so
                pause = rest_s
                continue
            spent = max(done.bytes_read / rate_bytes_s - (clock() - start), _PAUSE_S)
            pause = max(spent, rest_s) if done.round_ended else spent

    def _complete(self, row: Row) -> tuple[list[CID], list[CID]]:
        """Fetch what is missing here of a segment that is placed here: (what came, what nobody has)."""
        if self._did not in preferred(row.stream, self._holders())[: self._replicas()]:
            return [], []
        fetched: list[CID] = []
        missing: list[CID] = []
        descriptor = self._bring(row.stream, row.descriptor, fetched, missing)
        if descriptor is not None:
            for cid in sorted(listed(row.descriptor, descriptor) - {row.descriptor}, key=CID.encode):
                if row.stream not in self._store.streams_of(cid):
                    self._bring(row.stream, cid, fetched, missing)
        if fetched and not self._catalogue.stands(row):  # erased or sealed anew meanwhile: it must not come back
            for cid in fetched:
                self._store.delete(row.stream, cid)
        return fetched, missing

    def _bring(self, stream: StreamId, cid: CID, fetched: list[CID], missing: list[CID]) -> bytes | None:
        with contextlib.suppress(Unavailable, Tampered):
            if stream in self._store.streams_of(cid):
                return self._mending.get(cid)
        self._notice(Noticed("missing", cid, self._did))
        try:
            data = self._local(cid) or self._others.fetch(stream, cid)
            self._store.put(stream, cid, data)
        except StorageFailed:
            raise
        except CareMeshError:
            self._notice(Noticed("not-repaired", cid, self._did))
            missing.append(cid)
            return None
        self._notice(Noticed("repaired", cid, self._did))
        fetched.append(cid)
        return data

    def _local(self, cid: CID) -> bytes | None:
        """The block, when it is here for another stream."""
        with contextlib.suppress(Unavailable, Tampered):
            return self._store.get(cid)
        return None

    def _remember(self, cursor: _Cursor) -> None:
        if cursor != self._cursor:
            if self._file is not None:
                write_durably(self._file, codec.encode(cursor))
            self._cursor = cursor


def _read(file: Path | None) -> _Cursor:
    """Where it stood; from the beginning when nothing whole is there: then it only looks at some blocks again."""
    if file is None:
        return _Cursor()
    try:
        return codec.decode_as(file.read_bytes(), _Cursor)
    except (OSError, BadInput):
        return _Cursor()
