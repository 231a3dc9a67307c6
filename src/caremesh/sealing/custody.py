"""What wallet, source, custodian and requester hand each other, each under its maker's signature. No I/O.

    Signed        = DAG-CBOR { payload: DAG-CBOR of one of the structures below, key, signature }
    signing input = domain ‖ 0x00 ‖ payload          one domain for each kind, so that none can pass for another
    sealed        = HPKE(custodian's key, Signed), info = domain, aad = custodian's DID

    FragmentDeposit     wallet → custodian     by the stream's current key
    SealDeposit         source → custodian     by the source's node key
    ResealDeposit       wallet → custodian     by the stream's current key
    Acknowledgement     custodian → depositor  by the custodian's node key
    ReleaseRequest      requester → custodian  by the receipt's requester or visit key (asserted: the member's node key)
    Release             custodian → requester  by the custodian's node key
    DestroyConfirmation custodian → anybody    by the custodian's node key
    ErasureConfirmation member → anybody       by the member's node key
    StreamRequest       wallet → custodian     by the stream's current key
                        custodian → custodian  by a node key, for seals of a stream that both keep
    SealAnswer          custodian → either     by the custodian's node key
    LogAnswer           custodian → wallet     by the custodian's node key

Whether the key is the one that the ledger names is for the reader to say, by ``expected_key``.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias, TypeVar

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.codec import CID
from caremesh.crypto import envelope, signatures
from caremesh.crypto.hashes import tagged_hash
from caremesh.crypto.reencryption import FRAGMENT_BYTES, REENCRYPTION_BYTES, Seal
from caremesh.errors import BadInput, ErrorCode, Tampered
from caremesh.ledger.transactions import Signs
from caremesh.sealing.release_log import HeadProof, LogEntry, LogHead
from caremesh.types import (
    Bytes16,
    ConsentId,
    Count,
    Did,
    Digest,
    Multikey,
    ReceiptId,
    ReencryptionKey,
    Seconds,
    Signature,
    StreamId,
)

T = TypeVar("T", bound=Struct)
Kept: TypeAlias = Literal["seals", "blocks", "keys"]
"""What a member may keep of a segment."""

FRAGMENT_DEPOSIT: Final = "caremesh/fragment-deposit/v1"
SEAL_DEPOSIT: Final = "caremesh/seal-deposit/v1"
RESEAL_DEPOSIT: Final = "caremesh/reseal-deposit/v1"
ACKNOWLEDGEMENT: Final = "caremesh/acknowledgement/v1"
RELEASE_REQUEST: Final = "caremesh/release-request/v1"
RELEASE: Final = "caremesh/release/v1"
DESTROY_CONFIRMATION: Final = "caremesh/destroy-confirmation/v1"
SEAL_REQUEST: Final = "caremesh/seal-request/v1"
SEAL_ANSWER: Final = "caremesh/seal-answer/v1"
LOG_REQUEST: Final = "caremesh/log-request/v1"
LOG_ANSWER: Final = "caremesh/log-answer/v1"
ERASURE_CONFIRMATION: Final = "caremesh/erasure-confirmation/v1"

MAX_PAYLOAD_BYTES: Final = 16 * 1024 * 1024
MAX_DESCRIPTOR_BYTES: Final = 64 * 1024
MAX_DESCRIPTORS: Final = 1024
MAX_KEPT_RELEASES: Final = 65_536
"""Segments in one release request."""

NOT_SIGNED = ErrorCode(
    "custody.01", "This is not a signed object of this kind, or it was changed.", "Ask for it again."
)
OTHER_KEY = ErrorCode("custody.02", "This is signed by another key than the one that must sign it.")
NOT_FOR_YOU = ErrorCode(
    "custody.03",
    "This deposit was changed, or was sealed to another custodian or for another purpose.",
    "Deposit anew.",
)


class FragmentDeposit(Struct, frozen=True, kw_only=True):
    """One custodian's fragment of a delegation, before its consent is on the ledger; inert until it is active."""

    consent: ConsentId
    stream: StreamId
    epoch: Count
    custodian: Did
    fragment: Annotated[bytes, Meta(min_length=FRAGMENT_BYTES, max_length=FRAGMENT_BYTES)]
    delegating: ReencryptionKey
    """The stream's reading key of the epoch."""
    receiving: ReencryptionKey
    """The grantee's."""
    verifying: ReencryptionKey
    """The fresh signer's, for this grant alone."""

    def __repr__(self) -> str:
        return f"FragmentDeposit({self.consent.hex()}, {self.custodian})"


