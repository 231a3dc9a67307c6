"""Read a bundle, keeping the original bytes of each resource: they are what is hashed, sealed and given back.

All or nothing: one entry that cannot be read, and nothing of the bundle is.

Which resources are a subject's records: all but those of ``DIRECTORY_TYPES``, which are nobody's (Organization,
Practitioner, …) and go to the member's directory. A Medication in a patient's bundle says what that patient takes, so
it counts as a record there.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct

from caremesh.errors import BadInput
from caremesh.fhir import errors

DIRECTORY_TYPES: Final = frozenset(
    {"Organization", "Practitioner", "PractitionerRole", "Location", "HealthcareService", "Endpoint"}
)
BUNDLE_TYPES: Final = ("transaction", "batch", "collection")

Name = Annotated[str, Meta(pattern=r"^[A-Z][A-Za-z]{1,63}$")]
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9\-.]{1,64}$")]
"""FHIR R4, data type ``id``."""


class _Entry(Struct):
    resource: Raw
    fullUrl: str = ""  # noqa: N815 - FHIR's name


class _Bundle(Struct):
    resourceType: str = ""  # noqa: N815 - FHIR's name
    type: str = ""
    entry: list[_Entry] = []


class _MetaData(Struct):
    versionId: str = ""  # noqa: N815 - FHIR's name
    lastUpdated: str = ""  # noqa: N815 - FHIR's name


class _Head(Struct):
    resourceType: Name  # noqa: N815 - FHIR's name
    id: Id
    meta: _MetaData = msgspec.field(default_factory=_MetaData)


class Resource(Struct, frozen=True, kw_only=True):
    """One resource. ``data``: its original bytes; ``json``: the same, parsed."""

    type: str
    id: str
    version: str
    last_updated: str
    full_url: str
    data: bytes
    json: dict[str, Any]

    def __repr__(self) -> str:
        return f"Resource({self.type})"


class Bundle(Struct, frozen=True, kw_only=True):
    """What a bundle holds, in its order. ``patient`` is also the first of ``records`` of its type."""

    patient: Resource | None
    records: list[Resource]
    directory: list[Resource]


_DECODER: Final = msgspec.json.Decoder(_Bundle)
_HEADS: Final = msgspec.json.Decoder(_Head)


def read_bundle(data: bytes) -> Bundle:
    """The subject's records of a bundle. Raises BadInput fhir.01 to fhir.08; nothing of a bad bundle is used."""
    bundle = read_any(data)
    if bundle.patient is None:
        raise BadInput(errors.NO_PATIENT)
    return bundle


def read_directory(data: bytes) -> list[Resource]:
    """The directory resources of a bundle that has no patient. Raises BadInput fhir.01 to fhir.08."""
    return read_any(data).directory


def read_any(data: bytes) -> Bundle:
    """A bundle with or without a patient. Raises BadInput fhir.01 to fhir.03, fhir.05 to fhir.08."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(errors.NOT_UTF8, f"byte {error.start}") from error
    try:
        bundle = _DECODER.decode(data)
    except msgspec.ValidationError as error:
        raise BadInput(errors.NOT_A_BUNDLE, _path(error)) from error
    except RecursionError as error:
        raise BadInput(errors.TOO_DEEP) from error
    except msgspec.DecodeError as error:
        raise BadInput(errors.NOT_JSON) from error
    if bundle.resourceType != "Bundle" or bundle.type not in BUNDLE_TYPES:
        raise BadInput(errors.NOT_A_BUNDLE)
    resources = [_resource(entry, index) for index, entry in enumerate(bundle.entry)]
    seen: set[tuple[str, str]] = set()
    for index, resource in enumerate(resources):
        if (resource.type, resource.id) in seen:
            raise BadInput(errors.TWICE, f"entry[{index}]")
        seen.add((resource.type, resource.id))
    patients = [resource for resource in resources if resource.type == "Patient"]
    if len(patients) > 1:
        raise BadInput(errors.TWO_PATIENTS)
    return Bundle(
        patient=patients[0] if patients else None,
        records=[resource for resource in resources if resource.type not in DIRECTORY_TYPES],
        directory=[resource for resource in resources if resource.type in DIRECTORY_TYPES],
    )


def _resource(entry: _Entry, index: int) -> Resource:
    data = bytes(entry.resource)
    try:
        head = _HEADS.decode(data)
        json = msgspec.json.decode(data)
    except RecursionError as error:
        raise BadInput(errors.TOO_DEEP, f"entry[{index}].resource") from error
    except msgspec.DecodeError as error:
        raise BadInput(errors.NO_TYPE, f"entry[{index}].resource") from error
    return Resource(
        type=head.resourceType,
        id=head.id,
        version=head.meta.versionId,
        last_updated=head.meta.lastUpdated,
        full_url=entry.fullUrl,
        data=data,
        json=json,
    )


def _path(error: msgspec.ValidationError) -> str:
    """The JSON path of a msgspec error, without the offending value."""
    _, _, path = str(error).partition(" - at `")
    return path.rstrip("`")
