"""Who looked, when, why, by which rule, and what was released: the ledger's receipts against the logs. Pure.

The ledger says what was allowed and refused; each custodian's log says what it released. What to believe:
- an opening takes *t* custodians. While fewer than *t* are dishonest, at least one honest one took part, and its log
  shows it: no entry in any of *n* true logs means that nothing was opened;
- a log that is missing, or does not hold together, is *unknown*, never *fine*;
- what a custodian has anchored on the ledger must still be in its log;
- an entry without a receipt of this stream, or outside its receipt's life, is a finding against its custodian;
- a release that a custodian signed, and that its own log does not have, is an opening without an entry.
Whoever ever kept a fragment that is still good is asked, not only those who would get one today.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from caremesh import codec
from caremesh.codec import CID
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.queries import Anchor, Emergency, Receipt, Record, Refusal
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.streams import queries as streams
from caremesh.errors import Tampered
from caremesh.ledger.state import Reader
from caremesh.sealing.custody import Release, Signed
from caremesh.sealing.evidence import Claim, Kind, judge, why_not
from caremesh.sealing.release_log import (
    NOT_ANCHORED,
    check_anchored,
    check_chain,
)
from caremesh.types import Code, ConsentId, Count, Did, ReceiptId, Seconds, StreamId
from caremesh.wallet import state as states
from caremesh.wallet.logs import StreamLog, keepers
from caremesh.wallet.state import Located, WalletState

Released: TypeAlias = Literal["yes", "partly", "no", "unknown"]
"""``yes``: at least *t* logs show the release of a segment. ``partly``: fewer do, and with the missing ones they would
still be fewer; it opened nothing unless custodians hide it. ``no``: all *n* logs are there and none does. ``unknown``:
a log is missing or broken, and may hold what would make it *yes*, or the only trace."""
FindingKind: TypeAlias = Literal["log-missing", "log-broken", "not-anchored", "no-receipt", "outside", "no-entry"]


class Seen(Struct, frozen=True, kw_only=True):
    """A log's entry for one segment. ``at``: seconds UTC, by the custodian's clock."""

    custodian: Did
    descriptor: CID
    index: Count
    at: Seconds


class Questioned(Struct, frozen=True, kw_only=True):
    """A dispute of an access: when it was raised, by when the member has to answer, and when it did."""

    raised: Seconds
    due: Seconds
    answered: Seconds | None

    def standing(self, now: Seconds) -> Literal["waiting", "overdue", "answered", "answered late"]:
        """Where it stands at a time."""
        if self.answered is None:
            return "overdue" if now > self.due else "waiting"
        return "answered late" if self.answered > self.due else "answered"


class Allowed(Struct, frozen=True, kw_only=True):
    """What the patient allows by a consent: the access permission, which is not the legal basis."""

    purposes: list[Code]
    starts: Seconds
    ends: Seconds
    revoked: Seconds | None


class Access(Struct, frozen=True, kw_only=True):
    """One access, allowed or refused. ``share``: the share that its consent belongs to, empty when it is not known.

    ``consent`` and ``permission`` are empty for emergency access, which needs none.
    """

    at: Seconds
    outcome: Literal["permitted", "refused"]
    category: Code
    stream: StreamId
    source: Did
    emergency: bool
    consent: ConsentId | None
    permission: Allowed | None
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
    visit: ReceiptId | None
    """The first receipt of the visit that this one continues; itself when it began one."""
    ends: Seconds
    closed: bool
    """Ended by the member before its time."""
    dispute: Questioned | None
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


class Coverage(Struct, frozen=True, kw_only=True):
    """How much of one stream's story was heard: the logs that there are, and those that can be believed."""

    category: Code
    stream: StreamId
    logs: Count
    believed: Count


class Audit(Struct, frozen=True, kw_only=True):
    """Accesses, newest first, findings, and how complete that is."""

    accesses: list[Access]
    findings: list[Finding]
    coverage: list[Coverage]

    @property
    def is_complete(self) -> bool:
        """Whether all *n* logs of every stream are there and hold together."""
        return all(each.logs == each.believed for each in self.coverage)


