"""A person with a wallet on a mesh in this process, and how the wallet reaches members."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from caremesh.fhir.categories import ALL
from caremesh.node.founding import CHAIN
from caremesh.node.member import MemberHome
from caremesh.node.mesh import THRESHOLD, LocalMesh
from caremesh.types import DAY_S, Code, Did
from caremesh.wallet import state as states
from caremesh.wallet.audit import Audit, own_logs
from caremesh.wallet.enrol import Custody, Writing
from caremesh.wallet.share import Terms
from caremesh.wallet.wallet import Shared, Wallet


class MemberSponsor:
    """A member that sponsors a person's transactions."""

    def __init__(self, home: MemberHome) -> None:
        self._home = home

    @property
    def did(self) -> Did:
        """See ``wallet.ports.Sponsor``."""
        return self._home.did

    def sponsor(self, tx_bytes: bytes) -> bytes:
        """See ``wallet.ports.Sponsor``."""
        return self._home.sponsor(tx_bytes)


class Person:
    """A wallet on a mesh: enrols with members, shares with them, revokes, and reads the audit."""

    def __init__(self, mesh: LocalMesh, wallet: Wallet, sponsor: str = "hospital") -> None:
        self._mesh = mesh
        self.wallet = wallet
        self._ledger = mesh.subject_ledger()
        self._sponsor = MemberSponsor(mesh.member(sponsor).home)

    @classmethod
    def create(cls, mesh: LocalMesh, path: Path, passphrase: str) -> tuple[Person, str]:
        """A new wallet and its recovery phrase."""
        wallet, phrase = Wallet.create(path, passphrase, CHAIN, mesh.clock)
        return cls(mesh, wallet), phrase

    @classmethod
    def restore(cls, mesh: LocalMesh, path: Path, passphrase: str, phrase: str) -> Person:
        """A wallet from its phrase and the ledger."""
        reader = mesh.subject_ledger().reader()
        return cls(mesh, Wallet.restore(path, passphrase, phrase, CHAIN, reader, ALL, mesh.clock))

    @classmethod
    def open(cls, mesh: LocalMesh, path: Path, passphrase: str) -> Person:
        """A wallet that is there already."""
        return cls(mesh, Wallet.open(path, passphrase, CHAIN, mesh.clock))

    def enrol(self, member: str, patient: str, days: int = 365) -> None:
        """Let a member write records of ``patient`` (its own id for this person) for so many days."""
        home = self._mesh.member(member).home
        custody = Custody(custodians=sorted(set(self._mesh.custodians) - {home.did}), threshold=THRESHOLD)
        until = (self._mesh.clock() // DAY_S + days) * DAY_S
        enrolled = self.wallet.enrol(self._ledger.reader(), home.did, ALL, custody, Writing(until=until))
        self._mesh.member(member).source(self._mesh).enrol(patient, enrolled.sealed)

    def share(
        self, member: str, categories: Sequence[Code], *, days: int, purposes: Sequence[Code] = ("TREAT",)
    ) -> Shared:
        """Grant a member these categories, today and for so many days; the member gets the share."""
        start = self._mesh.clock() // DAY_S * DAY_S
        terms = Terms(
            grantee=self._mesh.member(member).home.did,
            streams=states.choose(self.wallet.state, list(categories)),
            purposes=list(purposes),
            actions=["read"],
            from_=start,
            until=start + days * DAY_S,
            explicit=True,
        )
        height = self._mesh.engine.status().height
        shared = self.wallet.share(terms, self._ledger, height, self._sponsor, self._mesh)
        self._mesh.member(member).gateway(self._mesh).receive_share(shared.message)
        return shared

    def revoke(self, share: bytes) -> None:
        """Take a share back."""
        self.wallet.revoke(share, self._ledger, self._sponsor)

    def audit(self) -> Audit:
        """Who looked, from the ledger and all custodians' logs."""
        reader = self._ledger.reader()
        logs = own_logs(self.wallet.state, reader, self._mesh, self._mesh.clock())
        return self.wallet.audit(self._ledger.reader(), logs)
