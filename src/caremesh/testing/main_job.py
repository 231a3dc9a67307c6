"""The main job, step by step, with what was promised and how it came out. Demo, tests and bench run this one.

A hospital imports a patient's records; the patient shares some with a practice; a physician asks and reads; the
patient sees it and takes the share back. Then everything that must not work is tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
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
from caremesh.gateway.gather import Wanted, gather_all
from caremesh.gateway.opening import Opened
from caremesh.ledger.light import check_answer
from caremesh.testing.faults import damaged_blocks
from caremesh.testing.near_world import near
from caremesh.testing.person import Person
from caremesh.testing.world import World
from caremesh.types import DAY_S, Code
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
    """One run. ``folder``: for the wallet, and a fresh mesh in this process where no other world is given."""

    def __init__(
        self,
        folder: Path,
        tell: Callable[[Step], None] = lambda _: None,
        world: Callable[[Path], AbstractContextManager[World]] = near,
    ) -> None:
        """``tell`` gets each step as it happens. ``world``: makes a fresh one in a folder."""
        self._folder = folder
        self._tell = tell
        self._make = world
        self._steps: list[Step] = []
        self._at = time.perf_counter()

    def run(self) -> Story:
        """All steps, in order; each says whether it came out as promised. Raises when a step cannot even be tried."""
        with self._make(self._folder / "mesh") as world:
            self._world = world
            self._doctor = world.home("practice").practitioner(world.chain)
            for part in (self._job, self._refusals):
                for step in part():
                    self._steps.append(step)
                    self._tell(step)
                    self._at = time.perf_counter()
        return Story(steps=self._steps)

    # --- the job --------------------------------------------------------------------------------------

    def _job(self) -> Iterator[Step]:
        world = self._world
        states_ = world.states()
        hashes = {app_hash for _, app_hash in states_}
        yield self._step(
            "Five members keep one ledger",
            world.ordered(),
            f"Height {states_[0][0]}; five copies, {len(hashes)} app hash.",
            kept=len(hashes) == 1 and len(states_) == 5,
            columns=["member", "roles", "custodian"],
            rows=[
                [
                    member.label,
                    ", ".join(role for role in member.roles if role != "custodian"),
                    "yes" if "custodian" in member.roles else "",
                ]
                for member in world.seen()
            ],
        )
        self._person, phrase = Person.create(world, self._folder / "patient.wallet", "correct horse battery staple")
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
        for bundle in samples.directory():
            world.import_file("hospital", bundle)
        report = world.import_file("hospital", data)
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
        self._receipt = self._ask("laboratory", "TREAT")
        yield self._step(
            "A physician of the practice asks for the laboratory results",
            "Purpose: treatment. The ledger checks consent, appointment, licence and law.",
            f"A receipt, committed before anything is opened, valid for "
            f"{(self._receipt.expires - self._receipt.at) // 60} minutes.",
            kept=self._receipt.requester == self._doctor.did,
            columns=["policy", "because"],
            rows=self._explained(self._receipt),
        )
        opened = self._open(self._receipt)
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
            rows=[[world.name_of(e.requester or e.member), e.category, e.purpose, e.released] for e in looked],
        )

    def _proof(self) -> Step:
        """Presence of the receipt, absence of another, completeness of the consent's list: by a light client."""
        world = self._world
        client, block = world.light_client(), world.light_block()
        header = client.verify(block, world.clock())
        receipt_key = access.receipt_key(self._receipt.id)
        answer = world.query(receipt_key, header.proves)
        present = check_answer(header, answer)
        absent = check_answer(header, world.query(access.receipt_key(bytes(32)), header.proves))
        count_key = access.count_key(self._receipt.consent)
        count = check_answer(header, world.query(count_key, header.proves))
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
        world = self._world
        yield self._refused(
            "Another purpose",
            "The same physician asks for payment, which the patient has not allowed.",
            "access.11",
            lambda: self._ask("laboratory", "HPAYMT"),
        )
        yield self._refused(
            "Another category",
            "With the receipt for laboratory results, the practice asks custodians for records on substance use.",
            "custodian.11",
            lambda: self._reach_for(HIDDEN),
        )
        with damaged_blocks(self._holding()[:1]) as flipped:
            opened = self._open(self._receipt)
            named = [error.place for error in opened.damaged if error.code == "blobs.01"] or world.damaged()
            yield self._step(
                "A tampered block at one member",
                "One byte of each block there is flipped.",
                f"Noticed and named ({', '.join(name[:16] for name in named)} …); served by another.",
                kind="refusal",
                kept=self._is_original(opened) and bool(named) and set(named) <= set(flipped),
            )
        with damaged_blocks(world.block_folders("practice")):
            yield self._refused(
                "Tampered blocks everywhere",
                "The same at every member that holds blocks.",
                "gateway.03",
                lambda: self._open(self._receipt),
            )
        yield self._lie()
        yield self._revoked_between()
        yield self._refused(
            "Revoked",
            "The physician asks again after the revocation.",
            "access.10",
            lambda: self._ask("laboratory", "TREAT"),
        )
        self._person.share("practice", ["laboratory"], days=2)
        before = self._ask("laboratory", "TREAT")
        world.let_pass(3 * DAY_S)
        yield self._refused(
            "Expired",
            "A new share, for two days. Three days later the physician asks.",
            "access.10",
            lambda: self._ask("laboratory", "TREAT"),
        )
        yield self._refused(
            "An old receipt",
            "The receipt of three days ago is shown to the custodians.",
            "custodian.04",
            lambda: self._open(before),
        )

    def _lie(self) -> Step:
        """One custodian returns a re-encryption of something else, properly signed."""
        world = self._world
        liar = self._consent().fragments[0].custodian
        with world.lying(liar):
            opened = self._open(self._receipt)
        named = [fault.custodian for fault in opened.faults]
        return self._step(
            "A custodian that lies",
            "One of three returns a changed re-encryption, properly signed.",
            f"Named: {', '.join(map(world.name_of, named)) or 'nobody'}; opened with the two others.",
            kind="refusal",
            kept=named == [liar] and self._is_original(opened),
        )

    def _revoked_between(self) -> Step:
        receipt = self._ask("laboratory", "TREAT")
        confirmed, started = self._world.confirmed(), time.perf_counter()
        self._person.revoke(self._share)
        took_ms = 1_000 * (time.perf_counter() - started)
        destroyed = self._world.confirmed(confirmed + 3 * len(SHARED) - 1) - confirmed
        step = self._refused(
            "Revoked between receipt and release",
            "The physician has a receipt; before it is used, the patient takes the share back.",
            "custodian.05",
            lambda: self._open(receipt),
        )
        answer = f"{step.answer} {destroyed} fragments destroyed and confirmed in {took_ms:.0f} ms."
        return msgspec.structs.replace(step, answer=answer, kept=step.kept and destroyed == 3 * len(SHARED))

    def _reach_for(self, category: str) -> object:
        """What a dishonest practice would do: take the receipt it has to a stream that it was not granted."""
        reader = self._world.reader()
        located = next(
            entry for entry in states.streams(self._person.wallet.state) if entry.stream.category == category
        )
        stream = streams.stream(reader, located.stream.id)
        if stream is None:
            return None
        held = records.segments(reader, stream.id)
        receiving = self._world.home("practice").receiving
        wanted = Wanted(self._receipt, self._consent(), stream, held)
        ways = self._world.custodians_of("practice")
        [found] = gather_all([wanted], receiving, self._doctor.key, ways, reader, self._world.clock)
        if isinstance(found, CareMeshError):
            raise found
        return found

    # --- small parts ----------------------------------------------------------------------------------

    def _ask(self, category: Code, purpose: Code) -> Receipt:
        return self._world.ask_for("practice", category, purpose, LEGAL_BASIS)

    def _open(self, receipt: Receipt) -> Opened:
        return self._world.open("practice", receipt)

    def _holding(self) -> list[Path]:
        """Where the blocks are that the receipt is for, in the order in which they are asked for."""
        segments = records.segments(self._world.reader(), self._receipt.stream)
        names = [segment.descriptor.encode() for segment in segments if segment.descriptor is not None]
        return [folder for folder in self._world.block_folders("practice") if any(folder.rglob(names[0]))]

    def _consent(self) -> Consent:
        found = consents.consent(self._world.reader(), self._receipt.consent)
        assert found is not None  # noqa: S101 - the receipt names it
        return found

    def _explained(self, receipt: Receipt) -> list[list[str]]:
        said = policies.explain(self._world.reader(), receipt.policies, receipt.height)
        return [[f"{entry.policy}\n{entry.legal}", entry.sentence] for entry in said]

    def _is_original(self, opened: Opened) -> bool:
        originals = {(resource.type, resource.id): resource.data for resource in self._bundle.records}
        return bool(opened.records) and all(
            originals[record.resource_type, record.id] == record.data for record in opened.records
        )

    def _names(self, opened: Opened) -> str:
        return " and ".join(map(self._world.name_of, opened.released_by))

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
