"""Enrol with a member: a stream per category, and the sealing profile that lets the member write to them.

A write permit is DAG-CBOR {chain, stream, key, rotation, source, epoch, reading key, custodians, threshold, serial,
until, max segments}, signed by the stream's key. Nothing goes on the ledger at enrolment: the first registration, or
the first grant, carries the permit and opens the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import SystemRandom

from msgspec import Struct
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.members import queries as members
from caremesh.contracts.streams import queries as streams
from caremesh.contracts.streams.messages import PERMIT_DOMAIN, Permit
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, Refused
from caremesh.ledger.state import Reader
from caremesh.sealing import channel
from caremesh.sealing.channel import ProfileEntry, SealingProfile
from caremesh.types import DAY_S, Code, Count, Did, Seconds, SignedPermit
from caremesh.wallet import state as states
from caremesh.wallet.derive import StreamKeys
from caremesh.wallet.errors import BAD_CATEGORIES, BAD_THRESHOLD, NOT_OPEN, NOT_WHOLE_DAYS
from caremesh.wallet.members import active_member
from caremesh.wallet.standing import caught_up
from caremesh.wallet.state import Relationship, Stream, WalletState

DEFAULT_CUSTODIANS = 3
DEFAULT_THRESHOLD = 2
DEFAULT_MAX_SEGMENTS = 4096


class Custody(Struct, frozen=True, kw_only=True):
    """Who will keep fragments and seals of the streams, and how many of them must agree."""

    custodians: list[Did]
    threshold: Count = DEFAULT_THRESHOLD


class Writing(Struct, frozen=True, kw_only=True):
    """What the member may write. ``until``: seconds UTC, a whole day."""

    until: Seconds
    max_segments: Count = DEFAULT_MAX_SEGMENTS


class Enrolled(Struct, frozen=True, kw_only=True):
    """The wallet's new state, the profile, and the profile as it travels: sealed to the member."""

    state: WalletState
    profile: SealingProfile
    sealed: bytes


def custody_for(reader: Reader, source: Did) -> Custody:
    """The custodians that the ledger has, the source apart: at most ``DEFAULT_CUSTODIANS`` of them, drawn at random."""
    able = [
        member.did
        for member in members.members(reader)
        if member.status == "active" and "custodian" in member.roles and member.did != source
    ]
    chosen = sorted(SystemRandom().sample(able, min(len(able), DEFAULT_CUSTODIANS)))
    return Custody(custodians=chosen, threshold=min(DEFAULT_THRESHOLD, max(1, len(chosen))))


def enrol(
    state: WalletState, reader: Reader, member: Did, categories: Sequence[Code], custody: Custody, writing: Writing
) -> Enrolled:
    """Streams for these categories with ``member``, and its sealing profile.

    Enrolling again adds what is missing and signs new permits, with higher serials, for what is there.
    Raises Refused wallet.13, wallet.14 (the member or a custodian), BadInput wallet.16 to wallet.18.
    """
    _check(categories, custody, writing)
    admitted = [active_member(reader, did) for did in [member, *custody.custodians]]
    entry = states.relationship_with(state, member) or Relationship(member=member)
    keys = states.keys_of(state, member)
    known = {stream.category: stream for stream in entry.streams}
    for category in categories:
        found = known.get(category) or Stream(category=category, id=keys.stream(category).id)
        stream, stream_keys = caught_up(reader, found), keys.stream(category, found.counter)
        opened = streams.stream(reader, stream.id)  # its custodians are changed by a message of their own
        kept = custody if opened is None else Custody(custodians=opened.custodians, threshold=opened.threshold)
        known[category] = permitted(state.chain, member, stream, stream_keys, kept, writing)
    entry = replace(entry, streams=list(known.values()))
    channel_keys = keys.channel()
    profile = SealingProfile(
        chain=state.chain,
        member=member,
        channel_key=channel_keys.signing.public,
        channel_hpke=channel_keys.hpke_public,
        entries=[_entry(known[category], keys.stream(category, known[category].counter)) for category in categories],
        relay=state.relay,
    )
    sealed = channel.tell(channel.SEALING_PROFILE, member, admitted[0].keys.channel, profile, channel_keys.signing)
    return Enrolled(state=states.with_relationship(state, entry), profile=profile, sealed=sealed)


def profile_of(state: WalletState, reader: Reader, member: Did) -> bytes:
    """The sealing profile as it stands, with every stream that has a permit, sealed to the member; to be sent again.

    Raises Refused wallet.13, wallet.14, wallet.21.
    """
    entry = states.relationship_with(state, member)
    known = [] if entry is None else [stream for stream in entry.streams if stream.permit]
    if not known:
        raise Refused(NOT_OPEN, member)
    keys = states.keys_of(state, member)
    channel_keys = keys.channel()
    profile = SealingProfile(
        chain=state.chain,
        member=member,
        channel_key=channel_keys.signing.public,
        channel_hpke=channel_keys.hpke_public,
        entries=[_entry(stream, keys.stream(stream.category, stream.counter)) for stream in known],
        relay=state.relay,
    )
    to = active_member(reader, member).keys.channel
    return channel.tell(channel.SEALING_PROFILE, member, to, profile, channel_keys.signing)


def permitted(chain: str, member: Did, stream: Stream, keys: StreamKeys, custody: Custody, writing: Writing) -> Stream:
    """The stream with a new write permit for ``member``, its serial higher than any before."""
    reading = keys.reading(stream.epoch)
    signing = keys.signing(stream.rotation)
    permit = Permit(
        chain=chain,
        stream=stream.id,
        key=signing.public,
        rotation=stream.rotation,
        source=member,
        epoch=stream.epoch,
        reading_key=reading.public,
        custodians=sorted(custody.custodians),
        threshold=custody.threshold,
        serial=stream.serial + 1,
        until=writing.until,
        max_segments=writing.max_segments,
    )
    return replace(stream, serial=permit.serial, permit=codec.encode(sign_permit(permit, signing)))


def sign_permit(permit: Permit, key: SigningKey) -> SignedPermit:
    """The permit under the stream key's signature."""
    data = codec.encode(permit)
    return SignedPermit(permit=data, signature=key.sign(PERMIT_DOMAIN + data))


def _entry(stream: Stream, keys: StreamKeys) -> ProfileEntry:
    return ProfileEntry(
        category=stream.category,
        stream=stream.id,
        reading_key=keys.reading(stream.epoch).public,
        permit=codec.decode_as(stream.permit, SignedPermit),
    )


def _check(categories: Sequence[Code], custody: Custody, writing: Writing) -> None:
    if not categories or len(set(categories)) != len(categories):
        raise BadInput(BAD_CATEGORIES)
    if not 1 <= custody.threshold <= len(set(custody.custodians)) == len(custody.custodians):
        raise BadInput(BAD_THRESHOLD, f"{custody.threshold} of {len(custody.custodians)}")
    if writing.until % DAY_S:
        raise BadInput(NOT_WHOLE_DAYS, "until")
