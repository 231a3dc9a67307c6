"""What a patient sees can be saved and checked without asking anybody; openings without an entry; disputes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.messages import BreakGlass
from caremesh.contracts.streams.messages import SetCustodians
from caremesh.errors import CareMeshError, Refused, Tampered, WrongLedger
from caremesh.node import evidence
from caremesh.sealing import custody
from caremesh.sealing.custody import Signed
from caremesh.sealing.evidence import CLOCK_SLACK_S
from caremesh.sealing.release_log import START, LogHead
from caremesh.types import DAY_S
from caremesh.wallet import audit_proof, dispute
from caremesh.wallet import state as states
from caremesh.wallet.audit import Access, Audit
from caremesh.wallet.audit_proof import AuditProof
from caremesh.wallet.logs import StreamLog, own_logs
from tests.support.clinic import Clinic


class Looked(Clinic):
    """A clinic where the laboratory results were read once; what custodians signed on the way is known."""

    def look(self) -> None:
        """One visit."""
        with self.visit(categories=["laboratory"]) as visit:
            [opened] = visit.open()
            self.signed: list[Signed] = opened.signed
            [grounds] = visit.grounds
            self.receipt = grounds.receipt

    def logs(self) -> list[StreamLog]:
        """All logs of all streams."""
        self.mesh.tick()
        return own_logs(self.patient.wallet.state, self.patient.ledger.reader(), self.mesh, self.clock())

    def audit(self, logs: list[StreamLog], releases: list[Signed] | None = None) -> Audit:
        return self.patient.wallet.audit(self.patient.ledger.reader(), logs, releases or [])

    def prove(self, logs: list[StreamLog] | None = None) -> AuditProof:
        """A saved audit, of the true logs or of others."""
        logs = self.logs() if logs is None else logs
        block = self.mesh.engine.light_block()
        height = block.signed.content().height
        return audit_proof.prove(
            self.patient.wallet.state, block, lambda key: self.mesh.engine.query(key, height), logs, self.signed
        )

    def check(self, proof: AuditProof) -> Audit:
        """As a stranger's machine would, with the wallet and the founding validators."""
        read = audit_proof.read(codec.encode(proof))
        checked = audit_proof.check(read, self.patient.wallet.state, self.mesh.light_client(), self.clock())
        assert checked.header == proof.block.signed.content()
        return checked.audit

    def entry(self, found: Audit) -> Access:
        return next(entry for entry in found.accesses if entry.receipt == self.receipt.id)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    made = Looked(tmp_path_factory.mktemp("audit-proof"))
    with made.mesh:
        made.share("laboratory", "medications", days=200)
        made.look()
        yield made


@pytest.mark.promise("P4")
def test_a_saved_audit_says_the_same_to_whoever_trusts_the_founding_validators_alone(clinic: Looked) -> None:
    proof = clinic.prove()
    found = clinic.check(proof)
    assert found == clinic.audit(clinic.logs(), clinic.signed)
    assert found.is_complete
    assert found.findings == []
    entry = clinic.entry(found)
    assert (entry.released, entry.closed, entry.visit, entry.emergency) == ("yes", True, clinic.receipt.id, False)
    assert entry.permission is not None
    assert (entry.permission.purposes, entry.permission.revoked) == (["TREAT"], None)
    assert entry.legal_basis == ["HIPAA:164.506.c.2"]


