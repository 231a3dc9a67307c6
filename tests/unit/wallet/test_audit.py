"""The patient's view: every access and refusal, what logs say of it, and logs that lie, omit or are not there."""

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh.codec import CID, cid_of_raw
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.state import Anchor, Receipt, Refusal
from caremesh.contracts.consent import queries as consents
from caremesh.errors import Refused
from caremesh.gateway.ask import Asked
from caremesh.sealing.evidence import CLOCK_SLACK_S, Claim
from caremesh.sealing.release_log import START, LogEntry, LogHead, link_of
from caremesh.types import Did
from caremesh.wallet import audit as audits
from caremesh.wallet import state as states
from caremesh.wallet.audit import Access, Allowed, Audit, Seen
from caremesh.wallet.logs import StreamLog, keepers, own_log
from caremesh.wallet.wallet import Shared
from tests.support.patient import Patient, Way

LEGAL_BASIS = ("HIPAA:164.506.c.2",)


class Read:
    """A patient whose laboratory records a physician read once, after a receipt never used and two refusals."""

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        terms = patient.terms("laboratory", "medications")
        self.shared: Shared = patient.wallet.share(
            terms, patient.ledger, patient.height, patient.sponsor, Way(patient.mesh)
        )
        self.item = next(item for item in self.shared.record.items if item.category == "laboratory")
        practice = patient.mesh.member("practice")
        gateway = practice.gateway(patient.mesh)
        gateway.receive_share(self.shared.message)
        doctor = practice.home.practitioner(patient.wallet.state.chain)
        self.doctor = doctor.did
        with pytest.raises(Refused):
            gateway.ask(Asked(self.item.consent, "read", "HPAYMT", LEGAL_BASIS), doctor)
        with pytest.raises(Refused):
            gateway.ask(Asked(self.item.consent, "read", "HPAYMT", LEGAL_BASIS), None)
        patient.clock.advance(5)
        patient.mesh.tick()
        self.unused: Receipt = gateway.ask(Asked(self.item.consent, "read", "TREAT", LEGAL_BASIS), doctor)
        patient.clock.advance(5)
        patient.mesh.tick()
        self.receipt: Receipt = gateway.ask(Asked(self.item.consent, "read", "TREAT", LEGAL_BASIS), doctor)
        opened = gateway.open(self.receipt, doctor)
        assert opened.records
        self.custodians: list[Did] = sorted(patient.mesh.custodians)

    def logs(self) -> dict[Did, StreamLog]:
        """The laboratory stream's true logs."""
        reader, mesh = self.patient.ledger.reader(), self.patient.mesh
        located = states.locate(self.patient.wallet.state, self.item.stream)
        return {did: own_log(reader, located, did, mesh, mesh.clock()) for did in mesh.custodians}

    def audit(self, logs: dict[Did, StreamLog]) -> Audit:
        found = self.patient.wallet.audit(self.patient.ledger.reader(), list(logs.values()))
        mine = [finding for finding in found.findings if finding.stream == self.item.stream]
        return Audit(accesses=found.accesses, findings=mine, coverage=found.coverage)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Read]:
    patient = Patient(tmp_path_factory.mktemp("audit"), imported=True)
    with patient.mesh:
        yield Read(patient)


def rechained(log: StreamLog, entries: list[LogEntry]) -> StreamLog:
    """A log that a custodian rewrote with these entries, and that holds together."""
    link, chained = START, []
    for index, entry in enumerate(entries):
        entry = replace(entry, index=index, previous=link)  # noqa: PLW2901 -- each entry builds on the one before
        chained.append(entry)
        link = link_of(entry)
    return replace(log, entries=chained, head=LogHead(len(chained), link))


def kinds(found: Audit) -> list[tuple[str, Did, str]]:
    return [(finding.kind, finding.custodian, finding.place) for finding in found.findings]


