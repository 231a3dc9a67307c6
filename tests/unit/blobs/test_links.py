"""Capability links: for these blocks, for this, at this member, for a while; and for nothing else."""

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.blobs import links
from caremesh.blobs.links import LIFE_S, MAX_LIFE_S, BlockLink
from caremesh.codec import CID
from caremesh.crypto.keys import SigningKey
from caremesh.errors import Refused, Unavailable
from caremesh.sealing import custody
from tests.support.holders import ME, OTHER, every, segment

KEY = SigningKey.generate()
STREAM = bytes([1]) * 32
SEALED = segment(STREAM, b"x" * 2_000_000)
OUTSIDE = codec.cid_of_raw(b"outside")
NOW = 1_800_000_000
LINK = BlockLink(member=ME, stream=STREAM, action="get", cids=[SEALED.descriptor_cid], until=NOW + LIFE_S)


def get(cid: CID) -> bytes:
    return every(SEALED)[cid]


def test_a_link_says_what_it_was_made_for() -> None:
    assert links.read(links.make(LINK, KEY), ME, KEY.public, NOW) == LINK
    assert links.read(links.make(LINK, KEY), ME, KEY.public, NOW + LIFE_S - 1) == LINK


@pytest.mark.promise("P2")
def test_a_link_that_was_changed_or_made_by_another_is_refused() -> None:
    data = links.make(LINK, KEY)
    for position in range(0, len(data), 3):
        bad = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        with pytest.raises(Refused, match=r"blobs\.10"):
            links.read(bad, ME, KEY.public, NOW)
    other = SigningKey.generate()
    for made in (links.make(LINK, other), codec.encode(custody.sign_payload(custody.RELEASE, LINK, KEY)), b"", b"\xa0"):
        with pytest.raises(Refused, match=r"blobs\.10"):
            links.read(made, ME, KEY.public, NOW)
    with pytest.raises(Refused, match=r"blobs\.10"):
        links.read(data, OTHER, KEY.public, NOW)
    with pytest.raises(Refused, match=r"blobs\.10.*size"):
        links.read(data + bytes(links.MAX_LINK_BYTES), ME, KEY.public, NOW)


def test_a_link_ends() -> None:
    with pytest.raises(Refused, match=r"blobs\.11"):
        links.read(links.make(LINK, KEY), ME, KEY.public, NOW + LIFE_S)
    for_ever = links.make(replace(LINK, until=NOW + MAX_LIFE_S + 1), KEY)
    with pytest.raises(Refused, match=r"blobs\.10"):
        links.read(for_ever, ME, KEY.public, NOW)
    assert links.read(for_ever, ME, KEY.public, NOW + 1)


def test_a_link_is_for_what_it_names_and_what_a_named_descriptor_lists() -> None:
    for cid in every(SEALED):
        links.check(LINK, "get", cid, get)
        with pytest.raises(Refused, match=rf"blobs\.12.*{cid.encode()}"):
            links.check(LINK, "put", cid, get)
    with pytest.raises(Refused, match=r"blobs\.12"):
        links.check(LINK, "get", OUTSIDE, get)
    only = replace(LINK, cids=[OUTSIDE], action="put")
    links.check(only, "put", OUTSIDE, get)
    with pytest.raises(Refused, match=r"blobs\.12"):
        links.check(only, "put", SEALED.descriptor_cid, get)


def test_a_descriptor_that_is_not_here_stands_for_itself() -> None:
    def nothing(cid: CID) -> bytes:
        raise Unavailable(codec.BAD_CID, cid.encode())

    links.check(LINK, "get", SEALED.descriptor_cid, nothing)
    for cid in SEALED.blocks:
        with pytest.raises(Refused, match=r"blobs\.12"):
            links.check(LINK, "get", cid, nothing)
