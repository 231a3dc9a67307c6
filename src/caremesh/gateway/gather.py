"""Gather *t* re-encryptions for each segment, believing no custodian: a wrong answer names its maker.

A custodian is asked for all streams at once, and answers for each by itself. For each stream *t* custodians are
asked; for each that refuses, fails or lies, the next one is; and one more whenever nothing came for a while: who is
slow delays nobody, and whose answer is not needed any more is not waited for.
Threads wait for custodians side by side. They do not make the checks faster: the library of the re-encryptions keeps
the interpreter's lock.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
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

    def release_each(self, data: Sequence[bytes]) -> list[list[bytes] | CareMeshError]:
        """The same for several requests: what each came to, in order. Raises CareMeshError when all fail alike."""
        ...


class OneByOne(ABC):
    """A way to a custodian that is asked for one release after the other."""

    @abstractmethod
    def release(self, data: bytes) -> list[bytes]:
        """See ``ReleaseCustodian``."""

    def release_each(self, data: Sequence[bytes]) -> list[list[bytes] | CareMeshError]:
        """See ``ReleaseCustodian``."""
        found: list[list[bytes] | CareMeshError] = []
        for each in data:
            try:
                found.append(self.release(each))
            except CareMeshError as error:
                found.append(error)
        return found


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


def gather_all(
    wanted: Sequence[Wanted],
    receiving: ReadingKey,
    request_key: Signs,
    custodians: Mapping[Did, ReleaseCustodian],
    reader: Reader,
    clock: Callable[[], Seconds],
    patience_s: float = PATIENCE_S,
) -> list[Gathered | CareMeshError]:
    """The segment keys of each, in order, or why there are none: Unavailable gateway.02 with what each custodian said,
    Tampered gateway.06.
    """
    streams = [_Stream(each, custodians) for each in wanted]
    answers: SimpleQueue[tuple[_Stream, Did, _Answer] | BaseException] = SimpleQueue()

    def ask(did: Did, some: Sequence[_Stream]) -> None:
        def run() -> None:
            try:
                signed = [_request(each.wanted, did, request_key, clock()) for each in some]
                for each, said in zip(some, _said(custodians[did], did, signed), strict=True):
                    answers.put((each, did, _checked(each.wanted, did, receiving, said, reader)))
            except BaseException as error:  # noqa: BLE001 - raised again by the one who waits
                answers.put(error)

        Thread(target=copy_context().run, args=(run,), name="release", daemon=True).start()  # whose trace it is

    while True:
        asked: dict[Did, list[_Stream]] = {}
        for each in streams:
            for did in each.next(patience_s):
                asked.setdefault(did, []).append(each)
        for did, some in asked.items():
            ask(did, some)
        if not any(each.is_open for each in streams):
            break
        with suppress(Empty):
            found = answers.get(timeout=_soonest(each.patient_s(patience_s) for each in streams))
            if isinstance(found, BaseException):
                raise found
            each, did, answer = found
            each.hear(did, answer)
    return [each.gathered(receiving) for each in streams]


class _Stream:
    """How far one stream is."""

    def __init__(self, wanted: Wanted, custodians: Mapping[Did, ReleaseCustodian]) -> None:
        self.wanted = wanted
        self._waiting = deque(entry.custodian for entry in wanted.consent.fragments if entry.custodian in custodians)
        self._asked: list[Did] = []
        self._good: dict[Did, _Released] = {}
        self._faults: list[Fault] = []
        self._since = time.monotonic()

    @property
    def _silent(self) -> int:
        return len(self._asked) - len(self._good) - len(self._faults)

    @property
    def is_open(self) -> bool:
        """Whether there is still something to wait for."""
        return len(self._good) < self.wanted.consent.threshold and self._silent > 0

    def patient_s(self, patience_s: float) -> float | None:
        """How long to wait before one more is asked; None when nobody is left to ask, or it is over."""
        if not self.is_open or not self._waiting:
            return None
        return max(0.0, self._since + patience_s - time.monotonic())

    def next(self, patience_s: float) -> list[Did]:
        """Whom to ask now."""
        lacking = max(0, self.wanted.consent.threshold - len(self._good) - self._silent)
        if self.patient_s(patience_s) == 0.0:
            lacking += 1
        new = [self._waiting.popleft() for _ in range(min(lacking, len(self._waiting)))]
        if new:
            self._asked += new
            self._since = time.monotonic()
        return new

    def hear(self, did: Did, answer: _Answer) -> None:
        """What a custodian's answer came to."""
        self._since = time.monotonic()
        if isinstance(answer, Fault):
            self._faults.append(answer)
        else:
            self._good[did] = answer

    def gathered(self, receiving: ReadingKey) -> Gathered | CareMeshError:
        """What it came to in the end."""
        good = self._good
        if len(good) < self.wanted.consent.threshold:
            said = "; ".join(f"{fault.custodian} {fault.error.code}" for fault in self._faults)
            return Unavailable(errors.TOO_FEW_RELEASES, said)
        keys = []
        for index, segment in enumerate(self.wanted.segments):
            try:
                keys.append(open_checked(receiving, [released.checked[index] for released in good.values()]))
            except Tampered:
                return Tampered(errors.SEAL_DOES_NOT_OPEN, str(segment.descriptor))
        heard = [*good, *(fault.custodian for fault in self._faults)]
        signed = [each for released in good.values() for each in released.signed]
        return Gathered(keys, list(good), self._faults, [did for did in self._asked if did not in heard], signed)


def _soonest(waits: Iterable[float | None]) -> float | None:
    return min((each for each in waits if each is not None), default=None)


def _descriptors(wanted: Wanted) -> list[CID]:
    return [segment.descriptor for segment in wanted.segments if segment.descriptor is not None]


def _request(wanted: Wanted, did: Did, request_key: Signs, now: Seconds) -> bytes:
    request = ReleaseRequest(
        receipt=wanted.receipt.id,
        stream=wanted.stream.id,
        descriptors=_descriptors(wanted),
        custodian=did,
        nonce=os.urandom(16),
        at=now,
    )
    return codec.encode(custody.sign_payload(custody.RELEASE_REQUEST, request, request_key))


def _said(custodian: ReleaseCustodian, did: Did, requests: list[bytes]) -> Sequence[list[bytes] | CareMeshError]:
    """What it answers to each."""
    try:
        found = custodian.release_each(requests)
    except CareMeshError as error:
        return [error] * len(requests)
    return found if len(found) == len(requests) else [Tampered(errors.OTHER_RELEASE, did)] * len(requests)


def _checked(
    wanted: Wanted, did: Did, receiving: ReadingKey, said: list[bytes] | CareMeshError, reader: Reader
) -> _Answer:
    """One custodian's releases of one stream, checked; or what was wrong with them."""
    try:
        if isinstance(said, CareMeshError):
            return Fault(did, said)
        answers = [custody.read_signed(answer, did) for answer in said]
    except CareMeshError as error:
        return Fault(did, error)
    descriptors = _descriptors(wanted)
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
