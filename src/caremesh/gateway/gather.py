"""Gather *t* re-encryptions for each segment, believing no custodian: a wrong answer names its maker.

*t* custodians are asked at once; for each that refuses, fails or lies, the next one is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from caremesh import codec
from caremesh.codec import CID
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent.state import Consent
from caremesh.contracts.members import queries as members
from caremesh.contracts.records.state import Segment
from caremesh.contracts.streams.state import Stream
from caremesh.crypto.reencryption import ReadingKey, Seal, check_reencryption, open_with, seal_hash
from caremesh.errors import CareMeshError, Tampered, Unavailable
from caremesh.gateway import errors
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Signs
from caremesh.sealing import custody
from caremesh.sealing.custody import FragmentKeys, Release, ReleaseRequest, Signed
from caremesh.sealing.evidence import Claim
from caremesh.types import Did, Seconds


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
    """Segment keys in the order of the segments, who released, and who did not."""

    keys: list[bytes]
    released_by: list[Did]
    faults: list[Fault]


class Wanted(NamedTuple):
    """What is to be opened: segments of one stream under one receipt."""

    receipt: Receipt
    consent: Consent
    stream: Stream
    segments: Sequence[Segment]


def gather(
    wanted: Wanted,
    receiving: ReadingKey,
    request_key: Signs,
    custodians: Mapping[Did, ReleaseCustodian],
    reader: Reader,
    clock: Callable[[], Seconds],
) -> Gathered:
    """The segment keys. Raises Unavailable gateway.02 with what each custodian said; Tampered gateway.06."""
    waiting = [entry.custodian for entry in wanted.consent.fragments if entry.custodian in custodians]
    good: dict[Did, list[Release]] = {}
    faults: list[Fault] = []
    while waiting and len(good) < wanted.consent.threshold:
        batch = [waiting.pop(0) for _ in range(min(wanted.consent.threshold - len(good), len(waiting)))]
        with ThreadPoolExecutor(len(batch)) as pool:
            answers = pool.map(
                lambda did: _one(wanted, did, receiving, request_key, custodians[did], reader, clock()), batch
            )
            for did, answer in zip(batch, answers, strict=True):
                if isinstance(answer, Fault):
                    faults.append(answer)
                else:
                    good[did] = answer
    if len(good) < wanted.consent.threshold:
        said = "; ".join(f"{fault.custodian} {fault.error.code}" for fault in faults)
        raise Unavailable(errors.TOO_FEW_RELEASES, said)
    keys = []
    for index, segment in enumerate(wanted.segments):
        releases = [answers[index] for answers in good.values()]
        try:
            keys.append(
                open_with(
                    receiving,
                    wanted.stream.reading_key,
                    releases[0].seal,
                    [release.reencryption for release in releases],
                    wanted.consent.verifying_key,
                )
            )
        except Tampered as error:
            raise Tampered(errors.SEAL_DOES_NOT_OPEN, str(segment.descriptor)) from error
    return Gathered(keys, list(good), faults)


def _one(
    wanted: Wanted,
    did: Did,
    receiving: ReadingKey,
    request_key: Signs,
    custodian: ReleaseCustodian,
    reader: Reader,
    now: Seconds,
) -> list[Release] | Fault:
    """One custodian's releases, verified; or what was wrong with them."""
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
) -> list[Release] | Fault:
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
            check_reencryption(release.seal, release.reencryption, keys.verifying, keys.delegating, keys.receiving, did)
        except Tampered as error:
            return Fault(did, error, Claim(kind="false-release", custodian=did, signed=[signed]))
        checked.append(release)
    return checked


def _check_seal(seal: Seal, segment: Segment, did: Did) -> None:
    if seal_hash(seal) != segment.seal:
        raise Tampered(errors.OTHER_RELEASE, did)