def audit(state: WalletState, reader: Reader, logs: Sequence[StreamLog], releases: Sequence[Signed] = ()) -> Audit:
    """Every access to this wallet's streams that the ledger knows of, with what the logs say, newest first.

    ``logs``: what custodians handed out, at most one for each custodian and stream; one that is not there is shown as
    missing. ``releases``: what custodians signed to a recipient, where the patient has come by it. Nothing is asked of
    anybody here: reader and logs decide alone.
    """
    accesses: list[Access] = []
    findings: list[Finding] = []
    coverage: list[Coverage] = []
    for located in states.streams(state):
        stream = located.stream.id
        mine = [log for log in logs if log.stream == stream]
        judged = _judge_logs(reader, located, mine)
        findings += judged.findings
        findings += _without_entry(reader, located, mine, releases)
        coverage.append(
            Coverage(
                category=located.stream.category,
                stream=stream,
                logs=judged.logs,
                believed=judged.logs - judged.silent,
            )
        )
        accesses += _accesses(state, reader, located, judged)
    return Audit(
        accesses=sorted(accesses, key=lambda entry: (-entry.at, entry.stream, entry.receipt or b"")),
        findings=findings,
        coverage=coverage,
    )


class _Judged(Struct, frozen=True, kw_only=True):
    """What the logs of one stream's custodians say."""

    findings: list[Finding]
    seen: list[tuple[ReceiptId, Seen]]
    logs: Count
    silent: Count
    """How many logs are missing or broken: then *no* cannot be said."""
    threshold: Count


def _judge_logs(reader: Reader, located: Located, logs: list[StreamLog]) -> _Judged:
    stream = streams.stream(reader, located.stream.id)
    custodians = keepers(reader, located.stream.id)
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
    return _Judged(
        findings=findings,
        seen=seen,
        logs=len(custodians),
        silent=silent,
        threshold=0 if stream is None else stream.threshold,
    )


def _without_entry(
    reader: Reader, located: Located, logs: Sequence[StreamLog], releases: Sequence[Signed]
) -> list[Finding]:
    """Releases that their custodian signed and that its log, as it hands it out, does not have."""
    found = []
    by_custodian = {log.custodian: log for log in logs}
    for signed in releases:
        release = codec.decode_as(signed.payload, Release)
        log = by_custodian.get(release.custodian)
        if release.stream != located.stream.id or log is None or log.signed is None:
            continue
        claim = Claim(kind="omitted", custodian=release.custodian, signed=[signed, log.signed])
        with suppress(Tampered):  # it is there, or another has signed this
            judge(reader, 0, claim)
            place = f"entry {release.log.index}"
            found.append(
                Finding(
                    kind="no-entry",
                    custodian=release.custodian,
                    category=located.stream.category,
                    stream=release.stream,
                    place=place,
                    claim=claim,
                )
            )
    return found


def _check_anchor(log: StreamLog, reported: Anchor | None) -> None:
    if reported is None:
        return  # nothing is anchored yet
    if log.anchor is None:
        raise Tampered(NOT_ANCHORED, "root")
    check_anchored(log.stream, log.entries, reported.root, log.anchor)


def _accesses(state: WalletState, reader: Reader, located: Located, judged: _Judged) -> list[Access]:
    shares = {item.consent: record.id for record in state.shares for item in record.items}
    found = []
    for record in access.of_stream(reader, located.stream.id):
        permitted = isinstance(record, Receipt) or (isinstance(record, Emergency) and record.why is None)
        releases = [seen for receipt, seen in judged.seen if permitted and receipt == record.id]
        consent_id = None if isinstance(record, Emergency) else record.consent
        consent = None if consent_id is None else consents.consent(reader, consent_id)
        dispute = access.dispute(reader, record.id)
        asserted = not isinstance(record, Emergency) and record.asserted
        found.append(
            Access(
                at=record.at,
                outcome="permitted" if permitted else "refused",
                category=located.stream.category,
                stream=located.stream.id,
                source=located.member,
                emergency=isinstance(record, Emergency),
                consent=consent_id,
                permission=None
                if consent is None
                else Allowed(
                    purposes=consent.purposes, starts=consent.starts, ends=consent.ends, revoked=consent.revoked
                ),
                share=b"" if consent_id is None else shares.get(consent_id, b""),
                member=record.member,
                requester=None if asserted else record.requester,
                asserted=asserted,
                action="read" if isinstance(record, Emergency) else record.action,
                purpose=record.purpose,
                legal_basis=record.legal_basis,
                rules=[*_why(record), *record.policies],
                receipt=record.id if permitted else None,
                visit=record.first if isinstance(record, Receipt) else None,
                ends=0 if isinstance(record, Refusal) else record.expires,
                closed=isinstance(record, Receipt) and record.closed,
                dispute=None
                if dispute is None
                else Questioned(raised=dispute.raised, due=dispute.due, answered=dispute.answered),
                released=_released(releases, judged) if permitted else "no",
                releases=releases,
            )
        )
    return found


def _why(record: Record) -> list[Code]:
    """The code of the check that failed."""
    why = None if isinstance(record, Receipt) else record.why
    return [] if why is None else [why]


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
