"""The snapshots that a node keeps for others: of the same heights at every node, and the same bytes.

``<height>.chunks`` is the 256 chunks of ``ledger/snapshot.py``, then the manifest, each after its length in four bytes
(big-endian). A file is there whole or not at all. Taking one is left to a thread that pauses as long as it works, so
that blocks go on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic as _now_s
from typing import Final, NamedTuple

from msgspec import Struct

from caremesh.blobs.durable import TEMPORARY_PREFIX, write_durably
from caremesh.errors import BadInput, CareMeshError, StorageFailed
from caremesh.ledger import snapshot
from caremesh.ledger.store import NOT_WRITTEN, Head, Store
from caremesh.types import Count, Height

_SUFFIX: Final = ".chunks"
_SIZE: Final = 4
_PAUSE_S: Final = 0.25
"""The longest pause between two chunks."""


class Snapshotting(Struct, frozen=True):
    """``every``: a snapshot at each height that it divides, which all members have to agree on; 0 for none. ``kept``:
    how many of them stay.

    Who joins needs the blocks after the snapshot: ``(kept + 1) * every`` should be well below ``retain_blocks``.
    """

    every: Count = 1_000
    kept: Count = 2

    @property
    def span(self) -> Count:
        """For how many heights back there is a snapshot."""
        return (self.kept + 1) * self.every


class Kept(NamedTuple):
    """A snapshot: its manifest's bytes, and where each chunk begins and how long it is."""

    manifest: bytes
    places: list[tuple[int, int]]


class SnapshotFiles:
    """Those of one node. Any thread may call any method."""

    def __init__(
        self, folder: Path, store: Store, plan: Snapshotting, failed: Callable[[BaseException], None] = lambda _: None
    ) -> None:
        """``failed``: is told when what is stored turns out to be damaged. Raises StorageFailed ledger.30."""
        self._folder: Final = folder
        self._store: Final = store
        self._plan: Final = plan
        self._failed: Final = failed
        self._changed: Final = threading.Condition()
        self._kept: Final[dict[Height, Kept]] = {}
        self._taking: threading.Thread | None = None
        self._closed = False
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in folder.iterdir():
                kept = _read(path) if path.suffix == _SUFFIX and path.stem.isdigit() else None
                if kept is not None:
                    self._kept[int(path.stem)] = kept
                elif path.suffix == _SUFFIX or path.name.startswith(TEMPORARY_PREFIX):
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed(NOT_WRITTEN, folder.name) from error

    def close(self) -> None:
        """Give up what is being taken, and wait for that."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            taking = self._taking
        if taking is not None and taking is not threading.current_thread():
            taking.join()

    def committed(self, head: Head, retain: Count) -> None:
        """A block was committed: take a snapshot of its state when it is time for one, and let go of old ones.

        ``retain``: for how many heights blocks are kept; nothing older stays.
        """
        with self._changed:
            for height in sorted(self._kept):
                if height <= head.height - retain:
                    self._drop(height)
            due = self._plan.every and not head.height % self._plan.every
            if not due or self._closed or head.height in self._kept or self.busy:
                return
            self._taking = threading.Thread(target=self._take, args=[head], name="snapshot", daemon=True)
            self._taking.start()

    @property
    def busy(self) -> bool:
        """Whether one is being taken."""
        return self._taking is not None and self._taking.is_alive()

    def listed(self, upto: Height) -> list[tuple[Height, bytes]]:
        """(height, manifest) of those up to a height."""
        with self._changed:
            return [(height, self._kept[height].manifest) for height in sorted(self._kept) if height <= upto]

    def chunk(self, height: Height, number: int) -> bytes:
        """A chunk, nothing when there is none (any more)."""
        with self._changed:
            kept = self._kept.get(height)
        if kept is None or not 0 <= number < len(kept.places):
            return b""
        at, size = kept.places[number]
        try:
            with self._path(height).open("rb") as file:
                file.seek(at)
                found = file.read(size)
        except OSError:  # dropped meanwhile, or the disk does not give it: another node has it
            return b""
        return found if len(found) == size else b""

    def _take(self, head: Head) -> None:
        path = self._path(head.height)
        try:
            with suppress(_Closed):
                write_durably(path, self._parts(head))
                kept = _read(path)
                with self._changed:
                    if kept is not None and not self._closed:
                        self._kept[head.height] = kept
                        for height in sorted(self._kept)[: -self._plan.kept or None]:
                            self._drop(height)
        except (BadInput, StorageFailed):  # it took longer than heights are kept, or the disk is full: the next one
            pass
        except CareMeshError as error:
            self._failed(error)
        finally:
            with self._changed:
                self._changed.notify_all()

    def _parts(self, head: Head) -> Iterator[bytes]:
        began = _now_s()
        for frame in snapshot.take(self._store, head):
            yield len(frame).to_bytes(_SIZE, "big")
            yield frame
            now = _now_s()
            with self._changed:
                self._changed.wait_for(lambda: self._closed, min(now - began, _PAUSE_S))
                if self._closed:
                    raise _Closed
            began = _now_s()

    def _drop(self, height: Height) -> None:
        del self._kept[height]
        with suppress(OSError):
            self._path(height).unlink(missing_ok=True)

    def _path(self, height: Height) -> Path:
        return self._folder / f"{height:012}{_SUFFIX}"


class _Closed(Exception):
    """It is to be given up."""


def _read(path: Path) -> Kept | None:
    """What a file holds, None when that is not a snapshot. Raises OSError."""
    end = path.stat().st_size
    places: list[tuple[int, int]] = []
    with path.open("rb") as file:
        while (size := file.read(_SIZE)) and len(places) <= snapshot.CHUNKS:
            at, length = file.tell(), int.from_bytes(size, "big")
            if at + length > end:
                return None
            places.append((at, length))
            file.seek(length, 1)
        if len(places) != snapshot.CHUNKS + 1 or file.tell() != end:
            return None
        file.seek(places[-1][0])
        manifest = file.read()
    try:
        snapshot.read_manifest(manifest)
    except CareMeshError:
        return None
    return Kept(manifest, places[:-1])
