"""A custodian: takes deposits, releases against receipts, destroys when consent ends.

What it promises:
- nothing leaves but against a receipt and a consent that are alive on its own, fresh copy of the ledger;
- what leaves is in its log first, durably;
- a fragment whose consent is over is destroyed at the block that says so, and the destruction confirmed by signature.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from caremesh import codec
from caremesh.blobs.vault import Vault
from caremesh.codec import CID
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.members import queries as members
from caremesh.contracts.streams import queries as streams
from caremesh.contracts.streams.messages import PERMIT_DOMAIN, Permit
from caremesh.crypto import signatures
from caremesh.crypto.reencryption import check_fragment, reencrypt, seal_hash
from caremesh.custodian import checks, errors
from caremesh.custodian.checks import Head
from caremesh.custodian.log import ReleaseLog
from caremesh.errors import BadInput, Refused, Tampered
from caremesh.ledger.blocks import Header
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Signs
from caremesh.sealing import custody
from caremesh.sealing.custody import (
    Acknowledgement,
    DestroyConfirmation,
    FragmentDeposit,
    LogPosition,
    Release,
    ReleaseRequest,
    SealDeposit,
    Signed,
)
from caremesh.sealing.descriptor import read_descriptor
from caremesh.sealing.release_log import LogEntry, LogHead, link_of
from caremesh.types import ConsentId, Did, Seconds, StreamId

T = TypeVar("T", SealDeposit, ReleaseRequest)

REQUEST_WINDOW_S: Final[Seconds] = 60


class OwnCopy(Protocol):
    """This custodian's own verified copy of the ledger."""

    def header(self) -> Header:
        """The last header that was verified here."""
        ...

    def seen_s(self) -> float:
        """Seconds since it came in, by a clock that never goes back."""
        ...

    def reader(self) -> Reader:
        """The state under it."""
        ...


