"""Evidence against a custodian: what it signed, and what the ledger says, in a file that anybody checks offline.

    false-release   its re-encryption is not one by the keys that it states, or its seal is not the descriptor's
    forked-log      two of its statements name different entries at one place of a stream's log
    omitted         its log, told later than a release, does not hold the release
    no-receipt      it released under a receipt that was never on the ledger, or that was for another stream
    outside         it released before or after its receipt's life, or a segment that the receipt is not for

A file holds a signed header, and proofs under it of every key that the check reads: who makes it runs the same check
over the ledger and keeps what it read. A file shows nothing but what its check comes to; an honest custodian never
signs what makes one. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.queries import Receipt
from caremesh.contracts.members import queries as members
from caremesh.contracts.records import queries as records
from caremesh.crypto.reencryption import BAD_REENCRYPTION, check_reencryption, seal_hash
from caremesh.errors import BadInput, ErrorCode, Tampered
from caremesh.ledger.light import Answer, LightBlock, LightClient, check_answer
from caremesh.ledger.state import Reader
from caremesh.sealing import custody
from caremesh.sealing.custody import LogAnswer, Release, Signed
from caremesh.sealing.descriptor import read_descriptor
from caremesh.sealing.release_log import START, LogEntry, check_anchored, check_chain, link_of, root_of
from caremesh.types import Count, Did, Digest, Height, Multikey, Seconds, StreamId

CLOCK_SLACK_S: Final[Seconds] = 60
"""How far a custodian's clock may be off before its log entry counts as outside the receipt."""
MEMORY_S: Final[Seconds] = 3 * 365 * 86_400
"""For how long at least the ledger keeps receipts (EHDS Art. 9): later, that one is not there shows nothing."""

Kind: TypeAlias = Literal["false-release", "forked-log", "omitted", "no-receipt", "outside"]

SHOWS_NOTHING = ErrorCode(
    "evidence.01", "This does not show what it is said to show.", "Do not hold it against the custodian."
)
NOT_EVIDENCE = ErrorCode("evidence.02", "This is not an evidence file, or it was changed.", "Ask for it again.")
NOT_PROVEN = ErrorCode("evidence.03", "The file lacks the proof of something that its check reads.", "Ask for another.")


