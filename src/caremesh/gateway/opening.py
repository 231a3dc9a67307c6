"""Open what one receipt is for: choose segments, gather their keys, fetch blocks from wherever they are undamaged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from caremesh.blobs.interface import BlockStore
from caremesh.codec import CID
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.state import Consent
from caremesh.contracts.records import queries as records
from caremesh.contracts.records.state import Segment
from caremesh.contracts.streams import queries as streams
from caremesh.crypto.reencryption import ReadingKey
from caremesh.errors import CareMeshError, Refused, Tampered
from caremesh.gateway import errors
from caremesh.gateway.ask import Asker, Requester
from caremesh.gateway.gather import PATIENCE_S, Fault, Gathered, ReleaseCustodian, Wanted, gather_all
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Signs
from caremesh.sealing.custody import Signed
from caremesh.sealing.segment import OpenedRecord, open_segment
from caremesh.types import Count, Did, StreamId

_SIDE_BY_SIDE: Final = 8
"""Streams whose blocks are fetched and opened at the same time."""


class Means(NamedTuple):
    """What a member opens with. ``stores``: where to look for blocks, in this order."""

    asker: Asker
    node_key: Signs
    receiving: ReadingKey
    stores: Sequence[BlockStore]
    custodians: Mapping[Did, ReleaseCustodian]
    patience_s: float = PATIENCE_S


class Part(NamedTuple):
    """The records of one segment, by its number in the stream."""

    segment: Count
    records: list[OpenedRecord]


class Opened(NamedTuple):
    """What a receipt opened, who released, and whatever was found wrong on the way."""

    parts: list[Part]
    released_by: list[Did]
    faults: list[Fault]
    slow: list[Did]
    """Custodians whose answer was not waited for."""
    damaged: list[CareMeshError]
    signed: list[Signed]
    """What the custodians signed to release this: the patient finds every one of them in its maker's log."""

    @property
    def records(self) -> list[OpenedRecord]:
        """All records, segment after segment."""
        return [record for part in self.parts for record in part.records]


def in_scope(reader: Reader, stream: StreamId, consent: Consent) -> list[tuple[Count, Segment]]:
    """The segments that a consent opens, for whoever has a receipt for them."""
    return [
        (index, segment)
        for index, segment in enumerate(records.segments(reader, stream))
        if segment.epoch == consent.epoch and consents.covers(consent, index, segment)
    ]


def open_receipt(means: Means, receipt: Receipt, requester: Requester | None, known: Collection[Count] = ()) -> Opened:
    """All that a receipt is for, but the segments that are ``known`` already.

    Raises Unavailable gateway.02, Tampered, Refused gateway.01, gateway.17.
    """
    [opened] = open_receipts(means, [(receipt, known)], requester)
    if isinstance(opened, CareMeshError):
        raise opened
    return opened


def open_receipts(
    means: Means, asked: Sequence[tuple[Receipt, Collection[Count]]], requester: Requester | None
) -> list[Opened | CareMeshError]:
    """As ``open_receipt`` for several, each with what is known already: what each came to, in order."""
    reader = means.asker.ledger.reader()
    key = means.node_key if requester is None else requester.key
    chosen = [_chosen(means, reader, receipt, known) for receipt, known in asked]
    wanted = [each for each in chosen if isinstance(each, _Chosen) and each.segments]
    gathered = gather_all(
        [each.wanted for each in wanted],
        means.receiving,
        key,
        means.custodians,
        reader,
        means.asker.clock,
        patience_s=means.patience_s,
    )
    keys = {id(each): found for each, found in zip(wanted, gathered, strict=True)}

    def finished(each: _Chosen | CareMeshError) -> Opened | CareMeshError:
        if isinstance(each, CareMeshError):
            return each
        found = keys.get(id(each))
        if found is None:
            return Opened([], [], [], [], [], [])
        return found if isinstance(found, CareMeshError) else _opened(means, each, found)

    if len(chosen) == 1:
        return [finished(chosen[0])]
    with ThreadPoolExecutor(min(_SIDE_BY_SIDE, max(1, len(chosen)))) as pool:
        return list(pool.map(finished, chosen))


class _Chosen(NamedTuple):
    """What a receipt is for: each segment with its number."""

    wanted: Wanted
    segments: list[tuple[Count, Segment]]


def _chosen(means: Means, reader: Reader, receipt: Receipt, known: Collection[Count]) -> _Chosen | Refused:
    consent = consents.consent(reader, receipt.consent)
    stream = streams.stream(reader, receipt.stream)
    if consent is None or stream is None:
        return Refused(errors.NO_SHARE)
    chosen = [
        (index, segment)
        for index, segment in in_scope(reader, stream.id, consent)
        if index not in known and access.covers(receipt, index, segment.registered)
    ]
    if chosen and consent.receiving_key != means.receiving.public:
        return Refused(errors.EARLIER_KEY)  # no custodian is to blame for what this key does not open
    return _Chosen(Wanted(receipt, consent, stream, [segment for _, segment in chosen]), chosen)


def _opened(means: Means, chosen: _Chosen, gathered: Gathered) -> Opened | CareMeshError:
    damaged: list[CareMeshError] = []
    parts = []
    try:
        for secret, (index, segment) in zip(gathered.keys, chosen.segments, strict=True):
            if segment.descriptor is not None:
                descriptor = _fetch(means.stores, segment.descriptor, damaged)
                opened = open_segment(secret, descriptor, lambda cid: _fetch(means.stores, cid, damaged))
                parts.append(Part(index, opened))
    except CareMeshError as error:
        return error
    return Opened(parts, gathered.released_by, gathered.faults, gathered.slow, damaged, gathered.signed)


def _fetch(stores: Sequence[BlockStore], cid: CID, damaged: list[CareMeshError]) -> bytes:
    """A block from the first store that has it undamaged; what was damaged is noted. Raises Tampered gateway.03."""
    last: CareMeshError | None = None
    for store in stores:
        try:
            return store.get(cid)
        except CareMeshError as error:
            last = error
            if isinstance(error, Tampered):
                damaged.append(error)
    raise Tampered(errors.NO_BLOCK, cid.encode()) from last
