"""What a source has already: what it holds of each patient, read once for an import, and its directory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from caremesh import codec
from caremesh.blobs.vault import Vault
from caremesh.errors import Refused
from caremesh.fhir.entries import DIRECTORY_TYPES
from caremesh.fhir.references import Condition
from caremesh.ledger.state import Reader
from caremesh.sealing.channel import SealingProfile
from caremesh.source import errors
from caremesh.source.directory import Directory
from caremesh.source.index import HeldRecords, SourceIndex
from caremesh.source.registering import begun
from caremesh.types import Digest


class Copy(Protocol):
    """The member's copy of the ledger."""

    def reader(self) -> Reader:
        """Committed state."""
        ...


def profile_name(patient: str) -> str:
    """Where the vault keeps the sealing profile of a patient."""
    return f"profile/{patient}"


class Patients:
    """What a source has of the patients of one import, read once."""

    def __init__(self, vault: Vault, index: SourceIndex, ledger: Copy) -> None:
        self._vault = vault
        self._index = index
        self._ledger = ledger
        self._held: dict[str, HeldRecords] = {}
        self._profiles: dict[str, SealingProfile] = {}

    def is_enrolled(self, patient: str) -> bool:
        """Whether a patient has given a sealing profile."""
        return self._vault.has(profile_name(patient))

    def profile(self, patient: str) -> SealingProfile:
        """Raises Refused source.01."""
        if patient not in self._profiles:
            stored = self._vault.get(profile_name(patient))
            if stored is None:
                raise Refused(errors.NO_PROFILE)
            self._profiles[patient] = codec.decode_as(stored, SealingProfile)
        return self._profiles[patient]

    def held(self, patient: str) -> HeldRecords:
        """Its records here, those that wait to be registered with them."""
        if patient not in self._held:
            registered = self._index.segments(patient, self._ledger.reader())
            known = {entry.descriptor for entry in registered}
            waiting = [
                self._index.segment(patient, stream, cid)
                for stream, cid in begun(self._vault, patient)
                if cid not in known
            ]
            self._held[patient] = HeldRecords(registered + [entry for entry in waiting if entry is not None])
        return self._held[patient]

    def all_held(self) -> Iterable[HeldRecords]:
        """Of the patients that were asked for so far."""
        return list(self._held.values())

    def forget(self) -> None:
        """Read again what is held."""
        self._held.clear()


class Here:
    """What is here already, as the survey asks for it (``resolving.Known``)."""

    def __init__(self, patients: Patients, directory: Directory) -> None:
        self.patients = patients
        self._directory = directory

    def find(self, condition: Condition) -> list[str]:
        """Ids of the resources that a condition fits."""
        if condition.type in DIRECTORY_TYPES:
            return self._directory.find(condition)
        return sorted({id_ for held in self.patients.all_held() for id_ in held.find(condition)})

    def look_at(self, patient: str) -> None:
        """Let conditions find the records of a patient who is enrolled."""
        self.patients.held(patient)

    def is_enrolled(self, patient: str) -> bool:
        """Whether a patient of this id has given a sealing profile."""
        return self.patients.is_enrolled(patient)

    def version(self, patient: str, type_: str, id_: str, version: str) -> Digest | None:
        """The hash of a version of a record that is held, when it has a version id."""
        return self.patients.held(patient).version(type_, id_, version)