class Claim(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a custodian is said to have done, and what it signed. ``descriptor``: when it is the seal that is false."""

    kind: Kind
    custodian: Did
    signed: Annotated[list[Signed], Meta(min_length=1, max_length=2)]
    descriptor: bytes = b""


class Evidence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file: DAG-CBOR of this. ``answers``: proofs of all that the check reads, at the header's height."""

    v: Literal[1]
    chain: str
    claim: Claim
    block: LightBlock
    answers: list[Answer]


class Shown(NamedTuple):
    """What evidence shows; ``height`` and ``time`` of the header that it stands on."""

    kind: Kind
    custodian: Did
    sentence: str
    height: Height
    time: Seconds


class Proven:
    """A reader of what answers prove under a verified header, and of nothing else."""

    def __init__(self, values: dict[bytes, bytes | None]) -> None:
        self._values: Final = values

    def get(self, key: bytes) -> bytes | None:
        """The proven value, or None for a key that is proven absent. Raises Tampered evidence.03."""
        if key not in self._values:
            raise Tampered(NOT_PROVEN)
        return self._values[key]


class Recorder:
    """A reader that keeps a proof of everything that is read through it."""

    def __init__(self, query: Callable[[bytes], Answer]) -> None:
        self._query: Final = query
        self.answers: Final[dict[bytes, Answer]] = {}

    def get(self, key: bytes) -> bytes | None:
        """The value, from an answer that is kept."""
        if key not in self.answers:
            self.answers[key] = self._query(key)
        return self.answers[key].proof.value


def make(claim: Claim, block: LightBlock, query: Callable[[bytes], Answer]) -> Evidence:
    """Evidence for a claim. ``query``: an answer at the block's height. Raises Tampered evidence.01."""
    header, recorder = block.signed.content(), Recorder(query)
    judge(recorder, header.time, claim)
    return Evidence(v=1, chain=header.chain, claim=claim, block=block, answers=list(recorder.answers.values()))


def read(data: bytes) -> Evidence:
    """Evidence from a file. Raises Tampered evidence.02."""
    try:
        return codec.decode_as(data, Evidence)
    except BadInput as error:
        raise Tampered(NOT_EVIDENCE, error.place) from error


def verify(evidence: Evidence, client: LightClient, now: Seconds) -> Shown:
    """What the file shows to whoever trusts the client's validators. Raises Tampered evidence.01, .03, light.NN."""
    header = client.verify(evidence.block, now)
    reader = Proven({answer.key: check_answer(header, answer) for answer in evidence.answers})
    sentence = judge(reader, header.time, evidence.claim)
    return Shown(evidence.claim.kind, evidence.claim.custodian, sentence, header.height, header.time)


def judge(reader: Reader, time: Seconds, claim: Claim) -> str:
    """The sentence that says what a claim shows. ``time``: of the header whose state is read.

    Raises Tampered evidence.01 when it shows nothing, custody.01 and custody.02 when the custodian did not sign this.
    """
    member = members.member(reader, claim.custodian)
    if member is None:
        raise Tampered(SHOWS_NOTHING, "no member")
    key = member.keys.node
    if claim.kind == "false-release":
        return _false_release(_release(claim.signed[0], key, claim.custodian), claim.descriptor)
    if claim.kind == "forked-log":
        return _forked(reader, claim, key)
    if claim.kind == "omitted":
        return _omitted(claim, key)
    for entry in _entries(claim.signed[0], key, claim.custodian):
        found = why_not(reader, entry)
        if found == claim.kind and entry.at + CLOCK_SLACK_S <= time <= entry.at + MEMORY_S:
            return f"Entry {entry.index} of its log is a release without a receipt that allowed it ({found})."
    raise Tampered(SHOWS_NOTHING, claim.kind)


def why_not(reader: Reader, entry: LogEntry) -> Literal["", "no-receipt", "outside"]:
    """What is wrong with an entry of a log; nothing when its receipt allowed it."""
    receipt = access.receipt(reader, entry.receipt)
    if receipt is None or receipt.stream != entry.stream:
        return "no-receipt"
    return "" if _within(reader, receipt, entry) else "outside"


def _within(reader: Reader, receipt: Receipt, entry: LogEntry) -> bool:
    if not receipt.at - CLOCK_SLACK_S <= entry.at < receipt.expires + CLOCK_SLACK_S:
        return False
    found = records.named(reader, entry.stream, entry.descriptor)
    return found is not None and access.covers(receipt, found[0], found[1].registered)


def _false_release(release: Release, descriptor: bytes) -> str:
    if descriptor:
        table = read_descriptor(descriptor)
        if codec.cid_of_cbor(descriptor) == release.descriptor and table.seal != seal_hash(release.seal):
            return "It released another seal than the one that the segment's descriptor names."
        raise Tampered(SHOWS_NOTHING, "seal")
    keys = release.keys
    try:
        check_reencryption(release.seal, release.reencryption, keys.verifying, keys.delegating, keys.receiving, "")
    except Tampered as error:
        if error.error is BAD_REENCRYPTION:
            return "Its re-encryption is not that of this seal by a fragment of the keys that it states."
        raise Tampered(SHOWS_NOTHING, error.code) from error
    raise Tampered(SHOWS_NOTHING, "re-encryption")


def _forked(reader: Reader, claim: Claim, key: Multikey) -> str:
    said = _log(claim.signed[0], key, claim.custodian) if not _is_release(claim.signed[0]) else None
    if said is not None:
        try:
            check_chain(said.stream, said.entries, said.head)
        except Tampered:
            return "It signed a log that does not hold together."
    places = [_places(signed, key, claim.custodian) for signed in claim.signed]
    if len(places) == 2:
        for place, link in places[0].items():
            if places[1].get(place, link) != link:
                return f"It signed two different entries at place {place[1]} of one log."
    reported = access.anchor(reader, claim.custodian)
    if said is None or said.anchor is None or reported is None or root_of(said.anchor) != reported.root:
        raise Tampered(SHOWS_NOTHING, "log")
    try:
        check_anchored(said.stream, said.entries, reported.root, said.anchor)
    except Tampered:
        return "Its log is not the one whose root it anchored on the ledger."
    raise Tampered(SHOWS_NOTHING, "anchor")


def _omitted(claim: Claim, key: Multikey) -> str:
    if len(claim.signed) == 2:
        release = _release(claim.signed[0], key, claim.custodian)
        said = _log(claim.signed[1], key, claim.custodian)
        later = said.at > release.at + CLOCK_SLACK_S  # what is being logged while the log is read is no fault
        if said.stream == release.stream and later and said.head.count <= release.log.index:
            return f"It released, and later told a log of {said.head.count} entries without that release."
    raise Tampered(SHOWS_NOTHING, "log")


def _places(signed: Signed, key: Multikey, custodian: Did) -> dict[tuple[StreamId, Count], Digest]:
    """What a statement says stands where: (stream, index) → link."""
    return {(stream, index): link for stream, index, link in _links(signed, key, custodian)}


def _links(signed: Signed, key: Multikey, custodian: Did) -> Iterable[tuple[StreamId, Count, Digest]]:
    if _is_release(signed):
        release = _release(signed, key, custodian)
        yield release.stream, release.log.index, release.log.entry
        if release.log.index:
            yield release.stream, release.log.index - 1, release.log.previous
        elif release.log.previous != START:
            raise Tampered(SHOWS_NOTHING, "log")
    else:
        said = _log(signed, key, custodian)
        for entry in said.entries:
            yield entry.stream, entry.index, link_of(entry)


def _entries(signed: Signed, key: Multikey, custodian: Did) -> list[LogEntry]:
    """The entries of a log; of a release, its own."""
    if not _is_release(signed):
        return _log(signed, key, custodian).entries
    release = _release(signed, key, custodian)
    place = release.log
    entry = LogEntry(release.stream, place.index, place.previous, release.receipt, release.descriptor, release.at)
    return [entry]


def _is_release(signed: Signed) -> bool:
    try:
        codec.decode_as(signed.payload, Release)
    except BadInput:
        return False
    return True


def _release(signed: Signed, key: Multikey, custodian: Did) -> Release:
    release = custody.open_signed(custody.RELEASE, signed, Release, key, custodian)
    if release.custodian != custodian:
        raise Tampered(SHOWS_NOTHING, "custodian")
    return release


def _log(signed: Signed, key: Multikey, custodian: Did) -> LogAnswer:
    said = custody.open_signed(custody.LOG_ANSWER, signed, LogAnswer, key, custodian)
    if said.custodian != custodian:
        raise Tampered(SHOWS_NOTHING, "custodian")
    return said