@pytest.mark.promise("P2")
def test_every_access_and_every_refusal_is_there_newest_first(read: Read) -> None:
    permitted, unused, *refusals = read.audit(read.logs()).accesses
    refused, asserted = sorted(refusals, key=lambda entry: entry.asserted)
    practice = read.patient.did("practice")
    assert (permitted.outcome, permitted.purpose, permitted.action) == ("permitted", "TREAT", "read")
    assert (permitted.requester, permitted.member, permitted.asserted) == (read.doctor, practice, False)
    assert (permitted.category, permitted.source) == ("laboratory", read.patient.did("hospital"))
    assert (permitted.share, permitted.consent) == (read.shared.record.id, read.item.consent)
    assert (permitted.receipt, permitted.at) == (read.receipt.id, read.receipt.at)
    assert permitted.rules == read.receipt.policies != []
    assert permitted.legal_basis == list(LEGAL_BASIS)
    assert permitted.released == "yes"
    assert len({seen.custodian for seen in permitted.releases}) >= 2
    assert (unused.receipt, unused.outcome, unused.released, unused.releases) == (
        read.unused.id,
        "permitted",
        "no",
        [],
    )
    assert (refused.requester, asserted.requester, asserted.asserted) == (read.doctor, None, True)
    assert (refused.outcome, refused.purpose, refused.receipt) == ("refused", "HPAYMT", None)
    assert (refused.released, refused.releases) == ("no", [])
    assert refused.rules[0].startswith("access.")
    assert read.audit(read.logs()).findings == []


@pytest.mark.promise("P2")
def test_a_missing_log_is_unknown_and_never_fine(read: Read) -> None:
    logs = read.logs()
    used = [did for did, log in logs.items() if log.entries]
    unused = [did for did, log in logs.items() if not log.entries]
    without_unused = {did: log for did, log in logs.items() if did in used}
    found = read.audit(without_unused)
    assert found.accesses[0].released == "yes"
    assert kinds(found) == [("log-missing", did, "") for did in unused]
    without_one = {did: log for did, log in logs.items() if did != used[0]}
    assert read.audit(without_one).accesses[0].released == "unknown"
    assert ("log-missing", used[0], "") in kinds(read.audit(without_one))
    nothing = read.audit({})
    assert nothing.accesses[0].released == "unknown"
    assert [entry.released for entry in nothing.accesses] == ["unknown", "unknown", "no", "no"]
    assert kinds(nothing) == [("log-missing", did, "") for did in read.custodians]


@pytest.mark.promise("P2")
def test_a_custodian_that_hides_its_release_is_outvoted(read: Read) -> None:
    logs = read.logs()
    used = [did for did, log in logs.items() if log.entries]
    hiding = logs | {used[0]: rechained(logs[used[0]], [])}
    found = read.audit(hiding)
    assert found.accesses[0].released == ("partly" if len(used) == 2 else "yes")
    assert found.findings == []
    all_hide = {did: rechained(log, []) for did, log in logs.items()}
    assert read.audit(all_hide).accesses[0].released == "no"


@pytest.mark.promise("P6")
def test_a_log_that_does_not_hold_together_is_named_and_not_believed(read: Read) -> None:
    logs = read.logs()
    used = [did for did, log in logs.items() if log.entries]
    log = logs[used[0]]
    changed = replace(log, entries=[replace(log.entries[0], receipt=bytes(32)), *log.entries[1:]])
    for lie, place in ((changed, "head"), (replace(log, entries=[]), "head")):
        found = read.audit(logs | {used[0]: lie})
        assert kinds(found) == [("log-broken", used[0], place)]
        assert found.accesses[0].released in ("unknown", "yes")
        assert all(seen.custodian != used[0] for seen in found.accesses[0].releases)


@pytest.mark.promise("P2")
def test_a_release_without_a_receipt_or_outside_it_is_a_finding(read: Read) -> None:
    logs = read.logs()
    did = next(did for did, log in logs.items() if log.entries)
    log = logs[did]
    entry = log.entries[0]
    strange: CID = cid_of_raw(b"no segment of this stream")
    slack = CLOCK_SLACK_S
    cases = {
        "no-receipt": replace(entry, receipt=bytes(32)),
        "early": replace(entry, at=read.receipt.at - slack - 1),
        "late": replace(entry, at=read.receipt.expires + slack),
        "another segment": replace(entry, descriptor=strange),
    }
    for name, lie in cases.items():
        found = read.audit(logs | {did: rechained(log, [*log.entries, lie])})
        kind = "no-receipt" if name == "no-receipt" else "outside"
        assert kinds(found) == [(kind, did, f"entry {len(log.entries)}")], name
    for at in (read.receipt.at - slack, read.receipt.expires + slack - 1):
        found = read.audit(logs | {did: rechained(log, [*log.entries, replace(entry, at=at)])})
        assert found.findings == []


