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

from typing import Final, NamedTuple

from caremesh import codec
from caremesh.codec import CID
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.state import Consent
from caremesh.contracts.identity import queries as identities
from caremesh.contracts.members import queries as members
from caremesh.contracts.network import queries as network
from caremesh.contracts.records import queries as records
from caremesh.contracts.records.state import Segment
from caremesh.contracts.streams import queries as streams
from caremesh.crypto.reencryption import Seal, seal_hash
from caremesh.crypto.signatures import stream_of
from caremesh.custodian import errors
from caremesh.errors import Refused
from caremesh.ledger.state import Reader
from caremesh.sealing.custody import FragmentDeposit, ReleaseRequest, StreamRequest
from caremesh.types import Did, Multikey, ReceiptId, Seconds

MAX_AGE_S: Final[Seconds] = 30
MAX_AHEAD_S: Final[Seconds] = 5
"""How far a header may be dated after our clock before we call it wrong."""


class Head(NamedTuple):
    """The state under the newest block that this custodian has verified itself, and the time in that block's header."""

    reader: Reader
    time: Seconds


def check_fresh(time: Seconds, seen_s: float, now: Seconds) -> None:
    """``time``: of the newest header; ``seen_s``: seconds since it came in, by a clock that never goes back.

    Raises Refused custodian.01, custodian.02.
    """
    if time > now + MAX_AHEAD_S:
        raise Refused(errors.HEADER_FROM_FUTURE)
    if max(now - time, seen_s) > MAX_AGE_S:
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
    if network.brake(head.reader, at) is not None:
        raise Refused(errors.BRAKE_ON)
    if all(entry.custodian != me for entry in consent.fragments):
        raise Refused(errors.NOT_A_CUSTODIAN)
    return consent


def check_stream(request: ReleaseRequest, receipt: Receipt) -> None:
    """Raises Refused custodian.11."""
    if request.stream != receipt.stream:
        raise Refused(errors.OUT_OF_SCOPE)


def check_segment(head: Head, receipt: Receipt, consent: Consent, descriptor: CID) -> Segment:
    """Raises Refused custodian.10, custodian.11."""
    found = records.named(head.reader, receipt.stream, descriptor)
    if found is None or found[1].descriptor != descriptor:
        raise Refused(errors.SEGMENT_UNKNOWN)
    index, segment = found
    if (
        not access.covers(receipt, index, segment.registered)
        or not consents.covers(consent, index, segment)
        or not consents.allows(consent, receipt.action, receipt.purpose)
        or segment.epoch != consent.epoch
    ):
        raise Refused(errors.OUT_OF_SCOPE)
    return segment


def check_seal(segment: Segment, descriptor: bytes, seal: Seal) -> None:
    """Raises Refused custodian.13."""
    if codec.cid_of_cbor(descriptor) != segment.descriptor or seal_hash(seal) != segment.seal:
        raise Refused(errors.SEAL_MISMATCH)


def check_fragment_keys(head: Head, consent: Consent, deposit: FragmentDeposit, me: Did) -> None:
    """Raises Refused custodian.15, custodian.16."""
    stream = streams.stream(head.reader, consent.stream)
    if (
        stream is None
        or stream.epoch != consent.epoch
        or deposit.delegating != stream.reading_key
        or deposit.receiving != consent.receiving_key
        or deposit.verifying != consent.verifying_key
    ):
        raise Refused(errors.KEYS_MISMATCH)
    commitment = consents.fragment_commitment(consent.id, me, consent.epoch, deposit.fragment)
    if all((entry.custodian, entry.commitment) != (me, commitment) for entry in consent.fragments):
        raise Refused(errors.FRAGMENT_MISMATCH)


def key_of_requester(head: Head, receipt: Receipt) -> Multikey:
    """The key that must have signed the release request. Raises Refused custodian.17."""
    if receipt.asserted:
        member = members.member(head.reader, receipt.member)
        if member is not None:
            return member.keys.node
    else:
        person = identities.identity(head.reader, receipt.requester)
        if person is not None and person.active:
            return receipt.visit_key or person.key
    raise Refused(errors.WRONG_REQUESTER)


def check_addressed(request: ReleaseRequest, me: Did) -> None:
    """Raises Refused custodian.18."""
    if request.custodian != me:
        raise Refused(errors.WRONG_RECIPIENT)


def check_stream_request(reader: Reader, asked: StreamRequest, key: Multikey, me: Did, *, fellows: bool) -> None:
    """By the stream's current key, or (``fellows``) by the node key of one of its custodians.

    Raises Refused custodian.18, custodian.22.
    """
    if asked.custodian != me:
        raise Refused(errors.WRONG_RECIPIENT)
    stream = streams.stream(reader, asked.stream)
    if stream is None or key == stream.key:
        if stream is None and stream_of(key) != asked.stream:
            raise Refused(errors.NOT_THE_STREAM)
        return
    keepers = [members.member(reader, custodian) for custodian in stream.custodians] if fellows else []
    if all(keeper is None or keeper.status != "active" or keeper.keys.node != key for keeper in keepers):
        raise Refused(errors.NOT_THE_STREAM)
