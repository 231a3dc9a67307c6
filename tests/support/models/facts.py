"""What the models believe: plain values under names. Nothing here knows how a contract does it."""

from __future__ import annotations

from dataclasses import dataclass, field

from caremesh.codec import CID
from tests.support.world import NOW


@dataclass
class Did:
    """``key``: the name of its current key. ``recovery``: the key that waits, and from when it may take over."""

    key: str
    kind: str
    enrolled_by: str
    active: bool = True
    rotation: int = 0
    guardians: list[tuple[str, int]] = field(default_factory=list)
    threshold: int = 0
    recovery: tuple[str, int] | None = None


@dataclass
class Member:
    roles: list[str]
    place: str
    receiving: str
    status: str = "active"
    endpoints: list[str] = field(default_factory=list)


@dataclass
class Appointment:
    roles: list[str]
    until: int
    status: str = "active"


@dataclass
class LawVersion:
    """It counts from height ``starts`` up to, not including, ``ends``."""

    law: str
    places: list[str]
    starts: int
    ends: int | None = None


@dataclass
class Network:
    quorum: int = 2
    authorities: tuple[str, ...] = ("north", "south", "west")
    quota: int = 10_000
    window: int = 3_600
    audit_years: int = 6
    receipt_life: int = 900
    recovery_wait: int = 259_200
    answer: int = 2_592_000
    review: int = 604_800
    brake: tuple[str, int] | None = None
    validators: list[tuple[str, str]] = field(default_factory=list)
    """(member, key)"""
    lines: dict[str, str] = field(default_factory=dict)
    """By a key that took part in a rotation: the first of its line."""
    given_up: set[str] = field(default_factory=set)
    removed: dict[str, int] = field(default_factory=dict)
    """By the first key of a line: the block that removed it for signing twice."""
    version: int = 1
    following: tuple[int, int] | None = None
    spent: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By member: (window, messages)."""


@dataclass
class Controller:
    powers: list[str]
    until: int


@dataclass(frozen=True)
class Permit:
    """What a write permit says. ``signer``: the key that signs it; ``garbled``: it is no permit at all."""

    stream: str
    key: str
    rotation: int
    source: str
    epoch: int
    reading: str
    custodians: tuple[str, ...]
    threshold: int
    serial: int
    until: int
    most: int
    signer: str
    chain: str = "test"
    garbled: bool = False


@dataclass
class Stream:
    """``permit``: the newest; ``left``: what it still lets in; ``writable``: not revoked or ended."""

    key: str
    source: str
    reading: str
    custodians: list[str]
    threshold: int
    serial: int = 0
    permit: Permit | None = None
    until: int = 0
    left: int = 0
    writable: bool = True
    rotation: int = 0
    epoch: int = 0
    closed: bool = False
    controllers: dict[str, Controller] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)
    names: set[bytes] = field(default_factory=set)
    """Descriptors and seals that are or were in it."""
    consents: list[str] = field(default_factory=list)
    offers: list[str] = field(default_factory=list)
    forgotten: int = 0
    """How many consents have left its list."""


@dataclass
class Segment:
    source: str
    epoch: int
    height: int
    descriptor: CID | None
    seal: bytes | None
    status: str = "current"
    version: int = 0
    successor: int | None = None
    attested: list[tuple[str, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Scope:
    kind: str
    segments: tuple[int, ...] = ()
    height: int = 0


@dataclass
class Consent:
    stream: str
    source: str
    grantee: str
    scope: Scope
    actions: list[str]
    purposes: list[str]
    starts: int
    ends: int
    epoch: int
    receiving: str
    verifying: str
    fragments: list[tuple[str, str]]
    explicit: bool
    threshold: int
    most: int | None = None
    place: str | None = None
    second: bool = False
    policies: list[str] = field(default_factory=list)
    revoked: int | None = None
    visits: int = 0
    forgotten: bool = False


@dataclass
class Offer:
    stream: str
    member: str
    actions: list[str]
    purposes: list[str]
    until: int
    expires: int
    id: bytes
    status: str = "open"


@dataclass
class Record:
    """A receipt, refusal or emergency. ``why``: the code of the denial."""

    id: bytes
    kind: str
    stream: str
    member: str
    requester: str
    purpose: str
    action: str
    at: int
    height: int
    consent: str = ""
    asserted: bool = False
    why: str = ""
    segments: list[int] = field(default_factory=list)
    expires: int = 0
    closed: bool = False
    first: str = ""
    began: int = 0
    policies: list[str] = field(default_factory=list)
    dispute: tuple[int, bool] | None = None
    """When it is due, and whether it was answered."""
    review_due: int = 0
    reviewed: bool = False
    forgotten: bool = False


@dataclass
class Facts:
    """All that the models believe of one ledger."""

    now: int = NOW
    height: int = 0
    dids: dict[str, Did] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    """Every key that a DID has, had, or waits for: whose it is."""
    members: dict[str, Member] = field(default_factory=dict)
    people: dict[tuple[str, str], Appointment] = field(default_factory=dict)
    """By practitioner and member."""
    network: Network = field(default_factory=Network)
    laws: dict[str, list[LawVersion]] = field(default_factory=dict)
    streams: dict[str, Stream] = field(default_factory=dict)
    stream_keys: dict[str, str] = field(default_factory=dict)
    """Every key that a stream has or had, controllers' too: which stream's it is."""
    consents: dict[str, Consent] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    lists: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """Records by ("stream" | "consent" | "requester", its name), without those that were dropped."""
    queue: list[str] = field(default_factory=list)
    """All records in order of time, without those that were dropped."""
    reports: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)
    """By custodian: (root, count, when)."""
    approvals: dict[tuple[str, str], int] = field(default_factory=dict)
    """By member and approval: until when."""