class SealDeposit(Struct, frozen=True, kw_only=True):
    """A segment's descriptor and seal, with the permit under which the source writes."""

    stream: StreamId
    source: Did
    descriptor: Annotated[bytes, Meta(max_length=MAX_DESCRIPTOR_BYTES)]
    """The descriptor itself; its CID is what is registered."""
    seal: Seal
    permit: Annotated[bytes, Meta(max_length=MAX_DESCRIPTOR_BYTES)]
    """Bytes of the write permit, and below the stream key's signature over them."""
    permit_signature: Signature

    def __repr__(self) -> str:
        return f"SealDeposit({self.stream.hex()})"


class ResealDeposit(Struct, frozen=True, kw_only=True):
    """A segment's descriptor and seal as its owner made them anew, before ``records/reseal`` puts them in place."""

    stream: StreamId
    custodian: Did
    descriptor: Annotated[bytes, Meta(max_length=MAX_DESCRIPTOR_BYTES)]
    seal: Seal

    def __repr__(self) -> str:
        return f"ResealDeposit({self.stream.hex()})"


class Acknowledgement(Struct, frozen=True, kw_only=True):
    """The custodian keeps it durably. ``what``: ``deposit_digest`` of the signed deposit."""

    custodian: Did
    what: Digest


class ReleaseRequest(Struct, frozen=True, kw_only=True):
    """Asks one custodian to re-encrypt segments of one stream under a receipt. ``at``: seconds UTC."""

    receipt: ReceiptId
    stream: StreamId
    descriptors: Annotated[list[CID], Meta(min_length=1, max_length=MAX_DESCRIPTORS)]
    custodian: Did
    nonce: Bytes16
    at: Seconds


class LogPosition(Struct, frozen=True, kw_only=True):
    """Where a release stands in its stream's log: the entry's index, the link before it, its own link."""

    index: Count
    previous: Digest
    entry: Digest


class FragmentKeys(Struct, frozen=True, kw_only=True):
    """The keys of a fragment: of its signer, of who gives, of who receives."""

    verifying: ReencryptionKey
    delegating: ReencryptionKey
    receiving: ReencryptionKey


class Release(Struct, frozen=True, kw_only=True):
    """One segment released: its seal, this custodian's re-encryption under these keys, and where it is logged.

    ``at``: seconds UTC, as in the log.
    """

    receipt: ReceiptId
    stream: StreamId
    descriptor: CID
    custodian: Did
    at: Seconds
    keys: FragmentKeys
    seal: Seal
    reencryption: Annotated[bytes, Meta(min_length=REENCRYPTION_BYTES, max_length=REENCRYPTION_BYTES)]
    log: LogPosition

    def __repr__(self) -> str:
        return f"Release({self.receipt.hex()}, {self.custodian})"


class DestroyConfirmation(Struct, frozen=True, kw_only=True):
    """The custodian destroyed its fragment of this consent at this time (seconds UTC)."""

    consent: ConsentId
    custodian: Did
    at: Seconds


class ErasureConfirmation(Struct, frozen=True, kw_only=True):
    """This member keeps nothing of a kind any more of a segment: of an erased one, of no version; of another, of none
    before ``version``. ``kept``: custodians keep seals, block stores blocks, sources keys. ``at``: seconds UTC.
    """

    stream: StreamId
    segment: Count
    version: Count
    erased: bool
    member: Did
    kept: Kept
    at: Seconds


class StreamRequest(Struct, frozen=True, kw_only=True):
    """The subject asks for the seals, or the log, of their own stream; a fellow custodian for seals that it lacks.

    No receipt: what a subject opens is theirs, and a custodian opens nothing. ``at``: seconds UTC.
    """

    stream: StreamId
    custodian: Did
    nonce: Bytes16
    at: Seconds


class HeldSeal(Struct, frozen=True, kw_only=True):
    """A segment's descriptor and seal, as a custodian or a wallet keeps them."""

    descriptor: Annotated[bytes, Meta(max_length=MAX_DESCRIPTOR_BYTES)]
    seal: Seal

    def __repr__(self) -> str:
        return "HeldSeal(…)"


