"""A patient with records at the hospital, shared with the practice, over a real mesh in one process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from caremesh import codec
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.records import queries as records
from caremesh.crypto.keys import SigningKey
from caremesh.custodian.custodian import Custodian
from caremesh.errors import Refused, Tampered
from caremesh.fhir import samples
from caremesh.fhir.bundle import read_bundle
from caremesh.gateway.ask import Asked
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.sealing import custody
from caremesh.sealing.custody import ReleaseRequest
from caremesh.testing.clock import SettableClock
from caremesh.testing.person import Person
from caremesh.wallet import state as states
from caremesh.wallet.logs import StreamLog, own_log


class Scene:
    """A patient with records at the hospital, shared with the practice, whose doctor holds a receipt."""

    def __init__(self, folder: Path) -> None:
        self.clock = SettableClock()
        self.mesh = LocalMesh(folder / "mesh", self.clock)
        self.person, _ = Person.create(self.mesh, folder / "wallet", "passphrase")
        bundle = read_bundle(samples.patient())
        assert bundle.patient is not None
        self.person.enrol("hospital", bundle.patient.id)
        source = self.mesh.member("hospital").source(self.mesh)
        for part in (*samples.directory(), samples.patient()):
            source.import_bundle(part)
        self.share = self.person.share("practice", ["laboratory"], days=30)
        self.doctor = self.mesh.member("practice").home.practitioner(CHAIN)
        self.receipt = self.ask()
        self.consent = consents.consent(self.mesh.engine.reader(), self.receipt.consent)
        assert self.consent is not None
        self.custodian: Custodian = self.mesh.custodians[self.consent.fragments[0].custodian]

    def ask(self) -> Receipt:
        consent = self.share.record.items[0].consent
        gateway = self.mesh.member("practice").gateway(self.mesh)
        return gateway.ask(Asked(consent, "read", "TREAT", ["HIPAA:164.506.c.2"]), self.doctor)

    def request(self, *, key: SigningKey | None = None, **changes: Any) -> bytes:
        [segment] = records.segments(self.mesh.engine.reader(), self.receipt.stream)
        given: dict[str, Any] = {
            "receipt": self.receipt.id,
            "stream": self.receipt.stream,
            "descriptors": [segment.descriptor],
            "custodian": self.custodian.did,
            "nonce": os.urandom(16),
            "at": self.clock(),
        }
        request = ReleaseRequest(**given | changes)
        signer = key or self.doctor.key
        return codec.encode(custody.sign_payload(custody.RELEASE_REQUEST, request, signer))

    def log(self) -> StreamLog:
        """What this custodian tells the patient of the stream."""
        located = states.locate(self.person.wallet.state, self.receipt.stream)
        return own_log(self.mesh.engine.reader(), located, self.custodian.did, self.mesh, self.clock())

    def refusal(self, **changes: Any) -> str:
        before = self.custodian.log_root()
        with pytest.raises((Refused, Tampered)) as caught:
            self.custodian.release(self.request(**changes))
        assert self.custodian.log_root() == before, "a refused release left a log entry"
        return caught.value.code