@pytest.mark.promise("P4")
def test_a_saved_audit_that_lacks_or_changes_anything_shows_nothing(clinic: Looked) -> None:
    proof = clinic.prove()
    for position in range(0, len(proof.answers), 7):
        left_out = [answer for index, answer in enumerate(proof.answers) if index != position]
        with pytest.raises(Tampered, match=r"evidence\.03"):
            clinic.check(replace(proof, answers=left_out))
        mine = proof.answers[position].key  # one proof of absence may hold for several keys, of presence never
        other = next(answer for answer in proof.answers if answer.key != mine and answer.proof.value is not None)
        swapped = replace(proof.answers[position], proof=other.proof)
        with pytest.raises(Tampered):
            clinic.check(replace(proof, answers=[*left_out, swapped]))
    forged = custody.sign_payload(custody.LOG_ANSWER, codec.decode(proof.logs[0].payload), clinic.doctor.key)
    with pytest.raises(Tampered, match=r"custody\.02"):
        clinic.check(replace(proof, logs=[forged, *proof.logs[1:]]))
    with pytest.raises(Tampered, match=r"custody\.01"):
        clinic.check(replace(proof, logs=[replace(proof.logs[0], signature=bytes(64)), *proof.logs[1:]]))
    header = proof.block.signed
    signed = [replace(each, signature=bytes(64)) for each in header.signatures]
    with pytest.raises(Tampered, match=r"light\.01|signatures\.03"):
        clinic.check(replace(proof, block=replace(proof.block, signed=replace(header, signatures=signed))))
    with pytest.raises(WrongLedger, match=r"wallet\.24"):
        clinic.check(replace(proof, chain="other"))
    with pytest.raises(Tampered, match=r"wallet\.50"):
        audit_proof.read(b"\xa0")
    whole = codec.encode(replace(proof, releases=[]))
    for at in range(0, len(whole), len(whole) // 60):
        changed = bytearray(whole)
        changed[at] ^= 1
        with pytest.raises(CareMeshError):
            audit_proof.check(
                audit_proof.read(bytes(changed)),
                clinic.patient.wallet.state,
                clinic.mesh.light_client(),
                clinic.clock(),
            )


@pytest.mark.promise("P2")
def test_a_log_that_is_left_out_is_shown_as_missing_offline_too(clinic: Looked) -> None:
    proof = clinic.prove()
    mine = [log for log in proof.logs if codec.decode_as(log.payload, custody.LogAnswer).entries]
    found = clinic.check(replace(proof, logs=[log for log in proof.logs if log is not mine[0]]))
    assert not found.is_complete
    assert [(f.kind, f.category) for f in found.findings] == [("log-missing", "laboratory")]
    [coverage] = [each for each in found.coverage if each.category == "laboratory"]
    assert (coverage.logs, coverage.believed) == (3, 2)


@pytest.mark.promise("P2")
def test_an_opening_without_an_entry_is_found_and_shown_to_others(clinic: Looked) -> None:
    clinic.pass_time(CLOCK_SLACK_S + 5)
    logs = clinic.logs()
    assert len(clinic.signed) == 2
    assert clinic.audit(logs, clinic.signed).findings == []
    liar = codec.decode_as(clinic.signed[0].payload, custody.Release).custodian
    key = next(member.home.node_key for member in clinic.mesh.members.values() if member.home.did == liar)
    hiding = []
    for log in logs:
        if (log.custodian, log.stream) == (liar, clinic.receipt.stream):
            assert log.signed is not None
            told = replace(
                codec.decode_as(log.signed.payload, custody.LogAnswer), entries=[], head=LogHead(0, START), anchor=None
            )
            signed = custody.sign_payload(custody.LOG_ANSWER, told, key)
            hiding.append(replace(log, entries=[], head=told.head, anchor=None, signed=signed))
        else:
            hiding.append(log)
    found = clinic.audit(hiding, clinic.signed)
    [finding] = found.findings
    assert (finding.kind, finding.custodian, finding.place) == ("no-entry", liar, "entry 0")
    assert (finding.category, finding.stream) == ("laboratory", clinic.receipt.stream)
    release = codec.decode_as(clinic.signed[0].payload, custody.Release)
    elsewhere = custody.sign_payload(custody.RELEASE, replace(release, stream=bytes(32)), key)
    assert clinic.audit(hiding, [elsewhere, *clinic.signed]) == found, "another's stream is not looked at here"
    assert finding.claim is not None
    assert evidence.write(clinic.mesh, [finding.claim], clinic.mesh.folder / "evidence")
    assert clinic.check(clinic.prove(hiding)).findings == found.findings, "offline, too"
    forged = replace(clinic.signed[0], signature=bytes(64))
    assert clinic.audit(hiding, [forged]).findings == [], "what the custodian did not sign is not held against it"
    missing = [log for log in hiding if (log.custodian, log.stream) != (liar, clinic.receipt.stream)]
    assert [f.kind for f in clinic.audit(missing, clinic.signed).findings] == ["log-missing"]


@pytest.mark.promise("P2")
def test_a_dispute_its_answer_and_its_lateness_are_in_the_feed_and_the_words_are_not_on_the_ledger(
    clinic: Looked,
) -> None:
    wallet, ledger, state = clinic.patient.wallet, clinic.patient.ledger, clinic.patient.wallet.state
    receipt, words, reply = clinic.receipt.id, "I was not there that day.", "You were: it was the telephone visit."
    for stranger in (bytes(32), clinic.receipt.consent):
        with pytest.raises(Refused, match=r"wallet\.51"):
            wallet.dispute(stranger, words, ledger, clinic.patient.sponsor)
    with pytest.raises(Refused, match=r"gateway\.14"):
        clinic.gateway.answer_dispute(receipt, reply)
    member, sealed = wallet.dispute(receipt, words, ledger, clinic.patient.sponsor)
    raised = clinic.mesh.engine.light_block().signed.content().time
    assert member == clinic.practice.home.did
    with pytest.raises(Refused, match=r"access\.25"):
        wallet.dispute(receipt, words, ledger, clinic.patient.sponsor)
    heard = clinic.gateway.hear_dispute(receipt, sealed)
    assert (heard.words.text, repr(heard.words)) == (words, f"Statement({receipt.hex()})")
    other = dispute.prepare(state, ledger.reader(), receipt, "Something else.").sealed
    with pytest.raises(Tampered, match=r"custody\.06"):
        clinic.gateway.hear_dispute(receipt, other)
    with pytest.raises(Tampered, match=r"custody\.05"):
        clinic.gateway.hear_dispute(receipt, sealed[:-1] + bytes([sealed[-1] ^ 1]))
    entry = clinic.entry(clinic.audit(clinic.logs()))
    assert entry.dispute is not None
    assert entry.dispute.raised == raised
    due = entry.dispute.due
    assert [entry.dispute.standing(at) for at in (due, due + 1)] == ["waiting", "overdue"]
    with pytest.raises(Refused, match=r"wallet\.52"):
        dispute.hear_answer(state, ledger.reader(), receipt, b"")

    clinic.pass_time(due - clinic.clock() + DAY_S)
    answer = clinic.gateway.answer_dispute(receipt, reply)
    with pytest.raises(Refused, match=r"access\.26"):
        clinic.gateway.answer_dispute(receipt, reply)
    assert dispute.hear_answer(state, ledger.reader(), receipt, answer).text == reply
    with pytest.raises(Tampered, match=r"custody\.05"):
        dispute.hear_answer(state, ledger.reader(), receipt, answer[:-1] + bytes([answer[-1] ^ 1]))
    entry = clinic.entry(clinic.audit(clinic.logs()))
    assert entry.dispute is not None
    assert entry.dispute.standing(clinic.clock()) == "answered late"
    assert replace(entry.dispute, answered=due).standing(clinic.clock()) == "answered"
    kept = b"".join(b"".join(block.txs) for block in clinic.mesh.engine.blocks(1))
    assert words.encode() not in kept
    assert reply.encode() not in kept


@pytest.mark.promise("P2")
def test_emergency_access_is_shown_with_or_without_leave_and_can_be_disputed(clinic: Looked) -> None:
    clinic.mesh.tick()
    before = len(clinic.audit([]).accesses)
    broken = BreakGlass(
        stream=clinic.receipt.stream,
        purpose="ETREAT",
        legal_basis=["HIPAA:164.510.b.3"],
        reason=bytes(32),
        requester=clinic.doctor.did,
    )
    committed = clinic.mesh.send([clinic.doctor, clinic.practice.home.requester], broken)
    assert not committed.code, committed.result
    given = access.emergency(clinic.patient.ledger.reader(), access.receipt_id(committed.tx, 0))
    assert given is not None
    accesses = clinic.audit([]).accesses
    assert len(accesses) == before + 1
    [entry] = [each for each in accesses if each.emergency]
    assert (entry.consent, entry.permission, entry.purpose, entry.requester) == (
        None,
        None,
        "ETREAT",
        clinic.doctor.did,
    )
    assert entry.outcome == ("permitted" if given.why is None else "refused")
    assert (entry.action, entry.share) == ("read", b"")
    assert entry.rules
    state, reader = clinic.patient.wallet.state, clinic.patient.ledger.reader()
    assert dispute.prepare(state, reader, given.id, "Why?").member == clinic.practice.home.did


@pytest.mark.promise("P2")
def test_a_custodian_of_yesterday_is_asked_for_its_log_too(clinic: Looked) -> None:
    stream = next(each for each in states.streams(clinic.patient.wallet.state) if each.stream.category == "medications")
    custodians = sorted(clinic.mesh.custodians)
    assert len([log for log in clinic.logs() if log.stream == stream.stream.id]) == 3
    clinic.send(stream.stream.id, SetCustodians(stream=stream.stream.id, custodians=custodians[:2], threshold=2))
    logs = [log for log in clinic.logs() if log.stream == stream.stream.id]
    assert sorted(log.custodian for log in logs) == custodians
    found = clinic.audit([log for log in logs if log.custodian != custodians[2]])
    missing = [f.custodian for f in found.findings if f.stream == stream.stream.id]
    assert missing == [custodians[2]]
