"""A person with a few conditions at the hospital, on a mesh that tests share, and a practice that may read them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest

from caremesh.codec import CID
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.state import Consent
from caremesh.contracts.records import queries as records
from caremesh.contracts.records.state import Segment
from caremesh.errors import CareMeshError
from caremesh.gateway.ask import Asked
from caremesh.ledger.state import Reader
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.source.importer import ImportReport
from caremesh.testing.clock import SettableClock
from caremesh.testing.person import Person
from caremesh.types import ConsentId, Count, Did, StreamId
from caremesh.wallet import state as states
from caremesh.wallet.ports import Ledger, Sponsor
from caremesh.wallet.state import Located
from caremesh.wallet.wallet import Shared, Wallet

PASSPHRASE = "correct horse battery staple"
CATEGORIES = ("conditions", "demographics", "imaging", "claims", "laboratory")
BASIS = ["HIPAA:164.506.c.2"]
_numbers = count(1)


class Case:
    """One person, enrolled with the hospital; ``add`` makes a segment of conditions, ``read`` opens them."""

    def __init__(self, mesh: LocalMesh, folder: Path) -> None:
        self.mesh = mesh
        self.clock = cast("SettableClock", mesh.clock)
        self.name = f"case{next(_numbers)}"
        self.path = folder / f"{self.name}.wallet"
        self.person, self.phrase = Person.create(mesh, self.path, PASSPHRASE)
        self.person.enrol("hospital", self.name, categories=CATEGORIES)
        self.doctor = mesh.member("practice").home.practitioner(CHAIN)

    @property
    def wallet(self) -> Wallet:
        return self.person.wallet

    @property
    def reader(self) -> Reader:
        return self.mesh.engine.reader()

    @property
    def stream(self) -> StreamId:
        [found] = states.choose(self.wallet.state, ["conditions"])
        return found

    @property
    def located(self) -> Located:
        return states.locate(self.wallet.state, self.stream)

    @property
    def ledger(self) -> Ledger:
        return self.person.ledger

    @property
    def sponsor(self) -> Sponsor:
        return self.person.sponsor

    def did(self, name: str) -> Did:
        return self.mesh.member(name).home.did

    def condition(self, number: int, **others: Any) -> dict[str, Any]:
        system = "http://terminology.hl7.org/CodeSystem/condition-clinical"
        return {
            "resourceType": "Condition",
            "id": f"{self.name}-c{number}",
            "clinicalStatus": {"coding": [{"system": system, "code": "active"}]},
            "subject": {"reference": f"Patient/{self.name}"},
            "code": {"text": f"Fever {number}"},
            **others,
        }

    def add(self, *numbers: int) -> ImportReport:
        """One import: one segment of these conditions."""
        return self.bring([self.condition(number) for number in numbers])

    def bring(self, resources: Iterable[dict[str, Any]]) -> ImportReport:
        patient = {"resourceType": "Patient", "id": self.name, "gender": "other"}
        entries = [{"resource": resource} for resource in (patient, *resources)]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        return self.mesh.member("hospital").source(self.mesh).import_bundle(json.dumps(bundle).encode())

    def share(self, *, days: int = 30, categories: Sequence[str] = ("conditions",), **changes: Any) -> Shared:
        return self.person.grant(self.person.terms("practice", categories, days=days, **changes))

    def consent(self, shared: Shared) -> Consent:
        found = consents.consent(self.reader, shared.record.items[0].consent)
        assert found is not None
        return found

    def block(self, cid: CID) -> bytes:
        """A block from a store that has it whole."""
        return self.mesh.blocks_of(b"", "", self.doctor.key, []).get(cid)

    def segments(self) -> list[Segment]:
        return records.segments(self.reader, self.stream)

    def ask(self, consent: ConsentId, purpose: str = "TREAT", action: str = "read") -> Receipt:
        return self.mesh.member("practice").gateway(self.mesh).ask(Asked(consent, action, purpose, BASIS), self.doctor)

    def open(self, receipt: Receipt) -> list[int]:
        """The numbers of the conditions that this receipt opens."""
        opened = self.mesh.member("practice").gateway(self.mesh).open(receipt, self.doctor)
        return sorted(int(record.id.rpartition("-c")[2]) for record in opened.records)

    def read(self, shared: Shared, purpose: str = "TREAT") -> list[int]:
        return self.open(self.ask(shared.record.items[0].consent, purpose))

    def refusal(self, shared: Shared, purpose: str = "TREAT") -> str:
        """The code with which the practice is refused."""
        with pytest.raises(CareMeshError) as caught:
            self.read(shared, purpose)
        return caught.value.code

    def fragments(self, consent: ConsentId) -> Count:
        """How many fragments of a consent are kept, at all custodians together."""
        vaults = [member.home.vault for member in self.mesh.members.values()]
        return sum(len(vault.names(f"fragment/{consent.hex()}/")) for vault in vaults)
