"""What a claim against a custodian shows, over a state in memory: every lie, and no honest word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.codec import CID
from caremesh.contracts.access.messages import Report
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.records.messages import Reseal
from caremesh.crypto.reencryption import seal_hash
from caremesh.errors import Tampered
from caremesh.sealing import custody, evidence
from caremesh.sealing.custody import LogAnswer, Release, Signed
from caremesh.sealing.evidence import CLOCK_SLACK_S, MEMORY_S, Claim, Kind
from caremesh.sealing.release_log import START, Anchor, LogEntry, LogHead, link_of
from caremesh.sealing.segment import seal_anew
from tests.support.keepers import Keepers, refusal
from tests.support.witnessed import Witnessed
from tests.support.world import CHAIN

pytestmark = pytest.mark.promise("P6")
NOBODY = "did:caremesh:test:" + "a" * 32


class Case:
    """One custodian, what it released and the log it told; ``lie`` puts other words under its true signature."""

    def __init__(self, keepers: Keepers) -> None:
        self.keepers, self.keeper = keepers, keepers.keeper
        self.sealed = [keepers.add(b"1"), keepers.add(b"2")]
        self.receipt: Receipt = keepers.receipt(keepers.share())
        self.releases = [custody.read_signed(raw) for raw in self.keeper.release(keepers.ask_release(self.receipt))]
        root, count = self.keeper.log_root()
        keepers.must(Report(root=root, count=count), keepers.custodians[0])
        self.log = custody.read_signed(self.keeper.stream_log(keepers.stream_request(custody.LOG_REQUEST)))
        self.time = keepers.now + CLOCK_SLACK_S

    @property
    def release(self) -> Release:
        return codec.decode_as(self.releases[0].payload, Release)

    @property
    def told(self) -> LogAnswer:
        return codec.decode_as(self.log.payload, LogAnswer)

    @property
    def entries(self) -> list[LogEntry]:
        return self.told.entries

    def lie(self, **changes: Any) -> Signed:
        return custody.sign_payload(custody.RELEASE, replace(self.release, **changes), self.keeper.actor.key)

    def logged(self, entries: Sequence[LogEntry], **changes: Any) -> Signed:
        """A log with these entries, chained anew."""
        link, chained = START, []
        for index, entry in enumerate(entries):
            chained.append(replace(entry, index=index, previous=link))
            link = link_of(chained[-1])
        return self.said(**({"entries": chained, "head": LogHead(len(chained), link)} | changes))

    def said(self, **changes: Any) -> Signed:
        return custody.sign_payload(custody.LOG_ANSWER, replace(self.told, **changes), self.keeper.actor.key)

    def claim(self, kind: Kind, *signed: Signed, descriptor: bytes = b"", custodian: str = "") -> Claim:
        return Claim(kind=kind, custodian=custodian or self.keeper.did, signed=list(signed), descriptor=descriptor)

    def shown(self, kind: Kind, *signed: Signed, time: int | None = None, descriptor: bytes = b"") -> str:
        claim = self.claim(kind, *signed, descriptor=descriptor)
        return evidence.judge(self.keepers.view, self.time if time is None else time, claim)

    def nothing(self, kind: Kind, *signed: Signed, time: int | None = None, descriptor: bytes = b"") -> str:
        """The place of what it does not show."""
        code, place = refusal(lambda: self.shown(kind, *signed, time=time, descriptor=descriptor))
        assert code == "evidence.01"
        return place


@pytest.fixture
def case(keepers: Keepers) -> Iterator[Case]:
    return Case(keepers)


def test_a_false_re_encryption(case: Case) -> None:
    bent = case.release.reencryption[:-1] + bytes([case.release.reencryption[-1] ^ 1])
    assert case.shown("false-release", case.lie(reencryption=bent)) == (
        "Its re-encryption is not that of this seal by a fragment of the keys that it states."
    )
    assert case.nothing("false-release", *case.releases) == "re-encryption"
    keys, other = case.release.keys, case.keepers.reading.public
    for field in ("verifying", "delegating", "receiving"):
        changed = case.keepers.receiving.public if getattr(keys, field) == other else other
        assert case.shown("false-release", case.lie(keys=replace(keys, **{field: changed})))
    broken = replace(case.release.seal, capsule=bytes(105))
    assert case.nothing("false-release", case.lie(seal=broken)) == "reencryption.03", (
        "whose the seal is, it does not say"
    )


def test_a_false_seal(case: Case) -> None:
    descriptor = case.sealed[0].descriptor
    other = replace(case.release.seal, ciphertext=b"other")
    assert case.shown("false-release", case.lie(seal=other), descriptor=descriptor) == (
        "It released another seal than the one that the segment's descriptor names."
    )
    assert case.nothing("false-release", case.releases[0], descriptor=descriptor) == "seal"
    elsewhere = case.sealed[1].descriptor
    assert case.nothing("false-release", case.lie(seal=other), descriptor=elsewhere) == "seal"
    with pytest.raises(Tampered, match=r"sealing\.06"):
        case.shown("false-release", case.lie(seal=other), descriptor=b"\xa0")


def test_two_statements_that_differ(case: Case) -> None:
    fork = case.logged([replace(entry, at=entry.at + 1) for entry in case.entries], anchor=None)
    first, second = case.releases
    assert case.shown("forked-log", case.log, fork) == "It signed two different entries at place 0 of one log."
    assert case.shown("forked-log", first, fork) == "It signed two different entries at place 0 of one log."
    later = case.logged([case.entries[0], replace(case.entries[1], at=5)], anchor=None)
    assert case.shown("forked-log", second, later) == "It signed two different entries at place 1 of one log."
    position = custody.LogPosition(index=1, previous=bytes(31) + b"\x01", entry=case.release.log.entry)
    assert case.shown("forked-log", case.lie(log=position), first).endswith("place 0 of one log."), "the link before it"
    third = replace(position, index=2)
    assert case.shown("forked-log", case.lie(log=third), second).endswith("place 1 of one log.")
    for honest in (
        (case.log, first),
        (first, second),
        (case.log, case.log),
        (first, case.log),
        (fork, case.lie(stream=bytes(32))),
    ):
        assert case.nothing("forked-log", *honest) in {"log", "anchor"}
    assert case.nothing("forked-log", first) == "log"
    start = replace(case.release.log, previous=bytes([1]) * 32)
    assert case.nothing("forked-log", case.lie(log=start), case.log) == "log", "before the first there is nothing"


def test_a_log_that_does_not_hold_together(case: Case) -> None:
    broken = case.said(head=LogHead(9, bytes(32)))
    assert case.shown("forked-log", broken) == "It signed a log that does not hold together."
    assert case.shown("forked-log", case.said(entries=case.entries[1:]), case.log) == (
        "It signed a log that does not hold together."
    )
    assert case.nothing("forked-log", case.log) == "anchor"


def test_a_log_that_is_not_the_one_whose_root_is_on_the_ledger(case: Case) -> None:
    fork = case.logged([replace(entry, at=entry.at + 1) for entry in case.entries])
    assert case.shown("forked-log", fork) == "Its log is not the one whose root it anchored on the ledger."
    assert case.shown("forked-log", case.logged([])) == "Its log is not the one whose root it anchored on the ledger."
    reordered = [case.entries[1], case.entries[0]]
    assert (
        case.shown("forked-log", case.logged(reordered))
        == "Its log is not the one whose root it anchored on the ledger."
    )
    assert case.shown("forked-log", case.logged(reordered, anchor=None), case.releases[0]).endswith(
        "place 0 of one log."
    )
    longer = case.logged([*case.entries, case.entries[0]])
    assert case.nothing("forked-log", longer) == "anchor", "it has gone on"
    assert case.nothing("forked-log", case.logged([], anchor=None)) == "log", "it shows no anchor"
    elsewhere = Anchor({case.keepers.stream: LogHead(7, bytes(32))}).prove(case.keepers.stream)
    assert case.nothing("forked-log", case.logged(case.entries, anchor=elsewhere)) == "log", "not the ledger's"
    other = case.keepers.keepers[1]
    told = custody.read_signed(other.stream_log(case.keepers.stream_request(custody.LOG_REQUEST, custodian=other.did)))
    claim = case.claim("forked-log", told, custodian=other.did)
    assert refusal(lambda: evidence.judge(case.keepers.view, case.time, claim)) == ("evidence.01", "log")


def test_a_release_that_is_left_out_of_the_log(case: Case) -> None:
    first, second = case.releases
    later = case.release.at + CLOCK_SLACK_S + 1
    assert case.shown("omitted", first, case.logged([], at=later)) == (
        "It released, and later told a log of 0 entries without that release."
    )
    assert case.shown("omitted", second, case.logged(case.entries[:1], at=later)) == (
        "It released, and later told a log of 1 entries without that release."
    )
    assert case.nothing("omitted", first, case.logged(case.entries[:1], at=later)) == "log"
    assert case.nothing("omitted", first, case.logged([], at=later - 1)) == "log", "it may be being logged"
    assert case.nothing("omitted", first, case.logged([], at=later, stream=bytes(32))) == "log", "another stream's"
    assert case.nothing("omitted", first) == "log"


def test_a_release_without_a_receipt(case: Case) -> None:
    [first, _] = case.entries
    bare = case.logged([first, replace(first, receipt=bytes(32))])
    said = "Entry {} of its log is a release without a receipt that allowed it ({})."
    assert case.shown("no-receipt", bare) == said.format(1, "no-receipt")
    assert case.shown("no-receipt", case.lie(receipt=bytes(32))) == said.format(0, "no-receipt")
    assert case.shown("no-receipt", case.logged([replace(first, stream=bytes(32))])) == said.format(0, "no-receipt")
    assert case.nothing("outside", bare) == "outside"
    for honest in (case.log, *case.releases):
        assert case.nothing("no-receipt", honest) == "no-receipt"
        assert case.nothing("outside", honest) == "outside"


def test_a_release_outside_its_receipt(case: Case) -> None:
    [first, _] = case.entries
    receipt = case.receipt
    begins, ends = receipt.at - CLOCK_SLACK_S, receipt.expires + CLOCK_SLACK_S
    for at, outside in ((begins - 1, True), (begins, False), (ends - 1, False), (ends, True)):
        log, time = case.logged([replace(first, at=at)]), at + CLOCK_SLACK_S
        if outside:
            assert case.shown("outside", log, time=time).endswith("(outside).")
        else:
            assert case.nothing("outside", log, time=time) == "outside"
    unknown = replace(first, descriptor=codec.cid_of_cbor(b"unknown"))
    assert case.shown("outside", case.logged([unknown]))
    assert case.nothing("no-receipt", case.logged([unknown])) == "no-receipt"
    assert [evidence.why_not(case.keepers.view, entry) for entry in (first, unknown)] == ["", "outside"]


def test_a_release_of_a_segment_that_the_receipt_is_not_for(case: Case, keepers: Keepers) -> None:
    [first, second] = case.entries
    late = keepers.add(b"3")
    narrow = keepers.receipt(keepers.consent(case.receipt.consent), segments=[1])
    assert case.nothing("outside", case.logged([replace(second, receipt=narrow.id)])) == "outside"
    assert case.shown("outside", case.logged([replace(first, receipt=narrow.id)]))
    assert case.shown("outside", case.logged([replace(first, descriptor=late.descriptor_cid)]))
    descriptor, cid, seal = seal_anew(case.sealed[0].segment_key, case.sealed[0].descriptor, keepers.reading.public)
    keepers.must(
        Reseal(
            stream=keepers.stream, segment=0, descriptor=cid, seal=seal_hash(seal), size_class=case.sealed[0].size_class
        ),
        keepers.stream_key,
        keepers.practice,
    )
    assert descriptor
    assert case.nothing("outside", case.log) == "outside", "it was sealed anew since"


def test_what_the_ledger_may_not_know_yet_or_any_more_shows_nothing(case: Case) -> None:
    [first, _] = case.entries
    bare = case.logged([replace(first, receipt=bytes(32))])
    at = first.at
    for time, shows in (
        (at + CLOCK_SLACK_S - 1, False),
        (at + CLOCK_SLACK_S, True),
        (at + MEMORY_S, True),
        (at + MEMORY_S + 1, False),
    ):
        if shows:
            assert case.shown("no-receipt", bare, time=time)
        else:
            assert case.nothing("no-receipt", bare, time=time) == "no-receipt"


def test_what_others_signed_is_not_held_against_a_custodian(case: Case) -> None:
    other = case.keepers.keepers[1]
    bare = case.logged([replace(case.entries[0], receipt=bytes(32))])
    claim = case.claim("no-receipt", bare, custodian=other.did)
    assert refusal(lambda: evidence.judge(case.keepers.view, case.time, claim)) == ("custody.02", other.did)
    claim = case.claim("no-receipt", bare, custodian=NOBODY)
    assert refusal(lambda: evidence.judge(case.keepers.view, case.time, claim)) == ("evidence.01", "no member")
    bent = case.release.reencryption[:-1] + bytes([case.release.reencryption[-1] ^ 1])
    for kind, domain, value in (
        ("no-receipt", custody.LOG_ANSWER, replace(case.told, custodian=other.did)),
        ("no-receipt", custody.RELEASE, replace(case.release, custodian=other.did, receipt=bytes(32))),
        ("false-release", custody.RELEASE, replace(case.release, custodian=other.did, reencryption=bent)),
    ):
        signed = custody.sign_payload(domain, value, case.keeper.actor.key)
        assert case.nothing(kind, signed) == "custodian"  # type: ignore[arg-type]
    for kind, domain, value in (
        ("no-receipt", custody.LOG_ANSWER, replace(case.told)),
        ("no-receipt", custody.RELEASE, replace(case.release, receipt=bytes(32))),
    ):
        forged = replace(custody.sign_payload(domain, value, other.actor.key), key=case.keeper.actor.key.public)
        found = refusal(lambda k=kind, f=forged: case.shown(k, f))  # type: ignore[misc, arg-type]
        assert found == ("custody.01", case.keeper.did)
    log = case.log
    assert refusal(lambda: case.shown("omitted", log, log)) == ("custody.01", case.keeper.did)
    assert refusal(lambda: case.shown("omitted", case.releases[0], case.releases[0])) == ("custody.01", case.keeper.did)
    assert refusal(lambda: case.shown("false-release", log)) == ("custody.01", case.keeper.did)


def test_a_file_proves_all_that_its_check_reads_and_nothing_else(case: Case, tmp_path: Path) -> None:
    bare = case.logged([replace(case.entries[0], receipt=bytes(32))])
    seen = Witnessed(tmp_path / "seen", case.keepers, case.time)
    claim = case.claim("no-receipt", bare)
    made = evidence.make(claim, seen.block, seen.query)
    assert (made.v, made.chain, made.claim, made.block) == (1, CHAIN, claim, seen.block)
    data = codec.encode(made)
    assert evidence.read(data) == made
    shown = evidence.verify(evidence.read(data), seen.client(), case.time)
    assert shown == ("no-receipt", case.keeper.did, case.shown("no-receipt", bare), case.keepers.height, case.time)
    assert len(made.answers) == 2
    for answer in made.answers:
        short = replace(made, answers=[answer])
        assert refusal(lambda s=short: evidence.verify(s, seen.client(), case.time)) == ("evidence.03", "")  # type: ignore[misc]
    honest = case.claim("no-receipt", case.log)
    assert refusal(lambda: evidence.make(honest, seen.block, seen.query)) == ("evidence.01", "no-receipt")
    assert refusal(lambda: evidence.verify(replace(made, claim=honest), seen.client(), case.time))[0] in {
        "evidence.01",
        "evidence.03",
    }
    with pytest.raises(Exception, match=r"light\.04"):
        evidence.verify(made, seen.client(), case.time - 60)
    early = Witnessed(tmp_path / "early", case.keepers, case.entries[0].at + CLOCK_SLACK_S - 1)
    assert refusal(lambda: evidence.make(claim, early.block, early.query)) == ("evidence.01", "no-receipt")


def test_what_is_no_evidence_file_is_said_to_be_none(case: Case, tmp_path: Path) -> None:
    seen = Witnessed(tmp_path / "seen", case.keepers, case.time)
    made = evidence.make(case.claim("forked-log", case.said(head=LogHead(9, bytes(32)))), seen.block, seen.query)
    assert refusal(lambda: evidence.read(b"")) == ("evidence.02", "")
    plain: dict[str, Any] = codec.decode(codec.encode(made))  # type: ignore[assignment]
    assert refusal(lambda: evidence.read(codec.encode(plain | {"v": 2}))) == ("evidence.02", "$.v")
    assert refusal(lambda: evidence.read(codec.encode(plain | {"claim": plain["claim"] | {"kind": "theft"}}))) == (
        "evidence.02",
        "$.claim.kind",
    )


def test_every_key_is_asked_for_once_and_what_is_absent_is_proven_absent(case: Case, tmp_path: Path) -> None:
    seen = Witnessed(tmp_path / "seen", case.keepers, case.time)
    asked: list[bytes] = []

    def query(key: bytes) -> Any:
        asked.append(key)
        return seen.query(key)

    recorder = evidence.Recorder(query)
    assert recorder.get(b"none") is None
    assert recorder.get(b"none") is None
    assert asked == [b"none"]
    assert list(recorder.answers) == [b"none"]
    proven = evidence.Proven({b"none": None, b"some": b"value"})
    assert (proven.get(b"none"), proven.get(b"some")) == (None, b"value")
    assert refusal(lambda: proven.get(b"other")) == ("evidence.03", "")
    assert isinstance(case.sealed[0].descriptor_cid, CID)
