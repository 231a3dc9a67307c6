"""A certificate of erasure: who confirmed by signature that nothing of a segment is left, checked offline.

A file holds the confirmations, a signed header, and proofs under it of all that the check reads: that the segment is
erased, who its stream's custodians are, and whose keys signed. It also says who had read it before. What was never the
mesh's to erase is out still: what readers kept, backups until their end of life, the source's own statutory record.
Fewer than *t* seals left is what makes a segment unreadable: that is when ``n - t + 1`` custodians confirmed. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.contracts.access import queries as access
from caremesh.contracts.members import queries as members
from caremesh.contracts.records import queries as records
from caremesh.contracts.streams import queries as streams
from caremesh.contracts.streams.state import Stream
from caremesh.errors import BadInput, ErrorCode, Tampered
from caremesh.ledger.blocks import BlockHeader
from caremesh.ledger.light import Answer, LightBlock, LightClient, check_answer
from caremesh.ledger.state import Reader
from caremesh.sealing import custody
from caremesh.sealing.custody import ErasureConfirmation, Kept, Signed
from caremesh.sealing.evidence import Proven, Recorder
from caremesh.types import Count, Did, Height, Seconds, StreamId

NOT_A_CERTIFICATE = ErrorCode(
    "certificate.01", "This is not a certificate of erasure, or it was changed.", "Ask for it again."
)
NOT_SHOWN = ErrorCode("certificate.02", "The ledger does not say that this segment is erased.", "Erase it first.")
OTHER_SEGMENT = ErrorCode(
    "certificate.03", "A confirmation in this certificate is of something else.", "Ask for another certificate."
)


class Certificate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file: DAG-CBOR of this. ``answers``: proofs of all that the check reads, at the header's height."""

    v: Literal[1]
    kind: Literal["erasure"]
    chain: str
    stream: StreamId
    segment: Count
    confirmations: Annotated[list[Signed], Meta(max_length=1_024)]
    block: LightBlock
    answers: Annotated[list[Answer], Meta(max_length=16_384)]


class Confirmed(NamedTuple):
    """One member has confirmed that it keeps nothing of a kind; when, by its clock."""

    member: Did
    kept: Kept
    at: Seconds


class Erasure(NamedTuple):
    """What a certificate shows. ``missing``: custodians that have not confirmed; ``read_by``: who had it opened before.

    ``height``, ``time``: of the header that it stands on.
    """

    stream: StreamId
    segment: Count
    confirmed: list[Confirmed]
    missing: list[Did]
    source: Did
    source_confirmed: bool
    unreadable: bool
    """So many custodians have confirmed that fewer seals are left than it takes."""
    by_duty: str
    read_by: list[Did]
    height: Height
    time: Seconds


def make(
    stream: StreamId,
    segment: Count,
    confirmations: Sequence[Signed],
    block: LightBlock,
    query: Callable[[bytes], Answer],
) -> Certificate:
    """A certificate. ``query``: an answer at the block's height.

    Raises Tampered certificate.02, certificate.03, custody.01, custody.02.
    """
    header, recorder = block.signed.content(), Recorder(query)
    _judge(recorder, header, stream, segment, confirmations)
    return Certificate(
        v=1,
        kind="erasure",
        chain=header.chain,
        stream=stream,
        segment=segment,
        confirmations=list(confirmations),
        block=block,
        answers=list(recorder.answers.values()),
    )


def read(data: bytes) -> Certificate:
    """A certificate from a file. Raises Tampered certificate.01."""
    try:
        return codec.decode_as(data, Certificate)
    except BadInput as error:
        raise Tampered(NOT_A_CERTIFICATE, error.place) from error


def verify(certificate: Certificate, client: LightClient, now: Seconds) -> Erasure:
    """What it shows to whoever trusts the client's validators.

    Raises Tampered certificate.01 to certificate.03, custody.01, custody.02, evidence.03, light.NN.
    """
    header = client.verify(certificate.block, now)
    if header.chain != certificate.chain:
        raise Tampered(NOT_A_CERTIFICATE, "chain")
    reader = Proven({answer.key: check_answer(header, answer) for answer in certificate.answers})
    return _judge(reader, header, certificate.stream, certificate.segment, certificate.confirmations)


def check(reader: Reader, stream: StreamId, segment: Count, signed: Signed) -> Confirmed:
    """One confirmation, by the node key that the ledger has of its maker.

    Raises Tampered certificate.03, custody.01, custody.02.
    """
    try:
        claimed = codec.decode_as(signed.payload, ErasureConfirmation).member
    except BadInput as error:
        raise Tampered(OTHER_SEGMENT, "confirmation") from error
    member = members.member(reader, claimed)
    if member is None:
        raise Tampered(OTHER_SEGMENT, claimed)
    said = custody.open_signed(custody.ERASURE_CONFIRMATION, signed, ErasureConfirmation, member.keys.node, claimed)
    if (said.stream, said.segment, said.erased) != (stream, segment, True):
        raise Tampered(OTHER_SEGMENT, claimed)
    return Confirmed(said.member, said.kept, said.at)


def missing_seals(stream: Stream, confirmed: Iterable[Confirmed]) -> list[Did]:
    """Its custodians that have not confirmed that their seal is gone. Fewer than the threshold: nobody can open it."""
    gone = {entry.member for entry in confirmed if entry.kept == "seals"}
    return [custodian for custodian in stream.custodians if custodian not in gone]


def _judge(
    reader: Reader, header: BlockHeader, stream: StreamId, segment: Count, confirmations: Sequence[Signed]
) -> Erasure:
    known, opened = records.segment(reader, stream, segment), streams.stream(reader, stream)
    if known is None or opened is None or known.status != "erased":
        raise Tampered(NOT_SHOWN, f"segment {segment}")
    confirmed = [check(reader, stream, segment, signed) for signed in confirmations]
    missing = missing_seals(opened, confirmed)
    receipts = [entry for entry in access.of_stream(reader, stream) if isinstance(entry, access.Receipt)]
    return Erasure(
        stream=stream,
        segment=segment,
        confirmed=confirmed,
        missing=missing,
        source=known.source,
        source_confirmed=any((entry.member, entry.kept) == (known.source, "keys") for entry in confirmed),
        unreadable=len(missing) < opened.threshold,
        by_duty=known.duty or "",
        read_by=sorted({entry.member for entry in receipts if access.covers(entry, segment, known.registered)}),
        height=header.height,
        time=header.time,
    )
