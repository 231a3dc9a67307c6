"""A practice where a patient of a real mesh is seen: shares, the ways to custodians, visits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from caremesh.gateway.ask import Requester
from caremesh.gateway.gateway import Gateway
from caremesh.gateway.gather import OneByOne, ReleaseCustodian
from caremesh.gateway.visit import Purpose, Visit
from caremesh.ledger.transactions import Message
from caremesh.node.founding import CHAIN
from caremesh.types import Did, StreamId
from caremesh.wallet import state as states
from caremesh.wallet import transact
from caremesh.wallet.wallet import Shared
from tests.support.patient import Patient, Way

BASIS = ["HIPAA:164.506.c.2"]
TREAT = Purpose("TREAT", BASIS)
CATEGORIES = ("laboratory", "medications", "conditions")


class Clinic:
    """The patient's records, the practice's gateway (patient: half a minute), its physician."""

    def __init__(self, folder: Path) -> None:
        self.patient = Patient(folder, imported=True)
        self.mesh, self.clock = self.patient.mesh, self.patient.clock
        self.practice = self.mesh.member("practice")
        self.doctor = self.practice.home.practitioner(CHAIN)
        self.ways: dict[Did, ReleaseCustodian] = dict(self.mesh.custodians)
        self.gateway = self.gateway_with(patience_s=30.0)

    def gateway_with(self, patience_s: float) -> Gateway:
        """The practice's gateway over ``ways``, which tests change."""
        return self.practice.gateway(self.mesh, self.ways, patience_s=patience_s)

    def share(self, *categories: str, **changes: object) -> Shared:
        """Share these with the practice."""
        patient = self.patient
        terms = patient.terms(*(categories or CATEGORIES), **changes)
        shared = patient.wallet.share(terms, patient.ledger, patient.height, patient.sponsor, Way(self.mesh))
        self.gateway.receive_share(shared.message)
        return shared

    def visit(self, requester: Requester | None = None, why: Purpose = TREAT, **changes: object) -> Visit:
        """A visit to this patient, by the physician."""
        key = states.keys_of(self.patient.wallet.state, self.practice.home.did).channel().signing.public
        return self.gateway.visit(key, why, requester or self.doctor, **changes)  # type: ignore[arg-type]

    def send(self, stream: StreamId, message: Message) -> None:
        """A message by the stream's key, sponsored by the hospital."""
        state, reader = self.patient.wallet.state, self.patient.ledger.reader()
        key = states.locate(state, stream).keys.signing(0)
        raw = transact.signed(reader, CHAIN, message, key, self.patient.sponsor, self.clock())
        [committed] = self.patient.ledger.submit([raw])
        assert not committed.result.code, committed.result

    def pass_time(self, seconds: int) -> None:
        """Time passes, and a block is made."""
        self.clock.advance(seconds)
        self.mesh.tick()


class Through(OneByOne):
    """A way to a custodian on which something happens first."""

    def __init__(self, custodian: ReleaseCustodian, first: Callable[[], object]) -> None:
        self._custodian = custodian
        self._first = first

    def release(self, data: bytes) -> list[bytes]:
        """See ``ReleaseCustodian``."""
        self._first()
        return self._custodian.release(data)
