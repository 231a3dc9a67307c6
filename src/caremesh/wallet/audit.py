"""Who looked, when, why, by which rule, and what was released: the ledger's receipts against the logs. Pure.

The ledger says what was allowed and refused; each custodian's log says what it released. What to believe:
- an opening takes *t* custodians. While fewer than *t* are dishonest, at least one honest one took part, and its log
  shows it: no entry in any of *n* true logs means that nothing was opened;
- a log that is missing, or does not hold together, is *unknown*, never *fine*;
- what a custodian has anchored on the ledger must still be in its log;
- an entry without a receipt of this stream, or outside its receipt's life, is a finding against its custodian.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from caremesh.codec import CID
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.queries import Anchor, Receipt
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.streams import queries as streams
from caremesh.errors import CareMeshError, Tampered
from caremesh.ledger.state import Reader
from caremesh.sealing import custody
from caremesh.sealing.custody import LogAnswer, Signed
from caremesh.sealing.evidence import Claim, Kind, why_not
from caremesh.sealing.release_log import (
    NOT_ANCHORED,
    HeadProof,
    LogEntry,
    LogHead,
    check_anchored,
    check_chain,
)
from caremesh.types import Code, ConsentId, Count, Did, ReceiptId, Seconds, StreamId
from caremesh.wallet import state as states
from caremesh.wallet.asking import LogKeepers, ask
from caremesh.wallet.state import Located, WalletState

Released: TypeAlias = Literal["yes", "partly", "no", "unknown"]
"""``yes``: at least *t* logs show the release of a segment. ``partly``: fewer do, and with the missing ones they would
still be fewer; it opened nothing unless custodians hide it. ``no``: all *n* logs are there and none does. ``unknown``:
a log is missing or broken, and may hold what would make it *yes*, or the only trace."""
FindingKind: TypeAlias = Literal["log-missing", "log-broken", "not-anchored", "no-receipt", "outside"]


class StreamLog(Struct, frozen=True, kw_only=True):
    """What one custodian hands out of its log: all entries of one stream, and the head that it stands by.

    ``anchor``: the stream's head under the root that the ledger has. ``signed``: all that, by the custodian.
    """

    custodian: Did
    stream: StreamId
    entries: list[LogEntry]
    head: LogHead
    anchor: HeadProof | None = None
    signed: Signed | None = None


class Seen(Struct, frozen=True, kw_only=True):
    """A log's entry for one segment. ``at``: seconds UTC, by the custodian's clock."""

    custodian: Did
    descriptor: CID
    index: Count
    at: Seconds


class Access(Struct, frozen=True, kw_only=True):
    """One access, allowed or refused. ``share``: the share that its consent belongs to, empty when it is not known."""

    at: Seconds
    outcome: Literal["permitted", "refused"]
    category: Code
    stream: StreamId
    source: Did
    consent: ConsentId
    share: bytes
    member: Did
    requester: Did | None
    asserted: bool
    action: Code
    purpose: Code
    legal_basis: list[Code]
    rules: list[str]
    """Policies that decided, or the codes of the checks that failed."""
    receipt: ReceiptId | None
    released: Released
    releases: list[Seen]


class Finding(Struct, frozen=True, kw_only=True):
    """Something that is not as it should be, and whose log shows it (or does not).

    ``claim``: what the custodian signed, where that shows it to others too.
    """

    kind: FindingKind
    custodian: Did
    category: Code
    stream: StreamId
    place: str
    claim: Claim | None = None


class Audit(Struct, frozen=True, kw_only=True):
    """Accesses, newest first, and findings."""

    accesses: list[Access]
    findings: list[Finding]


def own_log(reader: Reader, located: Located, custodian: Did, keepers: LogKeepers, now: Seconds) -> StreamLog:
    """One custodian's log of one stream, under its signature. Raises what ``asking.ask`` raises."""
    domains = custody.LOG_REQUEST, custody.LOG_ANSWER
    said, signed = ask(reader, located, custodian, domains, LogAnswer, keepers.own_log, now)
    return StreamLog(
        custodian=custodian,
        stream=said.stream,
        entries=said.entries,
        head=said.head,
        anchor=said.anchor,
        signed=signed,
    )


def own_logs(state: WalletState, reader: Reader, keepers: LogKeepers, now: Seconds) -> list[StreamLog]:
    """The logs of all streams from all their custodians; those that are not to be had are left out."""
    found = []
    for located in states.streams(state):
        stream = streams.stream(reader, located.stream.id)
        for custodian in [] if stream is None else stream.custodians:
            with suppress(CareMeshError):
                found.append(own_log(reader, located, custodian, keepers, now))
    return found


