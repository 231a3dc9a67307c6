"""A member asks a person for a consent: who, for what, and why in plain words. The words never reach the ledger.

    text digest = H("caremesh/v1/offer-text" ‖ salt ‖ text)        what ``consent/offer`` holds, one salt an offer
    sealed      = HPKE(person's channel key, Signed by the member's node key), info = domain, aad = channel key

One salt an offer: the same question about two streams must not tie them together.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.crypto import envelope
from caremesh.crypto.hashes import tagged_hash
from caremesh.errors import Tampered
from caremesh.ledger.transactions import ChainId, Signs
from caremesh.sealing.channel import MAX_STREAMS, NOT_FOR_THIS_MEMBER, WRONG_CONTENT
from caremesh.sealing.custody import Signed, open_signed, read_signed, sign_payload
from caremesh.types import Bytes16, Did, Digest, Multikey, StreamId

INQUIRY: Final = "caremesh/inquiry/v1"


class AskedOf(Struct, frozen=True, kw_only=True):
    """One offer on the ledger, of one stream, and the salt of its text."""

    offer: Digest
    stream: StreamId
    salt: Bytes16


class Inquiry(Struct, frozen=True, kw_only=True):
    """What a member asks, in words, and the offers on the ledger that say it in codes."""

    chain: ChainId
    member: Did
    channel_key: Multikey
    """The person's pseudonym towards this member."""
    text: Annotated[str, Meta(min_length=1, max_length=2_000)]
    asked: Annotated[list[AskedOf], Meta(min_length=1, max_length=MAX_STREAMS)]

    def __repr__(self) -> str:
        return f"Inquiry({len(self.asked)} streams)"


def text_digest(salt: bytes, text: str) -> Digest:
    """What the ledger holds of the words."""
    return tagged_hash("caremesh/v1/offer-text", salt, text.encode())


def tell(inquiry: Inquiry, channel_hpke: bytes, node_key: Signs) -> bytes:
    """The message that only this person reads, signed by the member's node key. Raises BadInput envelope.01."""
    signed = codec.encode(sign_payload(INQUIRY, inquiry, node_key))
    return envelope.hpke_seal(channel_hpke, signed, INQUIRY.encode(), inquiry.channel_key)


def unseal(hpke_private: bytes, channel_key: Multikey, sealed: bytes) -> Signed:
    """The person's side; nothing in the result is checked yet. Raises Tampered custody.05, custody.01."""
    try:
        data = envelope.hpke_open(hpke_private, sealed, INQUIRY.encode(), channel_key)
    except Tampered as error:
        raise Tampered(NOT_FOR_THIS_MEMBER, "Inquiry") from error
    return read_signed(data, "Inquiry")


def hear(chain: str, channel_key: Multikey, member: Did, node_key: Multikey, signed: Signed) -> Inquiry:
    """The inquiry, when this member made it for this person. Raises Tampered custody.01, custody.02, custody.06."""
    inquiry = open_signed(INQUIRY, signed, Inquiry, node_key, member)
    if (inquiry.chain, inquiry.member, inquiry.channel_key) != (chain, member, channel_key):
        raise Tampered(WRONG_CONTENT, "Inquiry")
    return inquiry
