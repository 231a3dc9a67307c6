"""Gather *t* re-encryptions for each segment, believing no custodian: a wrong answer names its maker.

*t* custodians are asked at once. For each that refuses, fails or lies, the next one is; and one more whenever nothing
came for a while: who is slow delays nobody, and whose answer is not needed any more is not waited for.
Threads wait for custodians side by side. They do not make the checks faster: the library of the re-encryptions keeps
the interpreter's lock.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final, NamedTuple, Protocol, TypeAlias

from caremesh import codec
from caremesh.codec import CID
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent.state import Consent
from caremesh.contracts.members import queries as members
from caremesh.contracts.records.state import Segment
from caremesh.contracts.streams.state import Stream
from caremesh.crypto.reencryption import Checked, ReadingKey, Seal, check_reencryption, open_checked, seal_hash
from caremesh.errors import CareMeshError, Tampered, Unavailable
from caremesh.gateway import errors
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Signs
from caremesh.sealing import custody
from caremesh.sealing.custody import FragmentKeys, Release, ReleaseRequest, Signed
from caremesh.sealing.evidence import Claim
from caremesh.types import Did, Seconds

PATIENCE_S: Final = 0.5
"""How long nothing may come before one custodian more is asked."""


class ReleaseCustodian(Protocol):
    """The way to one custodian."""

    def release(self, data: bytes) -> list[bytes]:
        """Signed releases for a signed request. Raises CareMeshError."""
        ...


class Fault(NamedTuple):
    """A custodian that did not do its part, and the code of what it said or did.

    ``claim``: what it signed, where that shows to others too that it lied.
    """

    custodian: Did
    error: CareMeshError
    claim: Claim | None = None


class Gathered(NamedTuple):
    """Segment keys in the order of the segments, who released, who did not, and who was not waited for.

    ``signed``: what those who released have signed; the log of each has an entry for every one of its releases.
    """

    keys: list[bytes]
    released_by: list[Did]
    faults: list[Fault]
    slow: list[Did]
    signed: list[Signed]


class Wanted(NamedTuple):
    """What is to be opened: segments of one stream under one receipt."""

    receipt: Receipt
    consent: Consent
    stream: Stream
    segments: Sequence[Segment]


class _Released(NamedTuple):
    """What one custodian released, in the order of the segments, each checked, and as it signed it."""

    checked: list[Checked]
    signed: list[Signed]


_Answer: TypeAlias = _Released | Fault


def gather(
    wanted: Wanted,
    receiving: ReadingKey,
    request_key: Signs,
    custodians: Mapping[Did, ReleaseCustodian],
    reader: Reader,
    clock: Callable[[], Seconds],
    patience_s: float = PATIENCE_S,
) -> Gathered:
    """The segment keys. Raises Unavailable gateway.02 with what each custodian said; Tampered gateway.06."""
    waiting = deque(entry.custodian for entry in wanted.consent.fragments if entry.custodian in custodians)
    answers: SimpleQueue[tuple[Did, _Answer | BaseException]] = SimpleQueue()
    asked: list[Did] = []
    good: dict[Did, _Released] = {}
    faults: list[Fault] = []

    def ask(did: Did) -> None:
        def run() -> None:
            try:
                answers.put((did, _one(wanted, did, receiving, request_key, custodians[did], reader, clock())))
            except BaseException as error:  # noqa: BLE001 - raised again by the one who waits
                answers.put((did, error))

        asked.append(did)
        Thread(target=copy_context().run, args=(run,), name="release", daemon=True).start()  # whose trace it is

    threshold = wanted.consent.threshold
    while True:
        silent = len(asked) - len(good) - len(faults)
        while waiting and len(good) + silent < threshold:
            ask(waiting.popleft())
            silent += 1
        if len(good) >= threshold or not silent:
            break
        try:
            did, answer = answers.get(timeout=patience_s if waiting else None)
        except Empty:
            ask(waiting.popleft())
            continue
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Fault):
            faults.append(answer)
        else:
            good[did] = answer
    if len(good) < threshold:
        said = "; ".join(f"{fault.custodian} {fault.error.code}" for fault in faults)
        raise Unavailable(errors.TOO_FEW_RELEASES, said)
    keys = []
    for index, segment in enumerate(wanted.segments):
        try:
            keys.append(open_checked(receiving, [released.checked[index] for released in good.values()]))
        except Tampered as error:
            raise Tampered(errors.SEAL_DOES_NOT_OPEN, str(segment.descriptor)) from error
    heard = [*good, *(fault.custodian for fault in faults)]
    signed = [each for released in good.values() for each in released.signed]
    return Gathered(keys, list(good), faults, [did for did in asked if did not in heard], signed)


def _one(
    wanted: Wanted,
    did: Did,
    receiving: ReadingKey,
    request_key: Signs,
    custodian: ReleaseCustodian,
    reader: Reader,
    now: Seconds,
) -> _Answer:
    """One custodian's releases, checked; or what was wrong with them."""
    descriptors = [segment.descriptor for segment in wanted.segments if segment.descriptor is not None]
    request = ReleaseRequest(
        receipt=wanted.receipt.id,
        stream=wanted.stream.id,
        descriptors=descriptors,
        custodian=did,
        nonce=os.urandom(16),
        at=now,
    )
    signed = codec.encode(custody.sign_payload(custody.RELEASE_REQUEST, request, request_key))
    try:
        answers = [custody.read_signed(answer, did) for answer in custodian.release(signed)]
    except CareMeshError as error:
        return Fault(did, error)
    return _checked(wanted, did, receiving, descriptors, answers, reader)


def _checked(
    wanted: Wanted, did: Did, receiving: ReadingKey, descriptors: list[CID], answers: list[Signed], reader: Reader
) -> _Answer:
    member = members.member(reader, did)
    if member is None or len(answers) != len(descriptors):
        return Fault(did, Tampered(errors.OTHER_RELEASE, did))
    keys = FragmentKeys(
        verifying=wanted.consent.verifying_key, delegating=wanted.stream.reading_key, receiving=receiving.public
    )
    checked = []
    for signed, descriptor, segment in zip(answers, descriptors, wanted.segments, strict=True):
        try:
            release = custody.open_signed(custody.RELEASE, signed, Release, member.keys.node, did)
            asked = (wanted.receipt.id, wanted.stream.id, descriptor, did, keys)
            if (release.receipt, release.stream, release.descriptor, release.custodian, release.keys) != asked:
                raise Tampered(errors.OTHER_RELEASE, did)
            _check_seal(release.seal, segment, did)
        except Tampered as error:
            return Fault(did, error)
        try:
            named = (keys.verifying, keys.delegating, keys.receiving)
            checked.append(check_reencryption(release.seal, release.reencryption, *named, did))
        except Tampered as error:
            return Fault(did, error, Claim(kind="false-release", custodian=did, signed=[signed]))
    return _Released(checked, answers)


def _check_seal(seal: Seal, segment: Segment, did: Did) -> None:
    if seal_hash(seal) != segment.seal:
        raise Tampered(errors.OTHER_RELEASE, did)
