"""Split a file of FHIR JSON into its entries without parsing what is in them: a bundle, or one resource.

The bytes of each resource stay those of the file: they are what is hashed, sealed and given back. What is held besides
the file itself is a few hundred bytes an entry.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct

from caremesh.errors import BadInput, CareMeshError, ErrorCode
from caremesh.fhir import errors, text

DIRECTORY_TYPES: Final = frozenset(
    {"Organization", "Practitioner", "PractitionerRole", "Location", "HealthcareService", "Endpoint"}
)
ATOMIC_KINDS: Final = frozenset({"transaction", "collection", "history"})
"""Bundles that are imported whole or not at all. Entries of a ``batch`` are independent (FHIR R4, http.html#brules)."""
BUNDLE_KINDS: Final = ATOMIC_KINDS | {"batch"}
SINGLE: Final = "resource"
"""The kind of a file that holds one resource."""

Name = Annotated[str, Meta(pattern=r"^[A-Z][A-Za-z]{1,63}$")]
ID: Final = r"^[A-Za-z0-9\-.]{1,64}$"
Id = Annotated[str, Meta(pattern=ID)]
"""FHIR R4, data type ``id``."""
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_URN_UUID: Final = "urn:uuid:"


class Entry(Struct, frozen=True, kw_only=True):
    """One entry. ``raw``: its resource, as it stands in the file; ``method``, ``url``, ``condition``: its request."""

    place: str
    raw: Raw
    full_url: str = ""
    method: str = "POST"
    url: str = ""
    condition: str = ""
    """``ifNoneExist``: create it only when this finds nothing."""
    fault: ErrorCode | None = None
    """Why it could not even be taken out of its file."""


class Entries(Struct, frozen=True, kw_only=True):
    """A file: its kind (one of ``BUNDLE_KINDS`` or ``SINGLE``) and entries in order."""

    kind: str
    entries: list[Entry]


class Resource(Struct, frozen=True, kw_only=True):
    """One resource. ``data``: its original bytes; ``json``: the same, parsed; ``compact``: that as text again, without
    blanks or needless escapes; ``id``: who it is, see ``read_entry``.
    """

    type: str
    id: str
    version: str
    last_updated: str
    full_url: str
    data: bytes
    json: dict[str, Any]
    compact: bytes

    def __repr__(self) -> str:
        return f"Resource({self.type})"


class _Request(Struct):
    method: str = "POST"
    url: str = ""
    ifNoneExist: str = ""  # noqa: N815 - FHIR's name


class _MetaData(Struct):
    versionId: str = ""  # noqa: N815 - FHIR's name
    lastUpdated: str = ""  # noqa: N815 - FHIR's name


class _Head(Struct):
    resourceType: Name  # noqa: N815 - FHIR's name
    id: Id | None = None
    meta: _MetaData = msgspec.field(default_factory=_MetaData)


_ABSENT: Final = Raw(b"")


class _Members(Struct):
    """Of an entry (FHIR R4, Bundle.entry)."""

    fullUrl: Raw = _ABSENT  # noqa: N815 - FHIR's name
    resource: Raw = _ABSENT
    request: Raw = _ABSENT
    link: Raw = _ABSENT
    search: Raw = _ABSENT
    response: Raw = _ABSENT


_NONE: Final = Raw(b"null")
_NOT_ASKED: Final = _Request()
_USUAL_REQUEST: Final = re.compile(
    rb'\{\s*"method"\s*:\s*"([A-Z]{1,10})"\s*,\s*"url"\s*:\s*"([A-Za-z0-9/._-]{1,200})"\s*\}'
)
_MEMBERS: Final = msgspec.json.Decoder(list[_Members])
_RAWS: Final = msgspec.json.Decoder(list[Raw])
_RAW_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])
_TEXT: Final = msgspec.json.Decoder(str)
_REQUEST: Final = msgspec.json.Decoder(_Request)


def split(data: bytes | bytearray) -> Entries:
    """The entries of a file. Raises BadInput fhir.01 to fhir.03, fhir.08, fhir.21."""
    text.check_utf8(data)
    top = text.decode(_RAW_OBJECT.decode, data, "", errors.NOT_A_BUNDLE)
    kind = text.decode(_TEXT.decode, top.get("resourceType", _NONE), "", errors.NOT_A_BUNDLE)
    if kind != "Bundle":
        return Entries(kind=SINGLE, entries=[Entry(place=kind if kind.isalpha() else "resource", raw=Raw(data))])
    bundle = text.decode(_TEXT.decode, top.get("type", _NONE), "Bundle.type", errors.NOT_A_BUNDLE)
    if bundle not in BUNDLE_KINDS:
        raise BadInput(errors.NOT_A_BUNDLE, "Bundle.type")
    outside = sum(1 + bytes(raw).count(b":") for name, raw in top.items() if name != "entry") + ("entry" in top)
    if any(":" in name for name in top):
        raise BadInput(errors.DUPLICATE_KEY, "Bundle")
    raw = top.get("entry", Raw(b"[]"))
    colons = data.count(b":") - outside
    entries = _entries_at_once(raw, colons)
    return Entries(kind=bundle, entries=_entries(raw, colons) if entries is None else entries)


def _entries_at_once(raw: Raw, colons: int) -> list[Entry] | None:
    """All entries, when they have the usual members only, each once; None when somebody has to look closer.

    Every name is followed by a colon: when those of the members that are known add up, nothing else is there.
    """
    try:
        found = _MEMBERS.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    entries = []
    for index, one in enumerate(found):
        for member in (one.resource, one.fullUrl, one.request, one.link, one.search, one.response):
            if member is not _ABSENT:
                colons -= 1 + bytes(member).count(b":")
        asked = _NOT_ASKED if one.request is _ABSENT else _usual_request(bytes(one.request))
        url = "" if one.fullUrl is _ABSENT else _plain_text(bytes(one.fullUrl))
        if asked is None or url is None:
            return None
        entries.append(
            Entry(
                place=f"entry[{index}]",
                raw=_NONE if one.resource is _ABSENT else one.resource,
                full_url=url,
                method=asked.method,
                url=asked.url,
            )
        )
    return None if colons else entries


