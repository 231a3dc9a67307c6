"""What a patient asks about an access, and what the member answers, in words. The ledger has a salted hash of each.

    digest = H("caremesh/v1/statement" ‖ salt ‖ text)              what ``access/dispute`` and ``access/answer`` hold
    sealed = HPKE(channel key of the one it is for, Signed), info = domain, aad = receipt

The patient signs with their channel key towards the member, the member with its node key.
"""

from __future__ import annotations

import os
from typing import Annotated, Final

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.crypto import envelope
from caremesh.crypto.hashes import tagged_hash
from caremesh.errors import Tampered
from caremesh.ledger.transactions import ChainId, Signs
from caremesh.sealing.channel import NOT_FOR_THIS_MEMBER, WRONG_CONTENT
from caremesh.sealing.custody import open_signed, read_signed, sign_payload
from caremesh.types import Bytes16, Digest, Multikey, ReceiptId

QUESTION: Final = "caremesh/dispute/v1"
ANSWER: Final = "caremesh/dispute-answer/v1"


class Statement(Struct, frozen=True, kw_only=True):
    """Words about one access."""

    chain: ChainId
    receipt: ReceiptId
    salt: Bytes16
    text: Annotated[str, Meta(min_length=1, max_length=2_000)]

    def __repr__(self) -> str:
        return f"Statement({self.receipt.hex()})"

    @property
    def digest(self) -> Digest:
        """What the ledger holds of it."""
        return tagged_hash("caremesh/v1/statement", self.salt, self.text.encode())


def statement(chain: ChainId, receipt: ReceiptId, text: str) -> Statement:
    """These words under a fresh salt."""
    return Statement(chain=chain, receipt=receipt, salt=os.urandom(16), text=text)


def tell(domain: str, said: Statement, hpke_public: bytes, key: Signs) -> bytes:
    """The message that only this one reads. Raises BadInput envelope.01."""
    signed = codec.encode(sign_payload(domain, said, key))
    return envelope.hpke_seal(hpke_public, signed, domain.encode(), said.receipt)


def hear(
    domain: str, chain: ChainId, receipt: ReceiptId, digest: Digest, hpke_private: bytes, key: Multikey, sealed: bytes
) -> Statement:
    """The words about this access, when this key signed them and the ledger has their digest.

    Raises Tampered custody.05, custody.01, custody.02, custody.06.
    """
    try:
        data = envelope.hpke_open(hpke_private, sealed, domain.encode(), receipt)
    except Tampered as error:
        raise Tampered(NOT_FOR_THIS_MEMBER, "statement") from error
    said = open_signed(domain, read_signed(data, "statement"), Statement, key, "statement")
    if (said.chain, said.receipt, said.digest) != (chain, receipt, digest):
        raise Tampered(WRONG_CONTENT, "statement")
    return said
