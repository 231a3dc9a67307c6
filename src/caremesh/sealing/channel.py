"""What a person tells a member over their channel: a sealing profile when they enrol, a share when they grant.

    Signed  = as in ``custody``, by the person's channel key towards this member
    sealed  = HPKE(member's channel key, Signed), info = domain, aad = member's DID

The channel key is the person's pseudonym for this member and nobody else. The member learns it from the profile (or,
for a grantee, from the first share) and expects it from then on.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.contracts.streams.messages import PERMIT_DOMAIN, Permit
from caremesh.crypto import envelope, signatures
from caremesh.errors import BadInput, ErrorCode, Tampered
from caremesh.ledger.transactions import ChainId, Signs
from caremesh.sealing.custody import Signed, open_signed, read_signed, sign_payload
from caremesh.types import Bytes16, Code, ConsentId, Did, Multikey, ReencryptionKey, SignedPermit, StreamId

SEALING_PROFILE: Final = "caremesh/sealing-profile/v1"
SHARE: Final = "caremesh/share/v1"
MAX_STREAMS: Final = 1024

NOT_FOR_THIS_MEMBER = ErrorCode(
    "custody.05", "This message was changed, or is for another member.", "Ask the patient to send it again."
)
WRONG_CONTENT = ErrorCode("custody.06", "This message contradicts itself or names another member or ledger.")


class ProfileEntry(Struct, frozen=True, kw_only=True):
    """Where a source writes records of one category, and by what permission."""

    category: Code
    stream: StreamId
    reading_key: ReencryptionKey
    """What it seals to; it cannot open what others sealed."""
    permit: SignedPermit


class SealingProfile(Struct, frozen=True, kw_only=True):
    """All that a member needs to write for one person."""

    chain: ChainId
    member: Did
    channel_key: Multikey
    """The person's pseudonym towards this member; it signs the profile."""
    channel_hpke: Annotated[bytes, Meta(min_length=1216, max_length=1216)]
    """What the member seals its answers to."""
    entries: Annotated[list[ProfileEntry], Meta(min_length=1, max_length=MAX_STREAMS)]
    relay: Did | None = None
    """Who keeps messages for the person; none: this member itself."""

    def __repr__(self) -> str:
        return f"SealingProfile({len(self.entries)} entries)"


class SharedStream(Struct, frozen=True, kw_only=True):
    """One stream that a grantee may read, and the consent that says so."""

    category: Code
    stream: StreamId
    consent: ConsentId


class Share(Struct, frozen=True, kw_only=True):
    """What a grantee is told of a grant: its streams and nothing of others. ``id`` ties several messages together."""

    chain: ChainId
    id: Bytes16
    grantee: Did
    channel_key: Multikey
    channel_hpke: Annotated[bytes, Meta(min_length=1216, max_length=1216)]
    subject: Annotated[str, Meta(max_length=200)]
    """Who this is to the grantee, in the person's own words: a patient number, a name; may be empty."""
    streams: Annotated[list[SharedStream], Meta(min_length=1, max_length=MAX_STREAMS)]
    relay: Did | None = None
    """Who keeps messages for the person; none: this member itself."""

    def __repr__(self) -> str:
        return f"Share({len(self.streams)} streams)"


Told = TypeVar("Told", SealingProfile, Share)


def tell(domain: str, member: Did, member_hpke: bytes, message: SealingProfile | Share, channel_key: Signs) -> bytes:
    """A message that only this member reads, signed by the person's channel key. Raises BadInput envelope.01."""
    signed = codec.encode(sign_payload(domain, message, channel_key))
    return envelope.hpke_seal(member_hpke, signed, domain.encode(), member.encode())


def hear_profile(chain: str, member: Did, hpke_private: bytes, sealed: bytes) -> SealingProfile:
    """The member's side, for a profile. Raises Tampered custody.05, custody.01, custody.02, custody.06."""
    profile = _hear(SEALING_PROFILE, SealingProfile, member, hpke_private, sealed)
    streams = {entry.stream for entry in profile.entries}
    if profile.chain != chain or profile.member != member or len(streams) != len(profile.entries):
        raise Tampered(WRONG_CONTENT, "profile")
    for position, entry in enumerate(profile.entries):
        _check_permit(entry, profile, f"entry {position}")
    return profile


def hear_share(chain: str, grantee: Did, hpke_private: bytes, sealed: bytes) -> Share:
    """The grantee's side, for a share. Raises Tampered custody.05, custody.01, custody.02, custody.06."""
    share = _hear(SHARE, Share, grantee, hpke_private, sealed)
    consents = {item.consent for item in share.streams}
    if share.chain != chain or share.grantee != grantee or len(consents) != len(share.streams):
        raise Tampered(WRONG_CONTENT, "share")
    return share


def _check_permit(entry: ProfileEntry, profile: SealingProfile, place: str) -> None:
    """The permit is for this member, stream and reading key, and signed by the stream's key."""
    try:
        permit = codec.decode_as(entry.permit.permit, Permit)
        signatures.verify(permit.key, PERMIT_DOMAIN + entry.permit.permit, entry.permit.signature)
    except (BadInput, Tampered) as error:
        raise Tampered(WRONG_CONTENT, place) from error
    said = permit.chain, permit.source, permit.stream, permit.reading_key
    if said != (profile.chain, profile.member, entry.stream, entry.reading_key):
        raise Tampered(WRONG_CONTENT, place)
    if permit.rotation == 0 and signatures.stream_of(permit.key) != entry.stream:
        raise Tampered(WRONG_CONTENT, place)


def _hear(domain: str, kind: type[Told], member: Did, hpke_private: bytes, sealed: bytes) -> Told:
    try:
        signed: Signed = read_signed(
            envelope.hpke_open(hpke_private, sealed, domain.encode(), member.encode()), kind.__name__
        )
    except Tampered as error:
        if error.code.startswith("custody."):
            raise
        raise Tampered(NOT_FOR_THIS_MEMBER, kind.__name__) from error
    message = open_signed(domain, signed, kind, signed.key)
    if message.channel_key != signed.key:
        raise Tampered(WRONG_CONTENT, kind.__name__)
    return message
