"""Transactions: one meaning has one spelling and one id.

    Tx      = { v: 1, chain, expires_at, salt, signers: [{ key, did? }, …], msgs: [{ type, … }, …] }
    Signed  = [ bytes(Tx), [signature, …] ]        one per signer, in order; the last signer is the sponsor
    signing input = "caremesh/tx/v1\\0" ‖ bytes(Tx)
    id      = CIDv1(dag-cbor, sha2-256, bytes(Tx))

``TransactionCodec.decode`` checks everything that the bytes alone decide, so its answer may be kept: what
depends on state or time (chain, expiry, replay, sponsor, quota) is the machine's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Generic, Literal, Protocol, TypeVar

import msgspec
from msgspec import Meta

from caremesh import codec
from caremesh.codec import CID
from caremesh.crypto import signatures
from caremesh.errors import BadInput, ErrorCode
from caremesh.types import Bytes8, Did, Multikey, Seconds, Signature

SIGNING_DOMAIN: Final = b"caremesh/tx/v1\0"
MAX_SIGNED_BYTES: Final = 2**20
"""No longer input is looked at; the ledger's parameters set the real limit, which is lower."""
MAX_SIGNERS: Final = 16

TOO_LONG = ErrorCode("tx.01", "This transaction is longer than a block may be.", "Split it.")
SIGNATURE_COUNT = ErrorCode("tx.02", "A transaction needs one signature for each of its signers, in order.")
SIGNS_TWICE = ErrorCode("tx.03", "A key is named twice among the signers.", "Name each signer once.")

ChainId = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}(\.[0-9]{1,16})?$")]
"""A network's name; or that of a later chain of it: see ``succession``."""
"""The name of one ledger. A transaction of another is refused."""


class Message(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"
):
    """Base of every message; a subclass sets its ``tag``, for example ``tag="consent/grant"``."""


class Signer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who signs: a Multikey, and the DID it claims to act for (none for the key of a stream)."""

    key: Multikey
    did: Did | None = None


M = TypeVar("M", bound=Message)


class Tx(msgspec.Struct, Generic[M], frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed. Every field is always written.

    ``expires_at``: block time, seconds UTC, up to which it may be in a block. ``salt``: 8 random bytes.
    ``signers``: who signs, the sponsor last. ``msgs``: all of them take effect, or none does.
    """

    v: Literal[1] = 1
    chain: ChainId
    expires_at: Seconds
    salt: Bytes8
    signers: Annotated[list[Signer], Meta(min_length=1, max_length=MAX_SIGNERS)]
    msgs: Annotated[list[M], Meta(min_length=1)]


class CheckedTx(msgspec.Struct, frozen=True):
    """A transaction whose spelling and signatures were checked: ``signed`` are the bytes it came in."""

    id: CID
    tx: Tx[Message]
    signed: bytes


class Signs(Protocol):
    """What signing needs of a key: ``crypto.keys.SigningKey`` has it."""

    @property
    def public(self) -> bytes:
        """The Multikey, 34 bytes."""

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes."""


_Signed = tuple[bytes, list[Signature]]


def encode(tx: Tx[Any]) -> bytes:
    """The bytes of a transaction, which are what its id names and its signers sign."""
    return codec.encode(tx)


def tx_id(tx_bytes: bytes) -> CID:
    """The id of the transaction with these bytes."""
    return codec.cid_of_cbor(tx_bytes)


def sign(tx_bytes: bytes, keys: Sequence[Signs]) -> bytes:
    """The signed transaction; ``keys`` in the order of its signers."""
    return assemble(tx_bytes, [key.sign(SIGNING_DOMAIN + tx_bytes) for key in keys])


def assemble(tx_bytes: bytes, parts: Sequence[bytes]) -> bytes:
    """The signed transaction from signatures made apart (64 bytes each, in the order of the signers)."""
    return codec.encode([tx_bytes, list(parts)])


class TransactionCodec:
    """Reads the transactions of one application, whose messages are the union ``messages``."""

    def __init__(self, messages: Any) -> None:
        self.messages: Final = messages
        self._kind: Final[type[Tx[Message]]] = Tx[messages]

    def decode(self, signed: bytes) -> CheckedTx:
        """The transaction in these bytes, spelled canonically and signed by all its signers.

        Raises BadInput tx.01 to tx.03 and codec.01 to codec.04, Tampered signatures.03.
        """
        checked, signs = self.read(signed)
        tx_bytes = SIGNING_DOMAIN + signs[0]
        for signer, signature in zip(checked.tx.signers, signs[1], strict=True):
            signatures.verify(signer.key, tx_bytes, signature)
        return checked

    def decode_again(self, signed: bytes) -> CheckedTx:
        """What ``decode`` gives, for bytes that it has accepted before: their spelling and signatures stand."""
        tx_bytes, _ = codec.decode(signed)
        tx = msgspec.convert(codec.decode(tx_bytes), self._kind, builtin_types=(bytes,))
        return CheckedTx(tx_id(tx_bytes), tx, signed)

    def read(self, signed: bytes) -> tuple[CheckedTx, _Signed]:
        """The transaction and its unverified signatures: for showing, never for executing.

        Raises BadInput tx.01 to tx.03 and codec.01 to codec.04.
        """
        if len(signed) > MAX_SIGNED_BYTES:
            raise BadInput(TOO_LONG)
        # The array's elements are bytes, whose spelling the decoder itself holds to one.
        parts = codec.decode(signed)
        try:
            tx_bytes, signs = msgspec.convert(parts, _Signed, builtin_types=(bytes,))
        except msgspec.ValidationError as error:
            raise BadInput(codec.WRONG_SHAPE) from error
        tx = codec.decode_as(tx_bytes, self._kind)
        if len(signs) != len(tx.signers):
            raise BadInput(SIGNATURE_COUNT)
        if len({signer.key for signer in tx.signers}) != len(tx.signers):
            raise BadInput(SIGNS_TWICE)
        return CheckedTx(tx_id(tx_bytes), tx, signed), (tx_bytes, signs)
