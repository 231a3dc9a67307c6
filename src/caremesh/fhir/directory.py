"""A member's directory: plain, signed resources that are nobody's record (Organization, Practitioner, Location, …).

    signed by the member's node key, under the domain below: {member, type, id, version, data, identifiers, recorded}

Anyone may carry and keep an entry. Who reads one checks the signature against the key that the ledger names for the
member, so that it does not matter where it came from. What no signature can show is that nothing is missing.

One member asks another with a query and gets an answer, both DAG-CBOR: {wanted: [{type, id, identifier}]}, at most
``MAX_WANTED``, and {found: [[signed entry, …], …]}, for each what fits it. An answer has at most ``MAX_ANSWER_BYTES``:
who asked for more is refused, and asks for fewer at a time.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.errors import BadInput, ErrorCode, Tampered
from caremesh.fhir.entries import DIRECTORY_TYPES, ID, Id, Resource
from caremesh.fhir.references import IDENTIFIER_BYTES, Condition, condition, identifiers, target
from caremesh.ledger.transactions import Signs
from caremesh.sealing.custody import open_signed, read_signed, sign_payload
from caremesh.types import Bytes16, Did, Multikey, Seconds

DIRECTORY_ENTRY: Final = "caremesh/directory-entry/v1"
MAX_ENTRY_BYTES: Final = 1024 * 1024
MAX_WANTED: Final = 200
MAX_FITTING: Final = 2
"""More than one that fits is as useless as many."""
MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
"""Of the entries of one answer; what one condition finds always fits."""
MAX_QUERY_BYTES: Final = 64 * 1024
WRONG_ENTRY = ErrorCode(
    "fhir.34", "A directory entry is of another member or type than it must be.", "Ask its member for it again."
)
WRONG_QUERY = ErrorCode(
    "fhir.46", "A directory is asked for what it cannot have.", "Name a directory resource by its id or an identifier."
)
TOO_MUCH = ErrorCode("fhir.47", "This is more than one answer of a directory holds.", "Ask for fewer at once.")


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


def read_query(data: bytes) -> DirectoryQuery:
    """A query as another member sent it. Raises BadInput codec.NN, fhir.46 for what no directory can have."""
    query = codec.decode_as(data, DirectoryQuery)
    for one in query.wanted:
        named = re.fullmatch(ID, one.id) if one.id else len(one.identifier) == IDENTIFIER_BYTES
        if one.type not in DIRECTORY_TYPES or not named:
            raise BadInput(WRONG_QUERY)
    return query


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
