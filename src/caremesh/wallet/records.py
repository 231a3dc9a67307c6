"""A person's own records: seals from the custodians, opened with the stream's own reading key. No receipt is needed.

Nothing that a custodian hands out is believed: descriptor and seal must hash to what the ledger holds of the segment.
One custodian that answers truly is enough; when none has a seal, the segment is named.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from caremesh import codec
from caremesh.codec import CID
from caremesh.contracts.records import queries as records
from caremesh.crypto.reencryption import open_original, seal_hash
from caremesh.errors import CareMeshError, Tampered, Unavailable
from caremesh.ledger.state import Reader
from caremesh.sealing import custody
from caremesh.sealing.custody import HeldSeal, SealAnswer, SealRequest
from caremesh.sealing.segment import OpenedRecord, open_segment
from caremesh.types import Count, Did, Seconds
from caremesh.wallet.errors import NO_OWN_SEAL, OWN_SEAL
from caremesh.wallet.members import active_member
from caremesh.wallet.standing import Standing, standing
from caremesh.wallet.state import Located

NONCE_BYTES = 16


class SealKeepers(Protocol):
    """The way to the custodians' seals."""

    def own_seals(self, custodian: Did, request: bytes) -> bytes:
        """The custodian's signed ``SealAnswer`` to a signed ``SealRequest``. Raises CareMeshError."""


class OwnSegment(Struct, frozen=True, kw_only=True):
    """A segment of one's own stream, ready to be opened."""

    index: Count
    epoch: Count
    held: HeldSeal


class OwnSeals(Struct, frozen=True, kw_only=True):
    """All segments that are not erased, in order, and what was wrong with which custodian's answer on the way."""

    segments: list[OwnSegment]
    faults: list[tuple[Did, str]]


def own_seals(
    reader: Reader,
    located: Located,
    keepers: SealKeepers,
    now: Seconds,
    entropy: Callable[[int], bytes] = os.urandom,
) -> OwnSeals:
    """The seals of one stream, from as many custodians as it takes.

    Raises Unavailable wallet.29 naming the first segment whose seal nobody had; Refused wallet.21, wallet.25.
    """
    where = standing(reader, located)
    wanted = {
        segment.descriptor: (index, segment.epoch, segment.seal)
        for index, segment in enumerate(records.segments(reader, located.stream.id))
        if segment.status != "erased" and segment.descriptor is not None
    }
    found: dict[CID, HeldSeal] = {}
    faults: list[tuple[Did, str]] = []
    for custodian in where.custodians:
        if len(found) == len(wanted):
            break
        try:
            for held in _ask(reader, located, where, custodian, keepers, now, entropy):
                cid = codec.cid_of_cbor(held.descriptor)
                if cid not in wanted or seal_hash(held.seal) != wanted[cid][2]:
                    raise Tampered(OWN_SEAL, custodian)
                found[cid] = held
        except CareMeshError as error:
            faults.append((custodian, error.code))
    for cid, (index, _, _) in wanted.items():
        if cid not in found:
            raise Unavailable(NO_OWN_SEAL, f"segment {index}")
    segments = [OwnSegment(index=index, epoch=epoch, held=found[cid]) for cid, (index, epoch, _) in wanted.items()]
    return OwnSeals(segments=segments, faults=faults)


def open_own(located: Located, segment: OwnSegment, fetch: Callable[[CID], bytes]) -> list[OpenedRecord]:
    """The records of one of one's own segments, byte for byte. Raises Tampered sealing.NN, reencryption.03."""
    secret = open_original(located.keys.reading(segment.epoch), segment.held.seal)
    return open_segment(secret, segment.held.descriptor, fetch)


def _ask(
    reader: Reader,
    located: Located,
    where: Standing,
    custodian: Did,
    keepers: SealKeepers,
    now: Seconds,
    entropy: Callable[[int], bytes],
) -> list[HeldSeal]:
    request = SealRequest(stream=located.stream.id, custodian=custodian, nonce=entropy(NONCE_BYTES), at=now)
    signed = custody.sign_payload(custody.SEAL_REQUEST, request, located.keys.signing(where.rotation))
    node_key = active_member(reader, custodian).keys.node
    answer = custody.read_signed(keepers.own_seals(custodian, codec.encode(signed)), custodian)
    said = custody.open_signed(custody.SEAL_ANSWER, answer, SealAnswer, node_key, custodian)
    if (said.stream, said.custodian, said.nonce) != (request.stream, custodian, request.nonce):
        raise Tampered(OWN_SEAL, custodian)
    return said.seals
