"""A person's own records: seals from the custodians, opened with the stream's own reading key. No receipt is needed.

Nothing that a custodian hands out is believed: descriptor and seal must hash to what the ledger holds of the segment.
One custodian that answers truly is enough; when none has a seal, the segment is named.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from msgspec import Struct

from caremesh import codec
from caremesh.codec import CID
from caremesh.contracts.records import queries as records
from caremesh.crypto.reencryption import open_original, seal_hash
from caremesh.errors import CareMeshError, Tampered, Unavailable
from caremesh.ledger.state import Reader
from caremesh.sealing import custody
from caremesh.sealing.custody import HeldSeal, SealAnswer
from caremesh.sealing.segment import OpenedRecord, open_segment
from caremesh.types import Count, Did, Seconds
from caremesh.wallet.asking import SealKeepers, ask
from caremesh.wallet.errors import NO_OWN_SEAL, OWN_SEAL
from caremesh.wallet.standing import standing
from caremesh.wallet.state import Located


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
            domains = custody.SEAL_REQUEST, custody.SEAL_ANSWER
            said, _ = ask(reader, located, custodian, domains, SealAnswer, keepers.own_seals, now, entropy)
            for held in said.seals:
                cid = codec.cid_of_cbor(held.descriptor)
                if cid not in wanted or seal_hash(held.seal) != wanted[cid][2]:
                    raise Tampered(OWN_SEAL)
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