@pytest.mark.promise("P2")
def test_a_release_of_a_segment_that_the_receipt_is_not_for_is_a_finding(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = read.logs()
    monkeypatch.setattr(audits.access, "covers", lambda *_: False)
    found = kinds(read.audit(logs))
    assert found == [("outside", did, "entry 0") for did in read.custodians if logs[did].entries]


@pytest.mark.promise("P2")
def test_a_receipt_of_another_stream_does_not_excuse_a_release(read: Read) -> None:
    medications = next(item for item in read.shared.record.items if item.category == "medications")
    did = read.custodians[0]
    entry = next(log for log in read.logs().values() if log.entries).entries[0]
    log = StreamLog(custodian=did, stream=medications.stream, entries=[], head=LogHead(0, START))
    lie = rechained(log, [replace(entry, stream=medications.stream)])
    found = read.patient.wallet.audit(read.patient.ledger.reader(), [lie])
    mine = [finding for finding in found.findings if finding.stream == medications.stream]
    assert (mine[0].kind, mine[0].custodian, mine[0].place) == ("no-receipt", did, "entry 0")


def test_logs_of_strangers_and_of_other_streams_count_for_nothing(read: Read) -> None:
    logs = read.logs()
    log = next(log for log in logs.values() if log.entries)
    stranger = read.patient.did("practice")
    found = read.audit({stranger: replace(log, custodian=stranger)})
    assert found.accesses[0].released == "unknown"
    assert found.accesses[0].releases == []
    assert len(found.findings) == 3


def test_a_restored_wallet_sees_the_same_accesses(read: Read) -> None:
    from caremesh.fhir.categories import ALL
    from caremesh.wallet.restore import restore

    reader = read.patient.ledger.reader()
    restored = restore(read.patient.wallet.state.chain, read.patient.wallet.state.seed, reader, ALL)
    again = audits.audit(restored, reader, list(read.logs().values()))
    mine = read.patient.wallet.audit(reader, list(read.logs().values()))
    assert [replace(entry, share=b"") for entry in again.accesses] == [
        replace(entry, share=b"") for entry in mine.accesses
    ]
    assert {located.stream.id for located in states.streams(restored)} <= {
        located.stream.id for located in states.streams(read.patient.wallet.state)
    }


@pytest.mark.promise("P2")
def test_what_is_shown_of_an_access_is_all_that_the_ledger_and_the_logs_have(read: Read) -> None:
    reader, logs = read.patient.ledger.reader(), read.logs()
    consent = consents.consent(reader, read.item.consent)
    assert consent is not None
    permission = Allowed(purposes=["TREAT"], starts=consent.starts, ends=consent.ends, revoked=None)
    common: dict[str, Any] = {
        "category": "laboratory",
        "stream": read.item.stream,
        "source": read.patient.did("hospital"),
        "emergency": False,
        "consent": consent.id,
        "permission": permission,
        "share": read.shared.record.id,
        "member": read.patient.did("practice"),
        "action": "read",
        "legal_basis": list(LEGAL_BASIS),
        "closed": False,
        "dispute": None,
    }
    seen = [
        Seen(custodian=did, descriptor=entry.descriptor, index=entry.index, at=entry.at)
        for did in keepers(reader, read.item.stream)
        for entry in logs[did].entries
    ]
    assert len(seen) == 2
    permitted, unused, *refusals = read.audit(logs).accesses
    for shown, receipt, released in ((permitted, read.receipt, seen), (unused, read.unused, [])):
        assert shown == Access(
            **common,
            at=receipt.at,
            outcome="permitted",
            requester=read.doctor,
            asserted=False,
            purpose="TREAT",
            rules=receipt.policies,
            receipt=receipt.id,
            visit=receipt.id,
            ends=receipt.expires,
            released="yes" if released else "no",
            releases=released,
        )
    denials = [each for each in access.of_stream(reader, read.item.stream) if isinstance(each, Refusal)]
    assert len(denials) == 2
    for denial in denials:
        expected = Access(
            **common,
            at=denial.at,
            outcome="refused",
            requester=None if denial.asserted else read.doctor,
            asserted=denial.asserted,
            purpose="HPAYMT",
            rules=[denial.why, *denial.policies],
            receipt=None,
            visit=None,
            ends=0,
            released="no",
            releases=[],
        )
        assert expected in refusals
    times = [entry.at for entry in read.audit(logs).accesses]
    assert times == sorted(times, reverse=True)


@pytest.mark.promise("P2")
def test_how_much_was_heard_is_counted_stream_by_stream(read: Read) -> None:
    logs = read.logs()
    whole = read.audit(logs)
    assert [(each.category, each.stream) for each in whole.coverage] == [
        (each.stream.category, each.stream.id) for each in states.streams(read.patient.wallet.state)
    ]
    mine = {each.stream: (each.logs, each.believed) for each in whole.coverage}
    assert mine.pop(read.item.stream) == (3, 3)
    assert set(mine.values()) == {(0, 0), (3, 0)}, "never opened, or its logs were not asked for"
    assert not whole.is_complete
    own = replace(whole, coverage=[each for each in whole.coverage if each.stream == read.item.stream])
    assert own.is_complete
    one, two, three = read.custodians
    less = read.audit({one: logs[one], two: replace(logs[two], head=LogHead(9, START))})
    [heard] = [each for each in less.coverage if each.stream == read.item.stream]
    assert (heard.logs, heard.believed) == (3, 1)
    assert {three, two} == {finding.custodian for finding in less.findings}


@pytest.mark.parametrize(
    ("releases", "silent", "threshold", "said"),
    [
        ({}, 0, 2, "no"),
        ({}, 0, 0, "no"),
        ({}, 1, 2, "unknown"),
        ({"a": "1"}, 0, 2, "partly"),
        ({"a": "1"}, 1, 2, "unknown"),
        ({"a": "1"}, 1, 3, "partly"),
        ({"a": "1"}, 2, 3, "unknown"),
        ({"a": "1", "b": "1"}, 0, 2, "yes"),
        ({"a": "1", "b": "1"}, 1, 2, "yes"),
        ({"a": "1", "b": "2"}, 0, 2, "partly"),
        ({"a": "1", "b": "12"}, 0, 2, "yes"),
        ({"a": "11"}, 0, 2, "partly"),
    ],
)
def test_what_is_said_of_what_was_released(releases: dict[str, str], silent: int, threshold: int, said: str) -> None:
    """``releases``: by custodian, a digit for each segment that its log has."""
    seen = [
        Seen(custodian=did, descriptor=cid_of_raw(digit.encode()), index=0, at=0)
        for did, digits in releases.items()
        for digit in digits
    ]
    judged = audits._Judged(findings=[], seen=[], logs=3, silent=silent, threshold=threshold)
    assert audits._released(seen, judged) == said


@pytest.mark.promise("P6")
def test_what_a_log_shows_to_others_too_comes_with_what_its_custodian_signed(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = read.logs()
    did = next(did for did, log in logs.items() if log.entries)
    log = logs[did]
    assert log.signed is not None
    wrong = replace(log.entries[0], receipt=bytes(32))
    anchored = replace(log, anchor=None)
    found = [
        *read.audit(logs | {did: rechained(log, [*log.entries, wrong])}).findings,
        *read.audit(logs | {did: replace(log, entries=[])}).findings,
        *read.audit({d: each for d, each in logs.items() if d != did}).findings,
    ]
    claims = {finding.kind: finding.claim for finding in found}
    assert claims == {
        "no-receipt": Claim(kind="no-receipt", custodian=did, signed=[log.signed]),
        "log-broken": Claim(kind="forked-log", custodian=did, signed=[log.signed]),
        "log-missing": None,
    }
    assert {(f.category, f.stream) for f in found} == {("laboratory", read.item.stream)}
    assert read.audit(logs | {did: anchored}).findings == [], "nothing is anchored yet"
    roots = {each: custodian.log_root() for each, custodian in read.patient.mesh.custodians.items()}
    anchors = {each: Anchor(at=1, height=1, root=root, count=count) for each, (root, count) in roots.items()}
    monkeypatch.setattr(access, "anchor", lambda _, custodian: anchors.get(custodian))
    true = read.logs()
    assert read.audit(true).findings == []
    unanchored = read.audit(true | {did: anchored})
    [coverage] = [each for each in unanchored.coverage if each.stream == read.item.stream]
    assert (coverage.logs, coverage.believed) == (3, 2)
    [finding] = unanchored.findings
    assert (finding.kind, finding.place, finding.claim) == ("not-anchored", "root", None), "silence shows nothing"
    anchors[did] = replace(anchors[did], root=bytes(32))
    [finding] = read.audit(true).findings
    claim = Claim(kind="forked-log", custodian=did, signed=[signed for signed in [true[did].signed] if signed])
    assert (finding.kind, finding.claim) == ("not-anchored", claim)
    assert finding.place
