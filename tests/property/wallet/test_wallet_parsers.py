"""Whatever comes from outside, a wallet's content, a profile, a share, an acknowledgement, is a value or a coded no."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caremesh import codec
from caremesh.crypto import envelope
from caremesh.crypto.keys import SigningKey
from caremesh.errors import CareMeshError, Tampered
from caremesh.sealing import channel, custody
from caremesh.sealing.channel import ProfileEntry, SealingProfile, Share, SharedStream, hear_profile, hear_share
from caremesh.types import SignedPermit
from caremesh.wallet.state import Relationship, SharedItem, ShareRecord, Stream, WalletState, read_state

CHAIN, MEMBER = "test", "did:caremesh:test:" + "a" * 32
KEY = SigningKey.from_seed(bytes(range(32)))
PRIVATE, PUBLIC = envelope.hpke_from_seed(bytes(range(32)))
PERMIT = SignedPermit(permit=b"\xa0", signature=bytes(64))
PROFILE = SealingProfile(
    chain=CHAIN,
    member=MEMBER,
    channel_key=KEY.public,
    channel_hpke=PUBLIC,
    entries=[ProfileEntry(category="hiv", stream=bytes(32), reading_key=b"\x02" + bytes(32), permit=PERMIT)],
)
SHARE = Share(
    chain=CHAIN,
    id=bytes(16),
    grantee=MEMBER,
    channel_key=KEY.public,
    channel_hpke=PUBLIC,
    subject="",
    streams=[SharedStream(category="hiv", stream=bytes(32), consent=bytes(32))],
)
STATE = WalletState(
    chain=CHAIN,
    seed=bytes(32),
    relationships=[Relationship(member=MEMBER, streams=[Stream(category="hiv", id=bytes(32))])],
    shares=[
        ShareRecord(
            id=bytes(16),
            grantee=MEMBER,
            at=1,
            items=[SharedItem(category="hiv", stream=bytes(32), consent=bytes(32))],
        )
    ],
)

SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63),
    st.binary(max_size=40),
    st.text(max_size=20),
    st.just([]),
    st.just({}),
)


def sites(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a plain value."""
    found = [path]
    if isinstance(value, dict):
        for key in value:
            found += sites(value[key], (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += sites(item, (*path, index))
    return found


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The plain value with another at this place."""
    if not path:
        return new
    if isinstance(value, dict):
        return value | {path[0]: put(value[path[0]], path[1:], new)}
    return [put(item, path[1:], new) if index == path[0] else item for index, item in enumerate(value)]


@st.composite
def bent(draw: st.DrawFn, good: Any) -> bytes:
    """The encoding of a good value in which one place is something else, or with a field too many."""
    plain = codec.decode(codec.encode(good))
    path = draw(st.sampled_from(sites(plain)))
    if draw(st.booleans()) or not path:
        return codec.encode(put(plain, path, draw(SCALARS)))
    return codec.encode(plain | {draw(st.text(max_size=8)): draw(SCALARS)})


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=200), bent(STATE)))
def test_a_wallets_content_is_read_or_named_as_broken(data: bytes) -> None:
    try:
        state = read_state(data, "wallet")
    except Tampered as error:
        assert (error.code, error.place) == ("wallet.05", "wallet")  # noqa: PT017 -- either outcome is right
    else:
        assert codec.encode(state) == data


def test_a_good_content_is_read_back() -> None:
    assert read_state(codec.encode(STATE)) == STATE


def sealed(domain: str, payload: bytes) -> bytes:
    signature = KEY.sign(domain.encode() + b"\0" + payload)
    signed = custody.Signed(payload=payload, key=KEY.public, signature=signature)
    return envelope.hpke_seal(PUBLIC, codec.encode(signed), domain.encode(), MEMBER.encode())


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.binary(max_size=200), bent(PROFILE)))
def test_a_profile_signed_by_anyone_is_refused_with_a_code(payload: bytes) -> None:
    """Its permit is none, so that even the unbent one is refused."""
    with pytest.raises(CareMeshError) as caught:
        hear_profile(CHAIN, MEMBER, PRIVATE, sealed(channel.SEALING_PROFILE, payload))
    assert caught.value.code in {"custody.01", "custody.06"}


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.binary(max_size=200), bent(SHARE)))
def test_a_share_signed_by_anyone_is_heard_whole_or_refused_with_a_code(payload: bytes) -> None:
    try:
        share = hear_share(CHAIN, MEMBER, PRIVATE, sealed(channel.SHARE, payload))
    except Tampered as error:
        assert error.code in {"custody.01", "custody.06"}  # noqa: PT017 -- either outcome is right
    else:
        assert codec.encode(share) == payload
        assert (share.chain, share.grantee, share.channel_key) == (CHAIN, MEMBER, KEY.public)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=1400))
def test_what_is_not_sealed_to_the_member_is_refused_with_a_code(data: bytes) -> None:
    for hear in (hear_profile, hear_share):
        with pytest.raises(Tampered) as caught:
            hear(CHAIN, MEMBER, PRIVATE, data)
        assert caught.value.code == "custody.05"


def test_a_share_for_another_ledger_or_member_or_with_a_consent_twice_is_refused() -> None:
    from msgspec.structs import replace

    assert hear_share(CHAIN, MEMBER, PRIVATE, sealed(channel.SHARE, codec.encode(SHARE))) == SHARE
    other = "did:caremesh:test:" + "b" * 32
    lies = [
        replace(SHARE, chain="other"),
        replace(SHARE, grantee=other),
        replace(SHARE, streams=SHARE.streams * 2),
        replace(SHARE, channel_key=SigningKey.generate().public),
    ]
    for lie in lies:
        with pytest.raises(Tampered, match=r"custody\.06"):
            hear_share(CHAIN, MEMBER, PRIVATE, sealed(channel.SHARE, codec.encode(lie)))