class Custodian:
    """One member in the role of custodian."""

    def __init__(
        self,
        *,
        did: Did,
        key: Signs,
        hpke_private: bytes,
        vault: Vault,
        log: ReleaseLog,
        ledger: OwnCopy,
        clock: Callable[[], Seconds],
    ) -> None:
        """``key``: the member's node key; ``vault``: for fragments and seals; ``ledger``: its own copy."""
        self.did = did
        self._key = key
        self._hpke_private = hpke_private
        self._vault = vault
        self._log = log
        self._ledger = ledger
        self._clock = clock
        self._answered: dict[bytes, Seconds] = {}

    def deposit_fragment(self, sealed: bytes) -> bytes:
        """Keep a wallet's fragment; the signed acknowledgement. Raises Tampered, Refused custodian.20."""
        signed = custody.open_by_custodian(custody.FRAGMENT_DEPOSIT, self._hpke_private, self.did, sealed)
        deposit = custody.open_signed(custody.FRAGMENT_DEPOSIT, signed, FragmentDeposit, signed.key)
        stream = streams.stream(self._ledger.reader(), deposit.stream)
        owner = signatures.stream_of(signed.key) == deposit.stream if stream is None else signed.key == stream.key
        if not owner or deposit.custodian != self.did:
            raise Refused(errors.NOT_DEPOSITABLE)
        check_fragment(deposit.fragment, deposit.verifying, deposit.delegating, deposit.receiving)
        self._vault.put({_fragment_name(deposit.consent): codec.encode(deposit)})
        return self._acknowledge(signed)

    def deposit_seal(self, data: bytes) -> bytes:
        """Keep a source's seal and descriptor; the signed acknowledgement. Raises Tampered, Refused custodian.20."""
        signed = custody.read_signed(data)
        claimed = _peek(signed, SealDeposit)
        source = members.member(self._ledger.reader(), claimed.source)
        if source is None or source.status != "active":
            raise Refused(errors.NOT_DEPOSITABLE)
        deposit = custody.open_signed(custody.SEAL_DEPOSIT, signed, SealDeposit, source.keys.node)
        permit = _peek_permit(deposit)
        signatures.verify(permit.key, PERMIT_DOMAIN + deposit.permit, deposit.permit_signature)
        if (
            permit.stream != deposit.stream
            or permit.source != deposit.source
            or self.did not in permit.custodians
            or (permit.rotation == 0 and signatures.stream_of(permit.key) != permit.stream)
        ):
            raise Refused(errors.NOT_DEPOSITABLE)
        descriptor = read_descriptor(deposit.descriptor)
        if descriptor.stream != deposit.stream or descriptor.seal != seal_hash(deposit.seal):
            raise Refused(errors.SEAL_MISMATCH)
        self._vault.put({_seal_name(deposit.stream, codec.cid_of_cbor(deposit.descriptor)): codec.encode(deposit)})
        return self._acknowledge(signed)

    def release(self, data: bytes) -> list[bytes]:
        """Re-encrypt what a receipt is for: a signed ``Release`` per descriptor, in the order asked.

        All or nothing. Raises Refused custodian.01 to custodian.19, Tampered custody.NN, StorageFailed.
        """
        signed = custody.read_signed(data, "release request")
        request = _peek(signed, ReleaseRequest)
        now = self._clock()
        header = self._ledger.header()
        head = Head(self._ledger.reader(), header.time, self._ledger.seen_s())
        checks.check_fresh(head, now)
        receipt = checks.check_receipt(head, request.receipt, now)
        consent = checks.check_permission(head, receipt, self.did, now)
        checks.check_addressed(request, receipt, self.did)
        seals = []
        for cid in request.descriptors:
            segment = checks.check_segment(head, receipt, consent, cid)
            stored = self._vault.get(_seal_name(request.stream, cid))
            if stored is None:
                raise Refused(errors.NO_SEAL)
            deposit = codec.decode_as(stored, SealDeposit)
            checks.check_seal(segment, deposit.descriptor, deposit.seal)
            seals.append(deposit.seal)
        kept = self._vault.get(_fragment_name(consent.id))
        if kept is None:
            raise Refused(errors.NO_FRAGMENT)
        fragment = codec.decode_as(kept, FragmentDeposit)
        checks.check_fragment_keys(head, consent, fragment, self.did)
        custody.open_signed(
            custody.RELEASE_REQUEST, signed, ReleaseRequest, checks.key_of_requester(head, receipt), "release request"
        )
        self._answer_once(request, now)

        entries = self._log.append(request.stream, receipt.id, request.descriptors, now)
        return [
            codec.encode(
                custody.sign_payload(
                    custody.RELEASE,
                    Release(
                        receipt=receipt.id,
                        stream=request.stream,
                        descriptor=cid,
                        custodian=self.did,
                        seal=seal,
                        reencryption=reencrypt(
                            seal, fragment.fragment, fragment.verifying, fragment.delegating, fragment.receiving
                        ),
                        log=LogPosition(index=entry.index, previous=entry.previous, entry=link_of(entry)),
                    ),
                    self._key,
                )
            )
            for cid, seal, entry in zip(request.descriptors, seals, entries, strict=True)
        ]

    def follow(self) -> list[bytes]:
        """After a block: destroy the fragments whose consents are over; signed confirmations, one for each."""
        reader, now = self._ledger.reader(), max(self._clock(), self._ledger.header().time)
        over = []
        for name in self._vault.names(_FRAGMENT):
            consent_id = bytes.fromhex(name.removeprefix(_FRAGMENT))
            consent = consents.consent(reader, consent_id)
            if consent is not None and (consent.status == "revoked" or consent.ends <= now):
                over.append(consent_id)
        self._vault.destroy([_fragment_name(consent_id) for consent_id in over])
        return [
            codec.encode(
                custody.sign_payload(
                    custody.DESTROY_CONFIRMATION,
                    DestroyConfirmation(consent=consent_id, custodian=self.did, at=now),
                    self._key,
                )
            )
            for consent_id in over
        ]

    def stream_log(self, stream: StreamId) -> tuple[list[LogEntry], LogHead]:
        """All that was released of a stream, for its subject. Raises Tampered custody.04."""
        return self._log.entries(stream)

    def log_root(self) -> tuple[bytes, int]:
        """What to anchor with ``access/report``: root and number of entries."""
        return self._log.root()

    def _answer_once(self, request: ReleaseRequest, now: Seconds) -> None:
        """A request is answered once, and only near its time."""
        self._answered = {nonce: at for nonce, at in self._answered.items() if abs(now - at) <= 2 * REQUEST_WINDOW_S}
        if abs(now - request.at) > REQUEST_WINDOW_S or request.nonce in self._answered:
            raise Refused(errors.REPLAYED)
        self._answered[request.nonce] = request.at

    def _acknowledge(self, signed: Signed) -> bytes:
        said = Acknowledgement(custodian=self.did, what=custody.deposit_digest(signed))
        return codec.encode(custody.sign_payload(custody.ACKNOWLEDGEMENT, said, self._key))


_FRAGMENT: Final = "fragment/"


def _fragment_name(consent: ConsentId) -> str:
    return _FRAGMENT + consent.hex()


def _seal_name(stream: StreamId, descriptor: CID) -> str:
    return f"seal/{stream.hex()}/{descriptor.encode()}"


def _peek(signed: Signed, kind: type[T]) -> T:
    """What a signed object claims, to find out whose signature to ask for."""
    try:
        return codec.decode_as(signed.payload, kind)
    except BadInput as error:
        raise Tampered(custody.NOT_SIGNED, kind.__name__) from error


def _peek_permit(deposit: SealDeposit) -> Permit:
    try:
        return codec.decode_as(deposit.permit, Permit)
    except BadInput as error:
        raise Refused(errors.NOT_DEPOSITABLE) from error
