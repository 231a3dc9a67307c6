"""Read a bundle as a whole: its patient, the subject's records, and what belongs to the directory.

All or nothing: one entry that cannot be read, and nothing of the bundle is. Which resources are a subject's records:
all but those of ``DIRECTORY_TYPES``, which are nobody's (Organization, Practitioner, …) and go to the
member's directory. A Medication in a patient's bundle says what that patient takes, so it counts as a record there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from caremesh.errors import BadInput
from caremesh.fhir import errors
from caremesh.fhir.entries import DIRECTORY_TYPES, SINGLE, Entry, Resource, read_entry, split

__all__ = ["DIRECTORY_TYPES", "Bundle", "Resource", "patients", "read_any", "read_bundle", "read_directory"]


class Bundle(Struct, frozen=True, kw_only=True):
    """What a bundle holds, in its order. ``patient`` is also the first of ``records`` of its type."""

    patient: Resource | None
    records: list[Resource]
    directory: list[Resource]


class _Kind(Struct):
    resourceType: str = ""  # noqa: N815 - FHIR's name


_KINDS = msgspec.json.Decoder(_Kind)


def patients(entries: Iterable[Entry]) -> Iterator[str]:
    """The ids of the Patients among entries, without reading the others. What cannot be read is passed over."""
    for entry in entries:
        try:
            if _KINDS.decode(entry.raw).resourceType == "Patient":
                yield read_entry(entry).id
        except (msgspec.DecodeError, RecursionError, BadInput):
            continue


def read_bundle(data: bytes) -> Bundle:
    """The subject's records of a bundle. Raises BadInput fhir.01 to fhir.08, fhir.21 to fhir.24."""
    bundle = read_any(data)
    if bundle.patient is None:
        raise BadInput(errors.NO_PATIENT)
    return bundle


def read_directory(data: bytes) -> list[Resource]:
    """The directory resources of a bundle that has no patient. Raises as ``read_bundle``."""
    return read_any(data).directory


def read_any(data: bytes) -> Bundle:
    """A bundle with or without a patient. Raises as ``read_bundle``, but for fhir.04."""
    file = split(data)
    if file.kind == SINGLE:
        raise BadInput(errors.NOT_A_BUNDLE)
    resources = []
    seen: set[tuple[str, str, str]] = set()
    patients: dict[str, Resource] = {}
    for entry in file.entries:
        resource = read_entry(entry)
        name = resource.type, resource.id, resource.version if file.kind == "history" else ""
        if name in seen:
            raise BadInput(errors.TWICE, entry.place)
        seen.add(name)
        resources.append(resource)
        if resource.type == "Patient":
            patients.setdefault(resource.id, resource)
    if len(patients) > 1:
        raise BadInput(errors.TWO_PATIENTS)
    return Bundle(
        patient=next(iter(patients.values()), None),
        records=[resource for resource in resources if resource.type not in DIRECTORY_TYPES],
        directory=[resource for resource in resources if resource.type in DIRECTORY_TYPES],
    )