@lru_cache(maxsize=512)
def _usual_request(raw: bytes) -> _Request | None:
    """A request that has a method and a url without a condition, and nothing else."""
    found = _USUAL_REQUEST.fullmatch(raw)
    return None if found is None else _Request(method=found[1].decode(), url=found[2].decode())


def _plain_text(raw: bytes) -> str | None:
    """A JSON text without escapes."""
    return raw[1:-1].decode() if raw[:1] == b'"' and b"\\" not in raw else None


def _entries(raw: Raw, colons: int) -> list[Entry]:
    """All entries, each looked at. Raises BadInput fhir.08 when names are given twice."""
    raws = text.decode(_RAWS.decode, raw, "entry", errors.NOT_A_BUNDLE)
    entries = []
    for index, one in enumerate(raws):
        whole = bytes(one)
        colons -= whole.count(b":")
        entries.append(_entry(one, whole, f"entry[{index}]"))
    if colons:
        raise BadInput(errors.DUPLICATE_KEY, "Bundle")
    return entries


def read_entry(entry: Entry) -> Resource:
    """The resource of an entry. Raises BadInput fhir.01, fhir.02, fhir.06, fhir.08, fhir.21, fhir.23, fhir.24, or its
    ``fault``.

    Its id: the UUID of ``fullUrl`` when that is a ``urn:uuid`` (in a bundle, that is the resource's identity: FHIR R4,
    bundle.html#bundle-unique), else its own ``id``, else one made from its bytes, the same each time.
    """
    if entry.fault is not None:
        raise BadInput(entry.fault, entry.place)
    if entry.method not in {"POST", "PUT"}:
        raise BadInput(errors.NOT_AN_ADDITION, entry.place)
    place = f"{entry.place}.resource" if entry.place.startswith("entry") else entry.place
    data = bytes(entry.raw)
    json, compact = text.parse_both(data, place)
    try:
        head = msgspec.convert(json, _Head)
    except msgspec.ValidationError as error:
        raise BadInput(errors.NO_TYPE, place) from error
    own = head.id or ""
    if "?" in entry.url:
        raise BadInput(errors.NOT_AN_ADDITION, entry.place)
    path = entry.url.partition("/_history")[0].split("/")
    if entry.url and (
        path[-2:] != [head.resourceType, own] if entry.method == "PUT" else path[-1] != head.resourceType
    ):
        raise BadInput(errors.OTHER_IDENTITY, entry.place)
    named = entry.full_url.removeprefix(_URN_UUID) if entry.full_url.startswith(_URN_UUID) else ""
    return Resource(
        type=head.resourceType,
        id=named if named and _is_id(named) else own or made_id(data),
        version=head.meta.versionId,
        last_updated=head.meta.lastUpdated,
        full_url=entry.full_url,
        data=data,
        json=json,
        compact=compact,
    )


def lines(chunks: Iterator[bytes], longest_bytes: int) -> Iterator[Entry]:
    """The entries of NDJSON, line by line; blank lines are none. Never holds more than a chunk and a line.

    A line beyond ``longest_bytes`` is passed over, and where the chunks break off with an error nothing follows: both
    are entries with a ``fault``.
    """
    number, left, too_long = 1, bytearray(), False
    parts = iter(chunks)
    while True:
        try:
            chunk = next(parts, b"")
        except CareMeshError as error:
            yield Entry(place=f"line {number}", raw=_NONE, fault=error.error)
            return
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            left += end
            yield from _line(left, number, too_long=too_long or len(left) > longest_bytes)
            number, left, too_long = number + 1, bytearray(), False
        left += rest
        if len(left) > longest_bytes:
            left, too_long = bytearray(), True
        if not chunk:
            yield from _line(left, number, too_long=too_long)
            return


def made_id(data: bytes) -> str:
    """The id of a resource that has none: the same bytes are the same resource."""
    return hashlib.sha256(b"caremesh/v1/unnamed-resource\0" + data).hexdigest()[:32]


def _line(line: bytearray, number: int, *, too_long: bool) -> Iterator[Entry]:
    place = f"line {number}"
    if too_long:
        yield Entry(place=place, raw=_NONE, fault=errors.LINE_TOO_LONG)
    elif line.strip():
        yield Entry(place=place, raw=Raw(bytes(line.strip())))


def _entry(raw: Raw, whole: bytes, place: str) -> Entry:
    members = text.decode(_RAW_OBJECT.decode, raw, place, errors.NO_TYPE)
    colons = sum(1 + bytes(value).count(b":") for value in members.values())
    if colons != whole.count(b":") or any(":" in name for name in members):
        raise BadInput(errors.DUPLICATE_KEY, place)
    url = text.decode(_TEXT.decode, members["fullUrl"], place, errors.NO_TYPE) if "fullUrl" in members else ""
    asked = _Request()
    if "request" in members:
        text.split(bytes(members["request"]), place)
        asked = text.decode(_REQUEST.decode, members["request"], place, errors.NO_TYPE)
    return Entry(
        place=place,
        raw=members.get("resource", _NONE),
        full_url=url,
        method=asked.method,
        url=asked.url,
        condition=asked.ifNoneExist,
    )


def _is_id(value: str) -> bool:
    return _ID.fullmatch(value) is not None