class SealAnswer(Struct, frozen=True, kw_only=True):
    """All seals of the stream that this custodian holds. ``nonce``: that of the request."""

    stream: StreamId
    custodian: Did
    nonce: Bytes16
    seals: list[HeldSeal]

    def __repr__(self) -> str:
        return f"SealAnswer({self.stream.hex()}, {len(self.seals)} seals)"


class LogAnswer(Struct, frozen=True, kw_only=True):
    """All that was released of a stream. ``anchor``: its head under the root that the ledger has of this custodian."""

    stream: StreamId
    custodian: Did
    nonce: Bytes16
    at: Seconds
    entries: list[LogEntry]
    head: LogHead
    anchor: HeadProof | None


class Signed(Struct, frozen=True, kw_only=True):
    """Bytes of one of the structures above, and who signed them. Nothing in it is checked yet."""

    payload: Annotated[bytes, Meta(max_length=MAX_PAYLOAD_BYTES)]
    key: Multikey
    signature: Signature

    def __repr__(self) -> str:
        return f"Signed({len(self.payload)} bytes)"


def sign_payload(domain: str, value: Struct, key: Signs) -> Signed:
    """``value`` under the signature of ``key``, in the domain of its kind."""
    payload = codec.encode(value)
    return Signed(payload=payload, key=key.public, signature=key.sign(_signing_input(domain, payload)))


def read_signed(data: bytes, place: str = "") -> Signed:
    """Parse without believing anything; ``open_signed`` does the checks. Raises Tampered custody.01."""
    try:
        return codec.decode_as(data, Signed)
    except BadInput as error:
        raise Tampered(NOT_SIGNED, place) from error


class KeptReleases(Struct, frozen=True, kw_only=True):
    """A file of releases as custodians signed them: a recipient keeps it, a patient looks for them in the logs."""

    kind: Literal["caremesh/v1/releases"]
    signed: Annotated[list[Signed], Meta(max_length=MAX_KEPT_RELEASES)]


def keep_releases(signed: list[Signed]) -> bytes:
    """The file."""
    return codec.encode(KeptReleases(kind="caremesh/v1/releases", signed=signed))


def kept_releases(data: bytes, place: str = "") -> list[Signed]:
    """What is in the file; nothing of it is checked yet. Raises Tampered custody.01."""
    try:
        return codec.decode_as(data, KeptReleases).signed
    except BadInput as error:
        raise Tampered(NOT_SIGNED, place) from error


def open_signed(domain: str, signed: Signed, kind: type[T], expected_key: Multikey, place: str = "") -> T:
    """What was signed, when ``expected_key`` signed it as a ``kind`` in this domain.

    ``place`` names the object or its maker. Raises Tampered custody.01 (changed, or another kind), custody.02.
    """
    if signed.key != expected_key:
        raise Tampered(OTHER_KEY, place or kind.__name__)
    try:
        signatures.verify(signed.key, _signing_input(domain, signed.payload), signed.signature)
        return codec.decode_as(signed.payload, kind)
    except (BadInput, Tampered) as error:
        raise Tampered(NOT_SIGNED, place or kind.__name__) from error


def deposit_digest(signed: Signed) -> Digest:
    """What an acknowledgement acknowledges: H("caremesh/v1/deposit" ‖ the deposit with key and signature)."""
    return tagged_hash("caremesh/v1/deposit", codec.encode(signed))


def seal_to_custodian(domain: str, hpke_public: bytes, custodian: Did, signed: Signed) -> bytes:
    """A signed deposit that only this custodian reads. ``hpke_public``: 1,216 bytes. Raises BadInput envelope.01."""
    return envelope.hpke_seal(hpke_public, codec.encode(signed), domain.encode(), custodian.encode())


def open_by_custodian(domain: str, hpke_private: bytes, custodian: Did, sealed: bytes) -> Signed:
    """The custodian's side of ``seal_to_custodian``; nothing in the result is checked yet.

    Raises Tampered custody.03, custody.01.
    """
    try:
        data = envelope.hpke_open(hpke_private, sealed, domain.encode(), custodian.encode())
    except Tampered as error:
        raise Tampered(NOT_FOR_YOU) from error
    return read_signed(data)


def _signing_input(domain: str, payload: bytes) -> bytes:
    return domain.encode() + b"\0" + payload
