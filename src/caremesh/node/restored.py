"""A custodian that was restored from a backup does not know what it released since; it never says so twice.

Its log is a chain for each stream. After a restore it may be shorter than it was: to go on from there would put another
entry in a place that an entry had, and two entries of one place are what a custodian is convicted by. So it adds
nothing to the chain of any stream that was open when it came back. It goes on in everything else, and releases for
streams that were opened after that; for the others patients choose custodians anew, who are enough until then.

When it came back is the height of the first block that was surely made after the restore, and so after whatever it did
before; until it has that block it releases nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from caremesh import codec
from caremesh.blobs.durable import write_durably
from caremesh.contracts.streams import queries as streams
from caremesh.custodian.checks import MAX_AHEAD_S
from caremesh.custodian.log import ReleaseLog, ToLog
from caremesh.errors import BadInput, CareMeshError, Refused, Tampered
from caremesh.ledger.state import Reader
from caremesh.node import errors
from caremesh.sealing.release_log import LogEntry
from caremesh.types import Height, Seconds, StreamId

FILE: Final = "restored.cbor"


class Restored(Struct, frozen=True):
    """The file. ``at``: when it was restored, seconds UTC; ``height``: of a block made since; None until then."""

    at: Seconds
    height: Height | None


def mark(home: Path, now: Seconds) -> None:
    """This home is made of a backup: whatever it knew of when it was back before counts no more."""
    write_durably(home / FILE, codec.encode(Restored(now, None)))


def came_back(home: Path, height: Height, time: Seconds) -> None:
    """There is a block of this height and header time; the first one after the restore counts. Raises StorageFailed."""
    known = read(home)
    if known is not None and known.height is None and time > known.at + MAX_AHEAD_S:
        write_durably(home / FILE, codec.encode(Restored(known.at, height)))


def read(home: Path) -> Restored | None:
    """What is known of it; None for a home that was never restored. Raises Tampered node.24."""
    try:
        return codec.decode_as((home / FILE).read_bytes(), Restored)
    except FileNotFoundError:
        return None
    except BadInput as error:
        raise Tampered(errors.BACKUP_BROKEN, FILE) from error


class RestoredLog(ReleaseLog):
    """A release log that no chain is continued in which may have been longer."""

    def __init__(self, home: Path, reader: Callable[[], Reader]) -> None:
        super().__init__(home / "releases")
        self._home = home
        self._reader = reader

    def append_each(self, asked: Sequence[ToLog], at: Seconds) -> list[list[LogEntry] | CareMeshError]:
        """See ``ReleaseLog.append_each``. Refused node.27 for a stream that was open when it came back."""
        back = read(self._home)
        open_before = [back is not None and self._may_have_been_open(back, each.stream) for each in asked]
        logged = super().append_each([each for each, closed in zip(asked, open_before, strict=True) if not closed], at)
        answers = iter(logged)
        return [Refused(errors.LOG_CLOSED) if closed else next(answers) for closed in open_before]

    def _may_have_been_open(self, back: Restored, stream: StreamId) -> bool:
        known = streams.stream(self._reader(), stream)
        return back.height is None or known is None or known.opened <= back.height
