"""What a wallet knows, kept by three members who cannot read it: so that the phrase alone brings everything back.

    locator key = Ed25519 of HKDF(seed, "caremesh/v1/index" ‖ "locator"); locator = its public key
    keepers     = the three active members whose H("caremesh/v1/index-keeper" ‖ locator ‖ DID) is lowest
    content     = wallet state without its seed, framed (compressed, padded to Padmé), AES-256-GCM under
                  HKDF(seed, "caremesh/v1/index" ‖ "content" ‖ salt), AAD = locator
    salt        = HKDF(seed, "caremesh/v1/index" ‖ "salt" ‖ SHA-256(frame)): one content has one spelling, so that
                  leaving it again is no change, and no key encrypts two contents
    entry       = Signed { locator, version, salt, content } by the locator key

A keeper takes a higher version than it has, signed by the locator, and nothing else: nobody else can put anything in
its place, and an old copy counts for less than a new one. The locator is derived from the seed alone and is the
name of nothing else, so keepers can tell neither whose index it is nor what it is about; its size says how much,
roughly. Of three copies the newest that opens is believed; the others are named.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, NamedTuple, Protocol

from msgspec import Meta, Struct
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.members import queries as members
from caremesh.crypto.envelope import open_aead, seal_aead
from caremesh.crypto.hashes import sha256, tagged_hash
from caremesh.crypto.keys import SigningKey, derive
from caremesh.errors import BadInput, CareMeshError, Refused, Tampered
from caremesh.ledger.state import Reader
from caremesh.sealing import custody
from caremesh.sealing.frames import Framer
from caremesh.types import Bytes32, Count, Did, Multikey
from caremesh.wallet.errors import INDEX_CHANGED, INDEX_OLDER, INDEX_TOO_LARGE
from caremesh.wallet.state import WalletState

INDEX: Final = "caremesh/wallet-index/v1"
KEEPERS: Final = 3
MAX_INDEX_BYTES: Final = 4 * 1024 * 1024
_MAX_STATE_BYTES: Final = 64 * 1024 * 1024
_DOMAIN: Final = b"caremesh/v1/index"
_NO_SEED: Final = bytes(32)


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of an index, as keepers hold it."""

    locator: Multikey
    version: Count
    salt: Bytes32
    content: Annotated[bytes, Meta(max_length=MAX_INDEX_BYTES)]

    def __repr__(self) -> str:
        return f"Entry({self.version}, {len(self.content)} bytes)"


class Keepers(Protocol):
    """The way to members that keep indexes."""

    def put_index(self, member: Did, data: bytes) -> None:
        """Leave a version of an index. Raises CareMeshError."""

    def get_index(self, member: Did, locator: Multikey) -> bytes | None:
        """The version that a member has, or None. Raises CareMeshError."""


class Found(NamedTuple):
    """The newest state that opens, if any, and what was wrong with which member's copy."""

    state: WalletState | None
    faults: list[tuple[Did, str]]


def locator(seed: bytes) -> SigningKey:
    """The key whose public part is the index's name."""
    return SigningKey.from_seed(derive(seed, _DOMAIN, b"locator"))


def keepers(reader: Reader, name: Multikey) -> list[Did]:
    """All active members, those that keep this index first."""
    active = [member.did for member in members.members(reader) if member.status == "active"]
    return sorted(active, key=lambda did: tagged_hash("caremesh/v1/index-keeper", name, did.encode()))


def sealed(state: WalletState) -> bytes:
    """The index of this state, for keepers. Raises BadInput wallet.40."""
    key, frame = locator(state.seed), Framer().frame(codec.encode(replace(state, seed=_NO_SEED)))
    salt = derive(state.seed, _DOMAIN, b"salt", sha256(frame))
    content = seal_aead(derive(state.seed, _DOMAIN, b"content", salt), frame, key.public)
    if len(content) > MAX_INDEX_BYTES:
        raise BadInput(INDEX_TOO_LARGE)
    entry = Entry(locator=key.public, version=state.version, salt=salt, content=content)
    return codec.encode(custody.sign_payload(INDEX, entry, key))


def check(data: bytes, known: bytes | None) -> Entry:
    """What a keeper checks before it takes a version. ``known``: the one that it has.

    Raises Tampered custody.01, custody.02; Refused wallet.41 for a version that is not newer than the known one.
    """
    entry = read(data)
    if known is not None and entry.version <= read(known).version and data != known:
        raise Refused(INDEX_OLDER)
    return entry


def read(data: bytes) -> Entry:
    """An entry under its locator's signature. Raises Tampered custody.01, custody.02."""
    signed = custody.read_signed(data, "index")
    entry = custody.open_signed(INDEX, signed, Entry, signed.key, "index")
    if entry.locator != signed.key:
        raise Tampered(custody.OTHER_KEY, "index")
    return entry


def leave(state: WalletState, reader: Reader, way: Keepers) -> list[tuple[Did, str]]:
    """Leave the index with its keepers; those that did not take it, with the code of what was wrong."""
    data, missing = sealed(state), []
    for did in keepers(reader, locator(state.seed).public)[:KEEPERS]:
        try:
            way.put_index(did, data)
        except CareMeshError as error:
            missing.append((did, error.code))
    return missing


def find(seed: bytes, chain: str, reader: Reader, way: Keepers) -> Found:
    """The newest copy that opens, of those that members have; who was away or lied is named.

    All members are asked, those that keep it first: who keeps it changes when members come and go.
    """
    name = locator(seed).public
    best: WalletState | None = None
    copies: list[tuple[Did, Count]] = []
    faults: list[tuple[Did, str]] = []
    for did in keepers(reader, name):
        try:
            data = way.get_index(did, name)
            if data is None:
                continue
            state = _opened(seed, chain, data)
        except CareMeshError as error:
            faults.append((did, error.code))
            continue
        copies.append((did, state.version))
        if best is None or state.version > best.version:
            best = state
    newest = 0 if best is None else best.version
    return Found(best, faults + [(did, INDEX_OLDER.code) for did, version in copies if version < newest])


def _opened(seed: bytes, chain: str, data: bytes) -> WalletState:
    """Raises Tampered wallet.42, custody.01, custody.02."""
    entry = read(data)
    name = locator(seed).public
    if entry.locator != name:
        raise Tampered(INDEX_CHANGED)
    try:
        frame = open_aead(derive(seed, _DOMAIN, b"content", entry.salt), entry.content, name, "index")
        state = codec.decode_as(Framer().unframe(frame, _MAX_STATE_BYTES), WalletState)
    except (BadInput, Tampered) as error:
        raise Tampered(INDEX_CHANGED) from error
    if (state.chain, state.seed, state.version) != (chain, _NO_SEED, entry.version):
        raise Tampered(INDEX_CHANGED)
    return replace(state, seed=seed)


def codes(faults: Iterable[tuple[Did, str]]) -> dict[Did, str]:
    """The first thing that was wrong with each member's copy."""
    found: dict[Did, str] = {}
    for did, code in faults:
        found.setdefault(did, code)
    return found
