"""What anyone may ask of the access contract. ``is_alive`` and ``covers`` are the only spelling of their rules."""

from __future__ import annotations

from caremesh.contracts.access.state import ANCHORS, OF_CONSENT, RECEIPTS, REFUSALS, Anchor, Receipt, Refusal
from caremesh.crypto.hashes import tagged_hash
from caremesh.ledger.state import Reader
from caremesh.types import ConsentId, Count, Did, Height, ReceiptId, Seconds

__all__ = [
    "Anchor",
    "Receipt",
    "Refusal",
    "anchor",
    "count_key",
    "covers",
    "is_alive",
    "of_consent",
    "receipt",
    "receipt_id",
    "receipt_key",
]


def receipt(reader: Reader, receipt_id: ReceiptId) -> Receipt | None:
    """A receipt, expired ones too, or None."""
    return RECEIPTS.get(reader, receipt_id)


def of_consent(reader: Reader, consent: ConsentId) -> list[Receipt | Refusal]:
    """All that was asked under a consent, oldest first: what was permitted and what was denied."""
    found: list[Receipt | Refusal] = []
    for entry in OF_CONSENT.items(reader, consent):
        record = RECEIPTS.get(reader, entry) or REFUSALS.get(reader, entry)
        if record is not None:
            found.append(record)
    return found


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


def count_key(consent: ConsentId) -> bytes:
    """The state key of how many receipts and refusals a consent has led to, for proofs that a list is complete."""
    return OF_CONSENT.count_key(consent)
