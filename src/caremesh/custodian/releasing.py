"""From what was checked to what leaves: looked at once more, logged in one durable step, re-encrypted and signed.

Several requests may come at once, each of them checked by itself and refused by itself. While the last of them is
checked, the ledger may have taken back what the first stands on: so each is looked at again, against the newest block,
before anything is logged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from caremesh import codec
from caremesh.crypto.reencryption import Seal, reencrypt_kept
from caremesh.custodian.log import ReleaseLog, ToLog
from caremesh.errors import CareMeshError, StorageFailed
from caremesh.ledger.transactions import Signs
from caremesh.sealing import custody
from caremesh.sealing.custody import FragmentDeposit, FragmentKeys, LogPosition, Release, ReleaseRequest
from caremesh.sealing.release_log import LogEntry, link_of
from caremesh.types import Did, Height, Seconds

Outcome: TypeAlias = list[bytes] | CareMeshError
"""What one request came to: signed releases in the order asked, or why there are none."""


class Granted(NamedTuple):
    """A request that every check has passed, with what it is answered from."""

    request: ReleaseRequest
    seals: list[Seal]
    fragment: FragmentDeposit
    checked: tuple[Height, Seconds]
    """The block and the time that it was checked at."""
    data: bytes
    """The request as it came."""


def each(data: Sequence[bytes], check: Callable[[bytes], Granted]) -> list[Granted | CareMeshError]:
    """What each request's check says, in order; one that is refused takes none of the others with it."""
    found: list[Granted | CareMeshError] = []
    for one in data:
        try:
            found.append(check(one))
        except CareMeshError as error:
            found.append(error)
    return found


def finish(
    found: Sequence[Granted | CareMeshError],
    still: Callable[[Granted], None],
    log: ReleaseLog,
    now: Seconds,
    did: Did,
    key: Signs,
) -> list[Outcome]:
    """What each comes to. ``still``: raises when a request may not be granted any more."""
    now_granted: list[Granted | CareMeshError] = []
    for one in found:
        try:
            if isinstance(one, Granted):
                still(one)
            now_granted.append(one)
        except CareMeshError as error:
            now_granted.append(error)
    wanted = [
        ToLog(one.request.stream, one.request.receipt, one.request.descriptors)
        for one in now_granted
        if isinstance(one, Granted)
    ]
    try:
        logged = iter(log.append_each(wanted, now))
    except StorageFailed as error:
        return [error if isinstance(one, Granted) else one for one in now_granted]
    answers: list[Outcome] = []
    for one in now_granted:
        if not isinstance(one, Granted):
            answers.append(one)
            continue
        entries = next(logged)
        answers.append(entries if isinstance(entries, CareMeshError) else _signed(one, entries, did, key))
    return answers


def _signed(granted: Granted, entries: Sequence[LogEntry], did: Did, key: Signs) -> list[bytes]:
    request, fragment = granted.request, granted.fragment
    keys = FragmentKeys(verifying=fragment.verifying, delegating=fragment.delegating, receiving=fragment.receiving)
    return [
        codec.encode(
            custody.sign_payload(
                custody.RELEASE,
                Release(
                    receipt=request.receipt,
                    stream=request.stream,
                    descriptor=cid,
                    custodian=did,
                    at=entry.at,
                    keys=keys,
                    seal=seal,
                    # It was checked at deposit, and is the very one that the ledger's commitment names.
                    reencryption=reencrypt_kept(seal, fragment.fragment),
                    log=LogPosition(index=entry.index, previous=entry.previous, entry=link_of(entry)),
                ),
                key,
            )
        )
        for cid, seal, entry in zip(request.descriptors, granted.seals, entries, strict=True)
    ]
