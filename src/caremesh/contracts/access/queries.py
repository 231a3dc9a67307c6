"""What anyone may ask of the access contract. ``is_alive`` and ``covers`` are the only spelling of their rules."""

from __future__ import annotations

from typing import TypeAlias

from caremesh.contracts.access.state import (
    ANCHORS,
    DISPUTES,
    EMERGENCIES,
    GIVEN,
    OF_CONSENT,
    OF_REQUESTER,
    OF_STREAM,
    RECEIPTS,
    REFUSALS,
    Anchor,
    Disputed,
    Emergency,
    Receipt,
    Refusal,
)
from caremesh.crypto.hashes import tagged_hash
from caremesh.ledger.state import Reader
from caremesh.types import ConsentId, Count, Did, Height, ReceiptId, Seconds, StreamId

__all__ = [
    "Anchor",
    "Disputed",
    "Emergency",
    "Receipt",
    "Record",
    "Refusal",
    "anchor",
    "count_key",
    "covers",
    "dispute",
    "emergency",
    "is_alive",
    "is_open",
    "of_consent",
    "of_requester",
    "of_stream",
    "receipt",
    "receipt_id",
    "receipt_key",
    "record",
    "record_keys",
    "requester_count_key",
    "stream_count_key",
    "visits",
]

Record: TypeAlias = Receipt | Refusal | Emergency
"""What a question about someone's records leaves behind."""


def receipt(reader: Reader, receipt_id: ReceiptId) -> Receipt | None:
    """A receipt, expired ones too, or None."""
    return RECEIPTS.get(reader, receipt_id)


def emergency(reader: Reader, receipt_id: ReceiptId) -> Emergency | None:
    """An emergency access, denied ones too, or None."""
    return EMERGENCIES.get(reader, receipt_id)


def record(reader: Reader, identity: bytes) -> Record | None:
    """The receipt, refusal or emergency access with this id, or None."""
    return RECEIPTS.get(reader, identity) or REFUSALS.get(reader, identity) or EMERGENCIES.get(reader, identity)


def of_consent(reader: Reader, consent: ConsentId) -> list[Receipt | Refusal]:
    """All that was asked under a consent, oldest first: what was permitted and what was denied."""
    found = _records(reader, OF_CONSENT.items(reader, consent))
    return [entry for entry in found if not isinstance(entry, Emergency)]


def of_stream(reader: Reader, stream: StreamId) -> list[Record]:
    """All that was asked of a stream, oldest first."""
    return _records(reader, OF_STREAM.items(reader, stream))


def of_requester(reader: Reader, requester: Did) -> list[Record]:
    """All that someone asked, oldest first."""
    return _records(reader, OF_REQUESTER.items(reader, requester.encode()))


def visits(reader: Reader, consent: ConsentId) -> Count:
    """How many visits a consent has had."""
    return GIVEN.get(reader, consent) or 0


def dispute(reader: Reader, receipt_id: ReceiptId) -> Disputed | None:
    """What the subject asked about an access and what the member answered, or None."""
    return DISPUTES.get(reader, receipt_id)


def is_open(given: Emergency, at: Seconds) -> bool:
    """Whether an emergency access was permitted and still authorises a release at a time."""
    return given.why is None and given.at <= at < given.expires


def is_alive(given: Receipt, at: Seconds) -> bool:
    """Whether a receipt still authorises anything at a time."""
    return not given.closed and given.at <= at < given.expires


def covers(given: Receipt, segment: Count, registered: Height) -> bool:
    """Whether a receipt is for a segment that was registered at a height."""
    return registered <= given.height and (not given.segments or segment in given.segments)


def anchor(reader: Reader, custodian: Did) -> Anchor | None:
    """The last report of a custodian, or None."""
    owner = custodian.encode()
    return ANCHORS.get(reader, ANCHORS.bounds(reader, owner)[1] - 1, owner)


def receipt_id(tx_id: bytes, index: Count) -> ReceiptId:
    """The id of the receipt (or refusal) that a message of a transaction leads to."""
    return tagged_hash("caremesh/v1/receipt", tx_id, index.to_bytes(4))


def receipt_key(receipt_id: ReceiptId) -> bytes:
    """The state key of a receipt, for proofs."""
    return RECEIPTS.key(receipt_id)


def record_keys(identity: bytes) -> list[bytes]:
    """The state keys where a record with this id may be, and of a dispute of it, for proofs."""
    tables = (RECEIPTS, REFUSALS, EMERGENCIES, DISPUTES)
    return [table.key(identity) for table in tables]


def count_key(consent: ConsentId) -> bytes:
    """The state key of how many receipts and refusals a consent has led to, for proofs that a list is complete."""
    return OF_CONSENT.count_key(consent)


def stream_count_key(stream: StreamId) -> bytes:
    """The state key of how often a stream was asked for, for proofs that a list is complete."""
    return OF_STREAM.count_key(stream)


def requester_count_key(requester: Did) -> bytes:
    """The state key of how often someone asked, for proofs that a list is complete."""
    return OF_REQUESTER.count_key(requester.encode())


def _records(reader: Reader, ids: list[bytes]) -> list[Record]:
    return [entry for entry in (record(reader, identity) for identity in ids) if entry is not None]
