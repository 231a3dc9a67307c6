"""The error tree. Every error has a stable code, a sentence for people, a place, and what to do.

    CareMeshError
    ├── BadInput      what was given is malformed               (exit code 3)
    ├── Refused       a rule says no; nothing was changed       (exit code 4)
    ├── Tampered      bytes are not what they claim to be       (exit code 5)
    ├── StorageFailed the disk or a store did not do its work   (exit code 6)
    ├── Locked        a passphrase or phrase does not open it   (exit code 7)
    ├── WrongLedger   this belongs to another ledger            (exit code 8)
    └── Unavailable   a party did not answer, or too few did    (exit code 9)

An error text never holds personal data: places are paths, positions, indices and names of
objects (CIDs, hashes), never values. Codes are an API: never reused, never renumbered.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple


class ErrorCode(NamedTuple):
    """A stable code, the sentence people read, and what they can do about it."""

    code: str
    sentence: str
    cure: str = ""


class CareMeshError(Exception):
    """Base of all errors that this project raises on purpose.

    ``error`` is one of the constants that each package declares; ``place`` says where
    (a path, an index, the name of an object), never a value that could be personal.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, error: ErrorCode, place: str = "") -> None:
        self.error = error
        self.place = place
        super().__init__(str(self))

    @property
    def code(self) -> str:
        """The stable code, for example ``consent.08``."""
        return self.error.code

    def __reduce__(self) -> tuple[type[CareMeshError], tuple[ErrorCode, str]]:
        return type(self), (self.error, self.place)

    def __str__(self) -> str:
        at = f" ({self.place})" if self.place else ""
        cure = f" {self.error.cure}" if self.error.cure else ""
        return f"{self.error.code}: {self.error.sentence}{at}{cure}"


class BadInput(CareMeshError):
    """What was given is malformed."""

    exit_code = 3


class Refused(CareMeshError):
    """A rule says no. Nothing was changed."""

    exit_code = 4


class Tampered(CareMeshError):
    """Bytes are not what they claim to be; ``place`` names the object."""

    exit_code = 5


class StorageFailed(CareMeshError):
    """The disk or a store did not do its work; nothing was acknowledged."""

    exit_code = 6


class Locked(CareMeshError):
    """A passphrase or a recovery phrase does not open this."""

    exit_code = 7


class WrongLedger(CareMeshError):
    """This belongs to another ledger (chain)."""

    exit_code = 8


class Unavailable(CareMeshError):
    """A party did not answer in time, or too few did."""

    exit_code = 9
