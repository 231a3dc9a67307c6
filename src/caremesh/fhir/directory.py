"""A member's directory: plain, signed resources that are nobody's record (Organization, Practitioner, Location, …).

    signed by the member's node key, under the domain below: {member, type, id, version, data, identifiers, recorded}

Anyone may carry and keep an entry. Who reads one checks the signature against the key that the ledger names for the
member, so that it does not matter where it came from. What no signature can show is that nothing is missing.

One member asks another with a query and gets an answer, both DAG-CBOR: {wanted: [{type, id, identifier}]}, at most
``MAX_WANTED``, and {found: [[signed entry, …], …]}, for each what fits it.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.errors import ErrorCode, Tampered
from caremesh.fhir.entries import DIRECTORY_TYPES, Id, Resource
from caremesh.fhir.references import Condition, condition, identifiers, target
from caremesh.ledger.transactions import Signs
from caremesh.sealing.custody import open_signed, read_signed, sign_payload
from caremesh.types import Bytes16, Did, Multikey, Seconds

DIRECTORY_ENTRY: Final = "caremesh/directory-entry/v1"
MAX_ENTRY_BYTES: Final = 1024 * 1024
MAX_WANTED: Final = 200
MAX_FITTING: Final = 2
"""More than one that fits is as useless as many."""
WRONG_ENTRY = ErrorCode(
    "fhir.34", "A directory entry is of another member or type than it must be.", "Ask its member for it again."
)


class DirectoryEntry(Struct, frozen=True, kw_only=True):
    """One version of one resource. ``data``: its original bytes; ``identifiers``: digests, to be found by."""

    member: Did
    type: str
    id: Id
    version: str
    data: Annotated[bytes, Meta(max_length=MAX_ENTRY_BYTES)]
    identifiers: list[Bytes16]
    recorded: Seconds


class DirectoryQuery(Struct, frozen=True, kw_only=True):
    """What to look for: each by ``id`` or by the digest of an ``identifier``."""

    wanted: Annotated[list[Condition], Meta(max_length=MAX_WANTED)]


class DirectoryAnswer(Struct, frozen=True, kw_only=True):
    """The newest signed version of what fits, for each that was wanted, at most ``MAX_FITTING`` each."""

    found: Annotated[list[Annotated[list[bytes], Meta(max_length=MAX_FITTING)]], Meta(max_length=MAX_WANTED)]


def wanted_by(reference: str) -> Condition | None:
    """What a reference asks a directory for; None when it means no directory resource. Raises BadInput fhir.28."""
    named = target(reference)
    found = condition(reference) if named is None else Condition(type=named[0], id=named[1])
    return found if found is not None and found.type in DIRECTORY_TYPES else None


def fits(entry: DirectoryEntry, wanted: Condition) -> bool:
    """Whether an entry is what was asked for."""
    if entry.type != wanted.type:
        return False
    return entry.id == wanted.id if wanted.id else wanted.identifier in entry.identifiers


def sign_entry(resource: Resource, member: Did, node_key: Signs, now: Seconds) -> bytes:
    """A resource of ``DIRECTORY_TYPES`` as a signed entry. Raises Tampered fhir.34 for one of another type."""
    if resource.type not in DIRECTORY_TYPES:
        raise Tampered(WRONG_ENTRY, resource.type)
    entry = DirectoryEntry(
        member=member,
        type=resource.type,
        id=resource.id,
        version=resource.version,
        data=resource.data,
        identifiers=identifiers(resource.json),
        recorded=now,
    )
    return codec.encode(sign_payload(DIRECTORY_ENTRY, entry, node_key))


def open_entry(data: bytes, member: Did, node_key: Multikey) -> DirectoryEntry:
    """What a member says of a resource. ``node_key``: that of the member, from the ledger.

    Raises Tampered custody.01, custody.02 when it is not signed by that key, fhir.34 when it is another member's or no
    directory resource.
    """
    entry = open_signed(DIRECTORY_ENTRY, read_signed(data), DirectoryEntry, node_key, member)
    if entry.member != member or entry.type not in DIRECTORY_TYPES:
        raise Tampered(WRONG_ENTRY, entry.type if entry.type.isalpha() else "type")
    return entry
