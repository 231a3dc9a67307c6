"""The main job, step by step, with what was promised and how it came out. Demo, tests and bench run this one.

A hospital imports a patient's records; the patient shares some with a practice; a physician asks and reads; the
patient sees it and takes the share back. Then everything that must not work is tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from caremesh import codec
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.state import Consent
from caremesh.contracts.policy import queries as policies
from caremesh.contracts.records import queries as records
from caremesh.contracts.streams import queries as streams
from caremesh.errors import CareMeshError
from caremesh.fhir import samples
from caremesh.fhir.bundle import read_bundle
from caremesh.fhir.labs import lab_rows
from caremesh.gateway.ask import Asked
from caremesh.gateway.gateway import Gateway
from caremesh.gateway.gather import ReleaseCustodian, Wanted, gather
from caremesh.gateway.opening import Opened
from caremesh.ledger.light import check_answer
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from caremesh.testing.faults import LyingCustodian, damaged_blocks
from caremesh.testing.person import Person
from caremesh.types import DAY_S, Code, Did
from caremesh.wallet import state as states

LEGAL_BASIS: Final = ("HIPAA:164.506.c.2",)
SHARED: Final = ("laboratory", "medications")
HIDDEN: Final = "substance-use"


class Step(Struct, frozen=True, kw_only=True):
    """One step as people and programs are told of it. ``kept``: whether it came out as promised."""

    kind: str
    """``job`` or ``refusal``."""
    title: str
    asked: str
    answer: str
    kept: bool
    seconds: float
    columns: list[str] = []
    rows: list[list[str]] = []


class Story(Struct, frozen=True, kw_only=True):
    """What one run led to."""

    steps: list[Step]

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return all(step.kept for step in self.steps)


class MainJob:
    """One run over a fresh mesh in ``folder``. ``tell`` gets each step as it happens."""

    def __init__(self, folder: Path, tell: Callable[[Step], None] = lambda _: None) -> None:
        self._folder = folder
        self._tell = tell
        self._clock = SettableClock()
        self._steps: list[Step] = []
        self._at = time.perf_counter()

    def run(self) -> Story:
        """All steps, in order; each says whether it came out as promised. Raises when a step cannot even be tried."""
        with LocalMesh(self._folder / "mesh", self._clock) as mesh:
            self._mesh = mesh
            self._doctor = mesh.member("practice").home.practitioner(CHAIN)
            for part in (self._job, self._refusals):
                for step in part():
                    self._steps.append(step)
                    self._tell(step)
                    self._at = time.perf_counter()
        return Story(steps=self._steps)

    # --- the job --------------------------------------------------------------------------------------

    def _job(self) -> Iterator[Step]:
        mesh = self._mesh
        hashes = {mesh.engine.status().app_hash, *(replica.status().app_hash for replica in mesh.replicas)}
        yield self._step(
            "Five members keep one ledger",
            "The regulator orders transactions; four members re-execute every block themselves.",
            f"Height {mesh.engine.status().height}; five copies, {len(hashes)} app hash.",
            kept=len(hashes) == 1,
            columns=["member", "roles", "custodian"],
            rows=[
                [
                    member.home.profile.label,
                    ", ".join(role for role in member.home.profile.roles if role != "custodian"),
                    "yes" if "custodian" in member.home.profile.roles else "",
                ]
                for member in mesh.members.values()
            ],
        )
        self._person, phrase = Person.create(mesh, self._folder / "patient.wallet", "correct horse battery staple")
        data = samples.patient()
        self._bundle = read_bundle(data)
        patient = self._bundle.patient.id if self._bundle.patient is not None else ""
        self._person.enrol("hospital", patient)
        yield self._step(
            "The patient makes a wallet and enrols with the hospital",
            "A key for every kind of data; the hospital gets permission to write, and none to read.",
            f"{len(phrase.split())} words of recovery phrase; "
            f"{len(states.streams(self._person.wallet.state))} streams that no field of the ledger ties together.",
            kept=len(phrase.split()) == 24,
        )
        source = mesh.member("hospital").source(mesh)
        for bundle in samples.directory():
            source.import_bundle(bundle)
        report = source.import_bundle(data)
        yield self._step(
            "The hospital imports the patient's records",
            "Classify, seal to the patient's keys, store at three members, deposit seals with custodians, register.",
            f"{sum(report.records.values())} records in {report.segments} sealed segments; "
            f"{report.original_bytes / 1e6:.1f} MB became {report.sealed_bytes / 1e6:.1f} MB of ciphertext.",
            kept=sum(report.records.values()) == len(self._bundle.records),
            columns=["category", "records "],
            rows=[[category, str(count)] for category, count in report.records.items()],
        )
        shared = self._person.share("practice", SHARED, days=30)
        self._share = shared.record.id
        yield self._step(
            "The patient shares laboratory and medications with the practice",
            "For treatment, for 30 days. Two of three custodians must agree each time.",
            f"{len(shared.record.items)} consents on the ledger; {3 * len(shared.record.items) - len(shared.missing)} "
            "fragments acknowledged.",
            kept=not shared.missing,
        )
        gateway = self._gateway()
        self._receipt = gateway.ask(self._asked("laboratory", "TREAT"), self._doctor)
        yield self._step(
            "A physician of the practice asks for the laboratory results",
            "Purpose: treatment. The ledger checks consent, appointment, licence and law.",
            f"A receipt, committed before anything is opened, valid for "
            f"{(self._receipt.expires - self._receipt.at) // 60} minutes.",
            kept=self._receipt.requester == self._doctor.did,
            columns=["policy", "because"],
            rows=self._explained(self._receipt),
        )
        opened = gateway.open(self._receipt, self._doctor)
        yield self._step(
            "Custodians re-encrypt, the practice opens",
            "Each custodian checks its own copy of the ledger, logs the release, and re-encrypts.",
            f"{len(opened.records)} records, released by {self._names(opened)}; "
            f"{'equal to the original bytes' if self._is_original(opened) else 'NOT the original bytes'}.",
            kept=self._is_original(opened) and len(opened.released_by) == 2,
            columns=["date", "test", "value ", "unit"],
            rows=[
                [row.date, row.name, row.value, row.unit]
                for row in lab_rows(msgspec.json.decode(record.data) for record in opened.records)
                if row.number is not None
            ][:12],
        )
        yield self._proof()
        audit = self._person.audit()
        looked = [entry for entry in audit.accesses if entry.outcome == "permitted"]
        yield self._step(
            "The patient sees who looked",
            "The ledger's receipts against the release logs of all three custodians.",
            f"{len(looked)} access, released: {looked[0].released if looked else 'nothing'}; "
            f"{len(audit.findings)} findings.",
            kept=len(looked) == 1 and looked[0].released == "yes" and not audit.findings,
            columns=["who", "what", "why", "released"],
            rows=[[mesh.name_of(e.requester or e.member), e.category, e.purpose, e.released] for e in looked],
        )

    def _proof(self) -> Step:
        """Presence of the receipt, absence of another, completeness of the consent's list: by a light client."""
        mesh = self._mesh
        client, block = mesh.light_client(), mesh.engine.light_block()
        header = client.verify(block, self._clock())
        receipt_key = access.receipt_key(self._receipt.id)
        answer = mesh.engine.query(receipt_key, header.height)
        present = check_answer(header, answer)
        absent = check_answer(header, mesh.engine.query(access.receipt_key(bytes(32)), header.height))
        count_key = access.count_key(self._receipt.consent)
        count = check_answer(header, mesh.engine.query(count_key, header.height))
        listed = 0 if count is None else codec.decode_as(count, int)
        return self._step(
            "A light client checks it, trusting one header only",
            "Is the receipt on the ledger? Is another one not? How many were asked for under this consent?",
            f"Height {header.height}: present with its value, absent proven, {listed} in the complete list; "
            f"{len(answer.proof.siblings)} hashes.",
            kept=present is not None and absent is None and listed == 1,
        )

    # --- what must not work ---------------------------------------------------------------------------

    def _refusals(self) -> Iterator[Step]:
        gateway, mesh = self._gateway(), self._mesh
        yield self._refused(
            "Another purpose",
            "The same physician asks for payment, which the patient has not allowed.",
            "access.11",
            lambda: gateway.ask(self._asked("laboratory", "HPAYMT"), self._doctor),
        )
        yield self._refused(
            "Another category",
            "With the receipt for laboratory results, the practice asks custodians for records on substance use.",
            "custodian.11",
            lambda: self._reach_for(HIDDEN),
        )
        with damaged_blocks(self._block_folders()[:1]):
            opened = gateway.open(self._receipt, self._doctor)
            yield self._step(
                "A tampered block at one member",
                "One byte of each block there is flipped.",
                f"Noticed and named ({', '.join(error.place[:16] for error in opened.damaged)} …); served by another.",
                kind="refusal",
                kept=self._is_original(opened) and any(error.code == "blobs.01" for error in opened.damaged),
            )
        with damaged_blocks(self._block_folders()):
            yield self._refused(
                "Tampered blocks everywhere",
                "The same at every member that holds blocks.",
                "gateway.03",
                lambda: gateway.open(self._receipt, self._doctor),
            )
        yield self._lie()
        yield self._revoked_between()
        yield self._refused(
            "Revoked",
            "The physician asks again after the revocation.",
            "access.10",
            lambda: gateway.ask(self._asked("laboratory", "TREAT"), self._doctor),
        )
        self._person.share("practice", ["laboratory"], days=2)
        before = gateway.ask(self._asked("laboratory", "TREAT"), self._doctor)
        self._clock.advance(3 * DAY_S)
        mesh.tick()
        yield self._refused(
            "Expired",
            "A new share, for two days. Three days later the physician asks.",
            "access.10",
            lambda: gateway.ask(self._asked("laboratory", "TREAT"), self._doctor),
        )
        yield self._refused(
            "An old receipt",
            "The receipt of three days ago is shown to the custodians.",
            "custodian.04",
            lambda: gateway.open(before, self._doctor),
        )

    def _lie(self) -> Step:
        """One custodian returns a re-encryption of something else, properly signed."""
        mesh = self._mesh
        honest = mesh.custodians
        order = [entry.custodian for entry in self._consent().fragments]
        liar = order[0]
        key = next(member.home.node_key for member in mesh.members.values() if member.home.did == liar)
        gateway = self._gateway({**honest, liar: LyingCustodian(honest[liar], key)})
        opened = gateway.open(self._receipt, self._doctor)
        named = [fault.custodian for fault in opened.faults]
        return self._step(
            "A custodian that lies",
            "One of three returns a changed re-encryption, properly signed.",
            f"Named: {', '.join(map(mesh.name_of, named)) or 'nobody'}; opened with the two others.",
            kind="refusal",
            kept=named == [liar] and self._is_original(opened),
        )

    def _revoked_between(self) -> Step:
        receipt = self._gateway().ask(self._asked("laboratory", "TREAT"), self._doctor)
        confirmed, started = len(self._mesh.confirmations), time.perf_counter()
        self._person.revoke(self._share)
        took_ms = 1_000 * (time.perf_counter() - started)
        destroyed = len(self._mesh.confirmations) - confirmed
        step = self._refused(
            "Revoked between receipt and release",
            "The physician has a receipt; before it is used, the patient takes the share back.",
            "custodian.05",
            lambda: self._gateway().open(receipt, self._doctor),
        )
        answer = f"{step.answer} {destroyed} fragments destroyed and confirmed in {took_ms:.0f} ms."
        return msgspec.structs.replace(step, answer=answer, kept=step.kept and destroyed == 3 * len(SHARED))

    def _reach_for(self, category: str) -> object:
        """What a dishonest practice would do: take the receipt it has to a stream that it was not granted."""
        reader = self._mesh.member("practice").ledger.reader()
        located = next(
            entry for entry in states.streams(self._person.wallet.state) if entry.stream.category == category
        )
        stream = streams.stream(reader, located.stream.id)
        if stream is None:
            return None
        held = records.segments(reader, stream.id)
        receiving = self._mesh.member("practice").home.receiving
        wanted = Wanted(self._receipt, self._consent(), stream, held)
        return gather(wanted, receiving, self._doctor.key, self._mesh.custodians, reader, self._clock)

    # --- small parts ----------------------------------------------------------------------------------

    def _gateway(self, custodians: Mapping[Did, ReleaseCustodian] | None = None) -> Gateway:
        return self._mesh.member("practice").gateway(self._mesh, custodians)

    def _block_folders(self) -> list[Path]:
        homes = [member.home for member in self._mesh.members.values() if member.home.profile.holds_blocks]
        return [home.folder / "blocks" for home in homes]

    def _asked(self, category: Code, purpose: Code) -> Asked:
        return Asked(self._gateway().shared(category).consent, "read", purpose, LEGAL_BASIS)

    def _consent(self) -> Consent:
        found = consents.consent(self._mesh.engine.reader(), self._receipt.consent)
        assert found is not None  # noqa: S101 - the receipt names it
        return found

    def _explained(self, receipt: Receipt) -> list[list[str]]:
        said = policies.explain(self._mesh.engine.reader(), receipt.policies, receipt.height)
        return [[f"{entry.policy}\n{entry.legal}", entry.sentence] for entry in said]

    def _is_original(self, opened: Opened) -> bool:
        originals = {(resource.type, resource.id): resource.data for resource in self._bundle.records}
        return bool(opened.records) and all(
            originals[record.resource_type, record.id] == record.data for record in opened.records
        )

    def _names(self, opened: Opened) -> str:
        return " and ".join(map(self._mesh.name_of, opened.released_by))

    def _refused(self, title: str, asked: str, code: str, attempt: Callable[[], object]) -> Step:
        """A refusal with this code, from the one who was asked or from every custodian."""
        try:
            attempt()
        except CareMeshError as error:
            said = error.place if error.code == "gateway.02" else error.code
            sentence = error.error.sentence
            if error.code == "gateway.02":
                codes = [part.rpartition(" ")[2] for part in error.place.split("; ")]
                kept = set(codes) == {code}
                answer = f"Refused by all {len(codes)} custodians ({', '.join(sorted(set(codes)))})."
            else:
                kept, answer = error.code == code, f"Refused ({said}): {sentence}"
            return self._step(title, asked, answer, kind="refusal", kept=kept)
        return self._step(title, asked, "It was NOT refused.", kind="refusal", kept=False)

    def _step(  # one call a step; every part of it is told
        self,
        title: str,
        asked: str,
        answer: str,
        *,
        kept: bool,
        kind: str = "job",
        columns: list[str] | None = None,
        rows: list[list[str]] | None = None,
    ) -> Step:
        return Step(
            kind=kind,
            title=title,
            asked=asked,
            answer=answer,
            kept=kept,
            seconds=time.perf_counter() - self._at,
            columns=columns or [],
            rows=rows or [],
        )
