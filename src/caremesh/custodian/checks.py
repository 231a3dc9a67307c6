"""What a custodian checks before it releases: every rule, in order, each with its own code. Pure.

1.  Its copy of the ledger is fresh: age = the greater of (clock − header time) and the time since the last verified
    header came in; headers from the future are refused.
2.  The receipt is committed, and alive by the later of header and own clock.
3.  The consent is active, the member and the practitioner are not suspended, the brake is off.
4.  Consent and receipt cover the segment, which exists and was not erased.
5.  Descriptor and seal hash to what the ledger holds.
6.  The fragment is for the delegating and receiving keys that the ledger names, and matches its commitment.
7.  The request is signed by the one to whom the receipt was given, and addressed to this custodian.

A later block may have revoked what a receipt granted: the receipt alone opens nothing (promise P3).
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from caremesh import codec
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.state import Consent
from caremesh.contracts.members import queries as members
from caremesh.contracts.network import queries as network
from caremesh.contracts.records import queries as records
from caremesh.contracts.records.state import Segment
from caremesh.contracts.streams import queries as streams
from caremesh.crypto.hashes import tagged_hash
from caremesh.crypto.reencryption import Seal, seal_hash
from caremesh.custodian import errors
from caremesh.errors import Refused
from caremesh.ledger.state import Reader
from caremesh.sealing.custody import FragmentDeposit, ReleaseRequest
from caremesh.types import Did, ReceiptId, Seconds

MAX_AGE_S: Final[Seconds] = 30
MAX_AHEAD_S: Final[Seconds] = 5
"""How far a header may be dated after our clock before we call it wrong."""


class Head(Struct, frozen=True):
    """The newest block that this custodian has verified itself."""

    reader: Reader
    height: int
    time: Seconds
    """The header's time."""
    seen_s: Seconds
    """Seconds since that header came in, by a clock that never goes back."""


def check_fresh(head: Head, now: Seconds) -> None:
    """Raises Refused custodian.01, custodian.02."""
    if head.time > now + MAX_AHEAD_S:
        raise Refused(errors.HEADER_FROM_FUTURE)
    if max(now - head.time, head.seen_s) > MAX_AGE_S:
        raise Refused(errors.STALE)


def check_receipt(head: Head, receipt_id: ReceiptId, now: Seconds) -> Receipt:
    """Raises Refused custodian.03, custodian.04."""
    receipt = access.receipt(head.reader, receipt_id)
    if receipt is None:
        raise Refused(errors.NO_RECEIPT)
    if not access.is_alive(receipt, max(head.time, now)):
        raise Refused(errors.RECEIPT_EXPIRED)
    return receipt


def check_permission(head: Head, receipt: Receipt, me: Did, now: Seconds) -> Consent:
    """Raises Refused custodian.05 to custodian.09."""
    at = max(head.time, now)
    consent = consents.consent(head.reader, receipt.consent)
    if consent is None or not consents.is_active(consent, at):
        raise Refused(errors.CONSENT_NOT_ACTIVE)
    if not members.is_active(head.reader, receipt.member):
        raise Refused(errors.MEMBER_NOT_ACTIVE)
    if not receipt.asserted and not members.may_act(head.reader, receipt.requester, receipt.member, at):
        raise Refused(errors.PERSON_NOT_ACTIVE)
    if network.brake_stops_releases(head.reader, at):
        raise Refused(errors.BRAKE_ON)
    if all(entry.custodian != me for entry in consent.fragments):
        raise Refused(errors.NOT_A_CUSTODIAN)
    return consent
