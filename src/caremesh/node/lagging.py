"""A custodian whose copy may be a moment behind: what it does not know yet, it is asked again.

A receipt is on the asker's own copy when it asks. A custodian elsewhere may be some milliseconds behind; that is no
reason to do without it, nor to wait at the custodian, whom anybody could then keep waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from caremesh.custodian.errors import NO_RECEIPT, SEGMENT_UNKNOWN
from caremesh.errors import CareMeshError, Refused
from caremesh.node.ways import CustodianWay

NOT_YET: Final = frozenset({NO_RECEIPT.code, SEGMENT_UNKNOWN.code})
WITHIN_S: Final = 3.0
_FIRST_S: Final = 0.02
T = TypeVar("T")


class Lagging:
    """The way to another custodian, asked again for as long as its copy may be behind."""

    def __init__(
        self,
        way: CustodianWay,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._way: Final = way
        self._now: Final = now
        self._sleep: Final = sleep

    def release(self, data: bytes) -> list[bytes]:
        """See ``Custodian.release``. A request that was refused is not used up: it may be sent again."""
        until, pause = self._now() + WITHIN_S, _FIRST_S
        while True:
            try:
                return self._way.release(data)
            except Refused as error:
                if error.code not in NOT_YET or self._now() + pause > until:
                    raise
            self._sleep(pause)
            pause *= 2

    def release_each(self, data: Sequence[bytes]) -> list[list[bytes] | CareMeshError]:
        """See ``Custodian.release_each``. Only what it does not know yet is asked again."""
        until, pause = self._now() + WITHIN_S, _FIRST_S
        found = self._way.release_each(data)
        while True:
            behind = [number for number, each in enumerate(found) if _not_yet(each)]
            if not behind or self._now() + pause > until:
                return found
            self._sleep(pause)
            pause *= 2
            again = self._way.release_each([data[number] for number in behind])
            for number, each in zip(behind, again, strict=True):
                found[number] = each

    def deposit_fragment(self, sealed: bytes) -> bytes:
        """See ``Custodian``."""
        return self._way.deposit_fragment(sealed)

    def deposit_seal(self, data: bytes) -> bytes:
        """See ``Custodian``."""
        return self._way.deposit_seal(data)

    def deposit_seals(self, data: Sequence[bytes]) -> list[bytes]:
        """See ``Custodian``."""
        return self._way.deposit_seals(data)

    def deposit_reseal(self, sealed: bytes) -> bytes:
        """See ``Custodian``."""
        return self._way.deposit_reseal(sealed)

    def seals(self, data: bytes) -> bytes:
        """See ``Custodian``."""
        return self._way.seals(data)

    def stream_log(self, data: bytes) -> bytes:
        """See ``Custodian``."""
        return self._way.stream_log(data)


def _not_yet(found: list[bytes] | CareMeshError) -> bool:
    return isinstance(found, Refused) and found.code in NOT_YET
