"""What a custodian checks before it keeps a deposit: whose it is, for whom, and that it is what it says. Pure.

Fragments and seals sealed anew come from the stream's own key; first seals come from the source, under its permit.
"""

from __future__ import annotations

from typing import TypeVar

from caremesh import codec
from caremesh.contracts.members import queries as members
from caremesh.contracts.streams import queries as streams
from caremesh.contracts.streams.messages import PERMIT_DOMAIN, Permit
from caremesh.crypto import signatures
from caremesh.crypto.reencryption import Seal, check_fragment, seal_hash
from caremesh.custodian import errors
from caremesh.errors import BadInput, Refused, Tampered
from caremesh.ledger.state import Reader
from caremesh.sealing import custody
from caremesh.sealing.custody import FragmentDeposit, ReleaseRequest, ResealDeposit, SealDeposit, Signed, StreamRequest
from caremesh.sealing.descriptor import Descriptor, read_descriptor
from caremesh.types import Did, Multikey, StreamId

T = TypeVar("T", SealDeposit, ReleaseRequest, StreamRequest)


def fragment(reader: Reader, me: Did, hpke_private: bytes, sealed: bytes) -> tuple[Signed, FragmentDeposit]:
    """A wallet's fragment. Raises Tampered, Refused custodian.20, reencryption.06; BadInput reencryption.02."""
    signed = custody.open_by_custodian(custody.FRAGMENT_DEPOSIT, hpke_private, me, sealed)
    deposit = custody.open_signed(custody.FRAGMENT_DEPOSIT, signed, FragmentDeposit, signed.key)
    if not _is_owner(reader, deposit.stream, signed.key) or deposit.custodian != me:
        raise Refused(errors.NOT_DEPOSITABLE)
    check_fragment(deposit.fragment, deposit.verifying, deposit.delegating, deposit.receiving)
    return signed, deposit


def seal(reader: Reader, me: Did, data: bytes) -> tuple[Signed, SealDeposit]:
    """A source's seal. Raises Tampered, Refused custodian.13, custodian.20."""
    signed = custody.read_signed(data)
    claimed = peek(signed, SealDeposit)
    source = members.member(reader, claimed.source)
    if source is None or source.status != "active":
        raise Refused(errors.NOT_DEPOSITABLE)
    deposit = custody.open_signed(custody.SEAL_DEPOSIT, signed, SealDeposit, source.keys.node)
    permit = _permit(deposit)
    signatures.verify(permit.key, PERMIT_DOMAIN + deposit.permit, deposit.permit_signature)
    if (
        permit.stream != deposit.stream
        or permit.source != deposit.source
        or me not in permit.custodians
        or (permit.rotation == 0 and signatures.stream_of(permit.key) != permit.stream)
    ):
        raise Refused(errors.NOT_DEPOSITABLE)
    _described(deposit.stream, deposit.descriptor, deposit.seal)
    return signed, deposit


def reseal(reader: Reader, me: Did, hpke_private: bytes, sealed: bytes) -> tuple[Signed, SealDeposit]:
    """A wallet's seal of a segment of its own, made anew. Raises Tampered, Refused custodian.13, custodian.20."""
    signed = custody.open_by_custodian(custody.RESEAL_DEPOSIT, hpke_private, me, sealed)
    deposit = custody.open_signed(custody.RESEAL_DEPOSIT, signed, ResealDeposit, signed.key)
    stream = streams.stream(reader, deposit.stream)
    if stream is None or signed.key != stream.key or deposit.custodian != me or me not in stream.custodians:
        raise Refused(errors.NOT_DEPOSITABLE)
    described = _described(deposit.stream, deposit.descriptor, deposit.seal)
    return signed, SealDeposit(
        stream=deposit.stream,
        source=described.source,
        descriptor=deposit.descriptor,
        seal=deposit.seal,
        permit=b"",
        permit_signature=bytes(64),
    )


def peek(signed: Signed, kind: type[T]) -> T:
    """What a signed object claims, to find out whose signature to ask for. Raises Tampered custody.01."""
    try:
        return codec.decode_as(signed.payload, kind)
    except BadInput as error:
        raise Tampered(custody.NOT_SIGNED, kind.__name__) from error


def _is_owner(reader: Reader, stream: StreamId, key: Multikey) -> bool:
    """Whether a key is the stream's: the current one, or of a stream that is not open yet the first."""
    known = streams.stream(reader, stream)
    return signatures.stream_of(key) == stream if known is None else key == known.key


def _described(stream: StreamId, data: bytes, sealed: Seal) -> Descriptor:
    descriptor = read_descriptor(data)
    if descriptor.stream != stream or descriptor.seal != seal_hash(sealed):
        raise Refused(errors.SEAL_MISMATCH)
    return descriptor


def _permit(deposit: SealDeposit) -> Permit:
    try:
        return codec.decode_as(deposit.permit, Permit)
    except BadInput as error:
        raise Refused(errors.NOT_DEPOSITABLE) from error
