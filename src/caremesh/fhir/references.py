"""What resources refer to, in the four forms of FHIR R4 (references.html): relative, absolute, within the bundle
(``urn:uuid:``), and by a condition (``Practitioner?identifier=system|value``).

Nothing is rewritten: the bytes of a record stay its source's. To resolve is to say which resource is meant, so that an
import can refuse what leads nowhere, and a reader can follow.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl

from msgspec import Struct

from caremesh.errors import BadInput
from caremesh.fhir import definitions, errors

SUBJECT_FIELDS: Final = ("subject", "patient", "beneficiary", "for", "individual")
"""Where a resource says whose it is (FHIR R4, Patient compartment)."""
_URN: Final = ("urn:uuid:", "urn:oid:")
IDENTIFIER_BYTES: Final = 16


class Condition(Struct, frozen=True, kw_only=True):
    """A search that must find one resource: by ``id``, or by the digest of an identifier."""

    type: str
    id: str = ""
    identifier: bytes = b""


def references(json: dict[str, Any], *, extended: bool = True) -> list[tuple[str, str]]:
    """(name of the element, literal reference) of every Reference at any depth.

    ``extended``: False for a valid R4 resource without extensions, of which elements that hold none are passed over.
    """
    without = frozenset[str]() if extended else _without()
    found: list[tuple[str, str]] = []
    waiting: list[tuple[str, Any]] = [("", json)]
    while waiting:
        name, item = waiting.pop()
        if item.__class__ is dict:
            reference = item.get("reference")
            if reference.__class__ is str:
                found.append((name, reference))
            for key, value in item.items():
                kind = value.__class__
                if kind is dict:
                    if key not in without:
                        waiting.append((key, value))
                elif kind is list and key not in without:
                    for one in value:
                        waiting.append((key, one))  # noqa: PERF401 - the stack is being read
        elif item.__class__ is list:
            waiting += [(name, value) for value in item]
    return found


@cache
def _without() -> frozenset[str]:
    """Names that no R4 element bears which can hold a Reference, but for one in an extension."""
    types = definitions.structure()["types"]
    leading = {"Reference", "Resource", "Element", "BackboneElement"}
    rows = [
        (path, {one["code"] for one in element.get("types", ())} or {"Element"})
        for one in types.values()
        for element in one["elements"][1:]
        if (path := element["path"]).rpartition(".")[2] not in ("extension", "modifierExtension")
    ]
    while more := {path.partition(".")[0] for path, codes in rows if codes & leading} - leading:
        leading |= more
    names: dict[str, bool] = {}
    for path, codes in rows:
        name = path.rpartition(".")[2]
        for code in codes:
            spelt = name.removesuffix("[x]") + code[:1].upper() + code[1:] if name.endswith("[x]") else name
            names[spelt] = names.get(spelt, True) and code not in leading
    return frozenset(name for name, plain in names.items() if plain)


def subject_of(json: dict[str, Any]) -> str:
    """The reference that says whose the resource is, or "" when it does not say."""
    for name in SUBJECT_FIELDS:
        value = json.get(name)
        if isinstance(value, dict) and isinstance(value.get("reference"), str):
            return str(value["reference"])
    return ""


def target(reference: str) -> tuple[str, str] | None:
    """(type, id) that a reference names; the type is "" for ``urn:uuid:``; None for conditions and fragments."""
    if reference.startswith(_URN):
        return "", reference.rpartition(":")[2]
    if reference.startswith("#") or "?" in reference:
        return None
    parts = reference.partition("/_history")[0].split("/")
    return (parts[-2], parts[-1]) if len(parts) > 1 else None


def is_local(reference: str) -> bool:
    """Whether it can only be meant for an entry of the same bundle."""
    return reference.startswith(_URN)


def condition(text: str, type_: str = "", place: str = "") -> Condition | None:
    """The condition of a conditional reference, or of ``ifNoneExist`` of a type; None when it is no condition.

    Raises BadInput fhir.28 for one that asks by anything but one ``identifier`` or ``_id``.
    """
    name, mark, query = text.rpartition("?")
    if not (mark or type_):
        return None
    asked = parse_qsl(query, keep_blank_values=True)
    kind = name.rpartition("/")[2] or type_
    if len(asked) == 1 and asked[0][0] == "_id":
        return Condition(type=kind, id=asked[0][1])
    if len(asked) == 1 and asked[0][0] == "identifier" and "|" in asked[0][1]:
        system, _, value = asked[0][1].partition("|")
        return Condition(type=kind, identifier=identifier_digest(system, value))
    raise BadInput(errors.CONDITION_NOT_READ, place)


def identifiers(json: dict[str, Any]) -> list[bytes]:
    """Digests of a resource's business identifiers, sorted."""
    value = json.get("identifier")
    found = set()
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict) and isinstance(item.get("value"), str):
            found.add(identifier_digest(str(item.get("system", "")), item["value"]))
    return sorted(found)


def identifier_digest(system: str, value: str) -> bytes:
    """16 bytes that stand for an identifier where the identifier itself need not be."""
    parts = "\0".join((system.replace("\0", ""), value)).encode("utf-8", "surrogatepass")
    return hashlib.sha256(b"caremesh/v1/identifier\0" + parts).digest()[:IDENTIFIER_BYTES]
