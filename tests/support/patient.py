"""A patient on a real mesh of five members: wallet, hospital records, a practice; and ways to custodians that fail."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import cast

from caremesh import codec
from caremesh.codec import CID
from caremesh.crypto.reencryption import Seal
from caremesh.errors import ErrorCode, Unavailable
from caremesh.fhir import samples
from caremesh.fhir.bundle import read_bundle
from caremesh.ledger.transactions import Signs
from caremesh.node.mesh import LocalMesh
from caremesh.sealing import custody
from caremesh.sealing.custody import HeldSeal, SealAnswer
from caremesh.testing.clock import SettableClock
from caremesh.testing.person import Person
from caremesh.types import DAY_S, Code, Did
from caremesh.wallet import state as states
from caremesh.wallet.reseal import Blocks
from caremesh.wallet.share import Terms

PASSPHRASE = "correct horse battery staple"
SILENT = ErrorCode("test.01", "This custodian does not answer.")


@cache
def sample() -> tuple[bytes, str]:
    """The sample patient's bundle, and the hospital's id for them."""
    data = samples.patient()
    patient = read_bundle(data).patient
    assert patient is not None
    return data, patient.id


class Patient:
    """One mesh, one wallet, one hospital that imported (if asked to) the sample patient."""

    def __init__(self, folder: Path, mesh: LocalMesh | None = None, *, imported: bool = False) -> None:
        self.folder = folder
        with ExitStack() as opened:  # nothing is left open when what follows fails
            self.mesh = mesh or opened.enter_context(LocalMesh(folder / "mesh", SettableClock()))
            self._begin(imported=imported)
            opened.pop_all()

    def _begin(self, *, imported: bool) -> None:
        self.clock = cast("SettableClock", self.mesh.clock)
        self.person, self.phrase = Person.create(self.mesh, self.folder / "wallet", PASSPHRASE)
        self.wallet = self.person.wallet
        self.ledger = self.mesh.subject_ledger()
        self.sponsor = self.mesh.sponsor()
        data, patient = sample()
        self.person.enrol("hospital", patient)
        if imported:
            source = self.mesh.member("hospital").source(self.mesh)
            for bundle in (*samples.directory(), data):
                source.import_bundle(bundle)

    def did(self, name: str) -> Did:
        return self.mesh.member(name).home.did

    def terms(self, *categories: Code, days: int = 3, **changes: object) -> Terms:
        start = self.clock() // DAY_S * DAY_S
        fields = {
            "grantee": self.did("practice"),
            "streams": states.choose(self.wallet.state, list(categories)),
            "purposes": ["TREAT"],
            "actions": ["read"],
            "from_": start,
            "until": start + days * DAY_S,
            "explicit": True,
        }
        return Terms(**(fields | changes))  # type: ignore[arg-type]

    @property
    def height(self) -> int:
        return self.mesh.engine.status().height


class Way:
    """The way to the custodians of a mesh, with faults: DID → what happens to its answers."""

    def __init__(self, mesh: LocalMesh, faults: dict[Did, str] | None = None) -> None:
        self.mesh = mesh
        self.faults = faults or {}
        self.deposits: list[tuple[Did, bytes]] = []

    def deposit(self, custodian: Did, sealed: bytes) -> bytes:
        self.deposits.append((custodian, sealed))
        fault = self.faults.get(custodian, "")
        if fault == "silent":
            raise Unavailable(SILENT, custodian)
        answer = self.mesh.deposit(custodian, sealed)
        if fault == "garbled":
            return answer[:-1]
        if fault == "other key":
            said = custody.Acknowledgement(custodian=custodian, what=bytes(32))
            other = next(member for did, member in self._homes().items() if did != custodian)
            return codec.encode(custody.sign_payload(custody.ACKNOWLEDGEMENT, said, other))
        if fault == "other deposit":
            said = custody.Acknowledgement(custodian=custodian, what=bytes(32))
            return codec.encode(custody.sign_payload(custody.ACKNOWLEDGEMENT, said, self._homes()[custodian]))
        return answer

    def deposit_reseal(self, custodian: Did, sealed: bytes) -> bytes:
        return self.mesh.deposit_reseal(custodian, sealed)

    def blocks_of(self, stream: bytes, source: Did, key: Signs, cids: Sequence[CID]) -> Blocks:
        return self.mesh.blocks_of(stream, source, key, cids)

    def own_seals(self, custodian: Did, request: bytes) -> bytes:
        fault = self.faults.get(custodian, "")
        if fault == "silent":
            raise Unavailable(SILENT, custodian)
        answer = codec.decode_as(custody.read_signed(self.mesh.own_seals(custodian, request)).payload, SealAnswer)
        seals = [] if fault == "none" else answer.seals
        if fault == "swapped":
            seals = [HeldSeal(descriptor=entry.descriptor, seal=_swapped(entry.seal)) for entry in seals]
        nonce = bytes(16) if fault == "replayed" else answer.nonce
        answer = SealAnswer(stream=answer.stream, custodian=custodian, nonce=nonce, seals=seals)
        key = self._homes()[custodian]
        if fault == "other key":
            key = next(member for did, member in self._homes().items() if did != custodian)
        return codec.encode(custody.sign_payload(custody.SEAL_ANSWER, answer, key))

    def _homes(self) -> dict[Did, custody.Signs]:
        return {member.home.did: member.home.node_key for member in self.mesh.members.values()}


def _swapped(seal: Seal) -> Seal:
    return Seal(seal.capsule, seal.ciphertext[:-1] + bytes([seal.ciphertext[-1] ^ 1]))
