"""Capability links: who has one may get, or put, certain blocks of one stream at one member for a few minutes.

A link is made by the member that holds the blocks, under its node key, and says all that the node needs to know: it
looks nothing up, and any IPFS client can use it that can send a header. A descriptor in a link stands for the manifest
and the blocks that it lists, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.blobs.errors import BAD_LINK, LINK_EXPIRED, NOT_IN_LINK
from caremesh.blobs.named import listed
from caremesh.codec import CID
from caremesh.errors import CareMeshError, Refused, Tampered
from caremesh.ledger.transactions import Signs
from caremesh.sealing import custody
from caremesh.types import Did, Multikey, Seconds, StreamId

DOMAIN: Final = "caremesh/block-link/v1"
LIFE_S: Final[Seconds] = 300
MAX_LIFE_S: Final[Seconds] = 3_600
MAX_LINK_BYTES: Final = 8 * 1024

Action: TypeAlias = Literal["get", "put"]


class BlockLink(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a link allows. ``until``: seconds UTC."""

    member: Did
    """The one that holds the blocks, and has made the link."""
    stream: StreamId
    action: Action
    cids: Annotated[list[CID], Meta(min_length=1, max_length=64)]
    until: Seconds


def make(link: BlockLink, key: Signs) -> bytes:
    """The link as bytes. ``key``: the member's node key."""
    return codec.encode(custody.sign_payload(DOMAIN, link, key))


def read(data: bytes, did: Did, key: Multikey, now: Seconds) -> BlockLink:
    """What a link allows at this member. ``key``: its node key. Raises Refused blobs.10, blobs.11."""
    try:
        if len(data) > MAX_LINK_BYTES:
            raise Refused(BAD_LINK, "size")
        link = custody.open_signed(DOMAIN, custody.read_signed(data), BlockLink, key, did)
    except Tampered as error:
        raise Refused(BAD_LINK) from error
    if link.member != did or link.until - now > MAX_LIFE_S:
        raise Refused(BAD_LINK)
    if now >= link.until:
        raise Refused(LINK_EXPIRED)
    return link


def check(link: BlockLink, action: Action, cid: CID, get: Callable[[CID], bytes]) -> None:
    """Return when the link is for this. ``get``: this member's blocks. Raises Refused blobs.12."""
    if link.action != action or not (cid in link.cids or _is_listed(link, cid, get)):
        raise Refused(NOT_IN_LINK, cid.encode())


def _is_listed(link: BlockLink, cid: CID, get: Callable[[CID], bytes]) -> bool:
    for descriptor in link.cids:
        if descriptor.is_cidv1_dag_cbor_sha256_32():
            try:
                if cid in listed(descriptor, get(descriptor)):
                    return True
            except CareMeshError:  # not here, or damaged: it allows nothing but itself
                continue
    return False
