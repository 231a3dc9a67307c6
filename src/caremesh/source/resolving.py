"""Which resource a reference means: one of the same file, or one that is here already.

Nothing is rewritten (docs/adr/0057). What leads nowhere is refused where FHIR says that it must lead somewhere: within
the bundle (``urn:uuid:``) and for conditions, which must fit exactly one resource (FHIR R4, http.html#trules).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from msgspec import Struct

from caremesh.errors import BadInput
from caremesh.fhir import errors
from caremesh.fhir import references as refs
from caremesh.fhir.entries import Entry
from caremesh.fhir.references import Condition
from caremesh.types import Code, Count, Digest


class Found(Struct, frozen=True, kw_only=True):
    """A resource to import. ``own_id``: the ``id`` in its bytes; ``patient``: whose record it is, "" for nobody's."""

    entry: Entry
    type: str
    id: str
    own_id: str
    version: str
    last_updated: str
    size_bytes: Count
    digest: Digest
    category: Code
    patient: str
    subject: str
    references: list[tuple[str, str]]
    identifiers: list[bytes]


class Known(Protocol):
    """What is here already."""

    def find(self, condition: Condition) -> list[str]:
        """Ids of the resources that a condition fits."""
        ...

    def look_at(self, patient: str) -> None:
        """Let conditions find the records of a patient who is enrolled."""
        ...

    def is_enrolled(self, patient: str) -> bool:
        """Whether a patient of this id has given a sealing profile."""
        ...

    def version(self, patient: str, type_: str, id_: str, version: str) -> Digest | None:
        """The hash of a version of a record that is held, when it has a version id."""
        ...


Key = tuple[str, str]
"""(type, id)"""


class Resolver:
    """Resolves the references of one file."""

    def __init__(self, known: Known, found: Iterable[Found]) -> None:
        self._known = known
        self._by_name: dict[Key, Key] = {}
        self._by_uuid: dict[str, Key] = {}
        self._by_identifier: dict[tuple[str, bytes], set[str]] = {}
        self._here: dict[str, Key | None] = {}
        self._conditions: dict[tuple[str, str], list[str]] = {}
        for item in found:
            key = item.type, item.id
            self._by_name[key] = self._by_uuid[item.id] = key
            if item.own_id:
                self._by_name.setdefault((item.type, item.own_id), key)
            for identifier in item.identifiers:
                self._by_identifier.setdefault((item.type, identifier), set()).add(item.id)

    def here(self, reference: str) -> Key | None:
        """The resource of this file that is meant, or None. Raises nothing."""
        try:
            return self._here[reference]
        except KeyError:
            named = refs.target(reference)
            found = None
            if named is not None:
                found = self._by_name.get(named) if named[0] else self._by_uuid.get(named[1])
            self._here[reference] = found
            return found

    def resolve_all(self, references: Iterable[tuple[str, str]], place: str) -> Iterator[tuple[str, str, Key | None]]:
        """(element, reference, resource that is meant) of each. Raises as ``resolve``."""
        known = self._here.get
        for name, reference in references:
            yield name, reference, known(reference) or self.resolve(reference, place)

    def resolve(self, reference: str, place: str) -> Key | None:
        """The resource that is meant, here or in the file; None when it is outside, or within its own resource.

        Raises BadInput fhir.25 to fhir.28.
        """
        if reference.startswith("#"):
            return None
        if "?" in reference:
            fits = self.matches(reference, "", place)
            if len(fits) != 1:
                raise BadInput(errors.SEVERAL_MATCH if fits else errors.NO_MATCH, place)
            return reference.partition("?")[0].rpartition("/")[2], fits[0]
        found = self.here(reference)
        if found is None and refs.is_local(reference):
            raise BadInput(errors.DANGLING, place)
        return found

    def matches(self, text: str, type_: str, place: str) -> list[str]:
        """Ids that a condition fits, in the file and here, sorted. Raises BadInput fhir.28."""
        if (text, type_) not in self._conditions:
            wanted = refs.condition(text, type_, place)
            fits = set() if wanted is None else set(self._known.find(wanted)) | self._fitting(wanted)
            self._conditions[text, type_] = sorted(fits)
        return self._conditions[text, type_]

    def _fitting(self, wanted: Condition) -> set[str]:
        if wanted.id:
            named = self._by_name.get((wanted.type, wanted.id))
            return {named[1]} if named is not None else set()
        return self._by_identifier.get((wanted.type, wanted.identifier), set())
