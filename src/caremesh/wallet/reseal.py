"""Seal a segment anew: for a new epoch with the same key, or without some records, with a key of its own.

    for a new epoch   the same segment key, sealed to the new reading key: a new descriptor and seal, blocks untouched
    without a record  what stays is sealed from scratch: a fresh segment key, new blocks, nothing of the old one left

The custodians keep the new seal before the ledger hears of it; when the ledger has it, they destroy the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from msgspec import Struct

from caremesh import codec
from caremesh.codec import CID
from caremesh.contracts.records.messages import Reseal
from caremesh.crypto.reencryption import Seal, open_original, seal_hash
from caremesh.errors import CareMeshError, Refused, Unavailable
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Signs
from caremesh.sealing import custody
from caremesh.sealing.custody import ResealDeposit
from caremesh.sealing.descriptor import read_descriptor
from caremesh.sealing.segment import OpenedRecord, RecordToSeal, open_segment, seal_anew, seal_segment
from caremesh.types import Count, Did, StreamId
from caremesh.wallet.delegate import check_acknowledgement
from caremesh.wallet.errors import NO_SUCH_RECORD, NOT_ACKNOWLEDGED, NOTHING_LEFT
from caremesh.wallet.members import active_member
from caremesh.wallet.records import OwnSegment
from caremesh.wallet.standing import Standing
from caremesh.wallet.state import Located


class Blocks(Protocol):
    """Certain blocks of one stream, wherever blocks are held."""

    def put(self, blocks: Mapping[CID, bytes]) -> None:
        """Hold ciphertext, durably, at as many members as the network wants. Raises CareMeshError."""

    def get(self, cid: CID) -> bytes:
        """A block that is what its name says, from whoever has it. Raises Unavailable."""


class SealKeepers(Protocol):
    """The way to the custodians, and to the members that hold blocks."""

    def deposit_reseal(self, custodian: Did, sealed: bytes) -> bytes:
        """Leave a seal made anew; the signed acknowledgement. Raises CareMeshError."""

    def own_seals(self, custodian: Did, request: bytes) -> bytes:
        """See ``asking.SealKeepers``."""

    def blocks_of(self, stream: StreamId, source: Did, key: Signs, cids: Sequence[CID]) -> Blocks:
        """The way to these blocks of a stream. ``key``: the stream's current one. Raises CareMeshError."""


class SealedAnew(Struct, frozen=True, kw_only=True):
    """A segment as it will be. ``blocks``: what has to be stored first."""

    message: Reseal
    descriptor: bytes
    seal: Seal
    blocks: dict[CID, bytes]

    def __repr__(self) -> str:
        return f"SealedAnew(segment {self.message.segment})"


class Record(NamedTuple):
    """One record of a segment, by type and id."""

    type: str
    id: str


def for_epoch(located: Located, where: Standing, segment: OwnSegment) -> SealedAnew:
    """The same segment under the stream's reading key of now. Raises Tampered reencryption.03, sealing.NN."""
    key = open_original(located.keys.reading(segment.epoch), segment.held.seal)
    descriptor, cid, seal = seal_anew(key, segment.held.descriptor, where.reading_key)
    return _made(located, segment.index, descriptor, seal, {cid: descriptor})


def without(
    located: Located,
    where: Standing,
    segment: OwnSegment,
    records: Collection[Record],
    fetch: Callable[[CID], bytes],
) -> SealedAnew:
    """The segment without these records, under a fresh key.

    Raises Refused wallet.38 for a record that is not in it, wallet.39 when none would be left; Tampered sealing.NN.
    """
    key = open_original(located.keys.reading(segment.epoch), segment.held.seal)
    opened = open_segment(key, segment.held.descriptor, fetch)
    if not {Record(record.resource_type, record.id) for record in opened}.issuperset(records):
        raise Refused(NO_SUCH_RECORD, f"segment {segment.index}")
    kept = [record for record in opened if Record(record.resource_type, record.id) not in records]
    if not kept:
        raise Refused(NOTHING_LEFT, f"segment {segment.index}")
    source = read_descriptor(segment.held.descriptor).source
    sealed = seal_segment(located.stream.id, source, where.reading_key, [_to_seal(record) for record in kept])
    blocks = {**sealed.blocks, sealed.descriptor_cid: sealed.descriptor}
    return _made(located, segment.index, sealed.descriptor, sealed.seal, blocks)


def deposit(
    reader: Reader, located: Located, where: Standing, sealed: Sequence[SealedAnew], keepers: SealKeepers
) -> list[tuple[Did, str]]:
    """Store blocks and leave the seals; custodians that did not acknowledge, and the code of what was wrong.

    Raises Unavailable wallet.22 when fewer than *t* acknowledged all of them; what ``Blocks.put`` raises.
    """
    for entry in sealed:
        blocks_of(located, where.rotation, list(entry.blocks), keepers).put(entry.blocks)
    with ThreadPoolExecutor(len(where.custodians)) as pool:
        answers = list(pool.map(lambda did: _leave(reader, located, where, sealed, did, keepers), where.custodians))
    missing = [(did, code) for did, code in zip(where.custodians, answers, strict=True) if code]
    if len(where.custodians) - len(missing) < where.threshold:
        raise Unavailable(NOT_ACKNOWLEDGED, "; ".join(f"{did} {code}" for did, code in missing))
    return missing


def fetching(located: Located, where: Standing, segment: OwnSegment, keepers: SealKeepers) -> Callable[[CID], bytes]:
    """The way to the manifest and the blocks of a segment. Raises Tampered sealing.01."""
    table = read_descriptor(segment.held.descriptor)
    return blocks_of(located, where.rotation, [table.manifest, *table.blocks], keepers).get


def blocks_of(located: Located, rotation: Count, cids: Sequence[CID], keepers: SealKeepers) -> Blocks:
    """The way to these blocks of one's own stream."""
    return keepers.blocks_of(located.stream.id, located.member, located.keys.signing(rotation), cids)


def _leave(
    reader: Reader,
    located: Located,
    where: Standing,
    sealed: Sequence[SealedAnew],
    did: Did,
    keepers: SealKeepers,
) -> str:
    try:
        custodian = active_member(reader, did)
        for entry in sealed:
            payload = ResealDeposit(
                stream=located.stream.id, custodian=did, descriptor=entry.descriptor, seal=entry.seal
            )
            signed = custody.sign_payload(custody.RESEAL_DEPOSIT, payload, located.keys.signing(where.rotation))
            message = custody.seal_to_custodian(custody.RESEAL_DEPOSIT, custodian.keys.channel, did, signed)
            answer = keepers.deposit_reseal(did, message)
            check_acknowledgement(reader, did, custody.deposit_digest(signed), answer)
    except CareMeshError as error:
        return error.code
    return ""


def _made(located: Located, index: Count, descriptor: bytes, seal: Seal, blocks: dict[CID, bytes]) -> SealedAnew:
    message = Reseal(
        stream=located.stream.id,
        segment=index,
        descriptor=codec.cid_of_cbor(descriptor),
        seal=seal_hash(seal),
        size_class=read_descriptor(descriptor).size_class,
    )
    return SealedAnew(message=message, descriptor=descriptor, seal=seal, blocks=blocks)


def _to_seal(record: OpenedRecord) -> RecordToSeal:
    return RecordToSeal(
        media_type=record.media_type,
        resource_type=record.resource_type,
        id=record.id,
        version=record.version,
        last_updated=record.last_updated,
        data=record.data,
    )