def audit(state: WalletState, reader: Reader, logs: Sequence[StreamLog]) -> Audit:
    """Every access to this wallet's streams that the ledger knows of, with what the logs say, newest first.

    ``logs``: what custodians handed out, at most one for each custodian and stream; one that is not there is shown as
    missing. Nothing is asked of anybody here: reader and logs decide alone.
    """
    accesses: list[Access] = []
    findings: list[Finding] = []
    for located in states.streams(state):
        stream = located.stream.id
        mine = [log for log in logs if log.stream == stream]
        judged = _judge_logs(reader, located, mine)
        findings += judged.findings
        accesses += _accesses(state, reader, located, judged)
    return Audit(
        accesses=sorted(accesses, key=lambda entry: (-entry.at, entry.stream, entry.receipt or b"")), findings=findings
    )


class _Judged(Struct, frozen=True, kw_only=True):
    """What the logs of one stream's custodians say."""

    findings: list[Finding]
    seen: list[tuple[ReceiptId, Seen]]
    silent: Count
    """How many logs are missing or broken: then *no* cannot be said."""
    threshold: Count


def _judge_logs(reader: Reader, located: Located, logs: list[StreamLog]) -> _Judged:
    stream = streams.stream(reader, located.stream.id)
    custodians = [] if stream is None else stream.custodians
    by_custodian = {log.custodian: log for log in logs}
    findings: list[Finding] = []
    seen: list[tuple[ReceiptId, Seen]] = []
    for custodian in custodians:
        log = by_custodian.get(custodian)
        if log is None:
            findings.append(_finding("log-missing", custodian, located, ""))
            continue
        try:
            check_chain(located.stream.id, log.entries, log.head)
        except Tampered as error:
            findings.append(_finding("log-broken", custodian, located, error.place, log.signed))
            continue
        reported = access.anchor(reader, custodian)
        try:
            _check_anchor(log, reported)
        except Tampered as error:
            findings.append(
                _finding("not-anchored", custodian, located, error.place, log.signed if log.anchor else None)
            )
        for entry in log.entries:
            wrong = why_not(reader, entry)
            if wrong:
                findings.append(_finding(wrong, custodian, located, f"entry {entry.index}", log.signed))
            found = Seen(custodian=custodian, descriptor=entry.descriptor, index=entry.index, at=entry.at)
            seen.append((entry.receipt, found))
    silent = sum(finding.kind in ("log-missing", "log-broken", "not-anchored") for finding in findings)
    return _Judged(findings=findings, seen=seen, silent=silent, threshold=0 if stream is None else stream.threshold)


def _check_anchor(log: StreamLog, reported: Anchor | None) -> None:
    if reported is None:
        return  # nothing is anchored yet
    if log.anchor is None:
        raise Tampered(NOT_ANCHORED, "root")
    check_anchored(log.stream, log.entries, reported.root, log.anchor)


def _accesses(state: WalletState, reader: Reader, located: Located, judged: _Judged) -> list[Access]:
    shares = {item.consent: record.id for record in state.shares for item in record.items}
    found = []
    for consent in consents.of_stream(reader, located.stream.id):
        for record in access.of_consent(reader, consent.id):
            permitted = isinstance(record, Receipt)
            releases = [seen for receipt, seen in judged.seen if permitted and receipt == record.id]
            found.append(
                Access(
                    at=record.at,
                    outcome="permitted" if permitted else "refused",
                    category=located.stream.category,
                    stream=located.stream.id,
                    source=located.member,
                    consent=consent.id,
                    share=shares.get(consent.id, b""),
                    member=record.member,
                    requester=None if record.asserted else record.requester,
                    asserted=record.asserted,
                    action=record.action,
                    purpose=record.purpose,
                    legal_basis=record.legal_basis,
                    rules=record.policies if isinstance(record, Receipt) else [record.why, *record.policies],
                    receipt=record.id if permitted else None,
                    released=_released(releases, judged) if permitted else "no",
                    releases=releases,
                )
            )
    return found


def _released(releases: list[Seen], judged: _Judged) -> Released:
    counts: dict[CID, set[Did]] = {}
    for seen in releases:
        counts.setdefault(seen.descriptor, set()).add(seen.custodian)
    most = max(map(len, counts.values()), default=0)
    if most and most >= judged.threshold:
        return "yes"
    if judged.silent and (not most or most + judged.silent >= judged.threshold):
        return "unknown"
    return "partly" if most else "no"


_SHOWN: Final[dict[FindingKind, Kind]] = {
    "log-broken": "forked-log",
    "not-anchored": "forked-log",
    "no-receipt": "no-receipt",
    "outside": "outside",
}


def _finding(kind: FindingKind, custodian: Did, located: Located, place: str, signed: Signed | None = None) -> Finding:
    return Finding(
        kind=kind,
        custodian=custodian,
        category=located.stream.category,
        stream=located.stream.id,
        place=place,
        claim=Claim(kind=_SHOWN[kind], custodian=custodian, signed=[signed]) if signed else None,
    )
