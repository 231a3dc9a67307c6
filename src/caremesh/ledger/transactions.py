"""Transactions: one spelling, one id, one signature per signer.

    Tx            = { v:1, chain, expires_at, salt, signers:[{key, did?}, …], msgs:[{type, …}, …] }   canonical DAG-CBOR
    Signed        = [ bytes(Tx), [signature, …] ]
    signing input = "caremesh/tx/v1\\0" ‖ bytes(Tx)
    id            = CIDv1(dag-cbor, sha2-256, bytes(Tx))

A signer states its public key in the transaction itself, so whether the signatures hold is a function of the bytes
alone and can be checked once, in parallel, before any state is read; whether that key *may* act for a DID is a rule
of the contracts, checked in state. The last signer is the sponsor, a member.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

from msgspec import Struct

from caremesh import codec
from caremesh.codec import CID
from caremesh.crypto import signatures
from caremesh.errors import BadInput, ErrorCode, Refused, Tampered
from caremesh.types import Bytes8, Did, Multikey, Seconds, Signature

SIGNING_DOMAIN: Final = b"caremesh/tx/v1\0"
MAX_TX_BYTES: Final = 65_536
MAX_MESSAGES: Final = 64
MAX_SIGNERS: Final = 16

TOO_LARGE = ErrorCode("ledger.01", "A transaction has at most 64 KiB, 64 messages and 16 signers.", "Send several.")
EMPTY = ErrorCode("ledger.02", "A transaction needs at least one message and one signer.", "Add them.")
SIGNATURE_COUNT = ErrorCode("ledger.03", "A transaction has one signature for each signer, in their order.", "Sign it.")
BAD_SIGNATURE = ErrorCode("ledger.04", "A signature of this transaction does not hold.", "Sign the exact bytes again.")
SAME_SIGNER = ErrorCode("ledger.05", "A signer is named twice.", "Name each key once.")


class Message(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"):
    """Base of all messages; the tag is ``<contract>/<message>``. Optional fields are absent when empty."""


class Signer(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who signs: a public key, and the DID in whose name it acts (a stream's key acts in its own)."""

    key: Multikey
    did: Did | None = None


M = TypeVar("M")


class Tx(Struct, Generic[M], frozen=True, forbid_unknown_fields=True):
    """What is signed. ``expires_at``: block time after which it has no effect."""

    v: Literal[1]
    chain: str
    expires_at: Seconds
    salt: Bytes8
    signers: list[Signer]
    msgs: list[M]


class Signed(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A transaction as it travels."""

    tx: bytes
    signatures: list[Signature]


class CheckedTx(Struct, Generic[M], frozen=True):
    """A transaction whose spelling and signatures hold. ``raw`` is what travelled."""

    id: CID
    tx: Tx[M]
    raw: bytes


class SigningKeyLike(Protocol):
    """What can sign: software keys, tokens."""

    @property
    def public(self) -> bytes: ...
    def sign(self, message: bytes, /) -> bytes: ...


class TransactionCodec:
    """Reads and writes transactions that hold messages of one union of types."""

    def __init__(self, messages: Any) -> None:
        self._kind = Tx[messages]

    def decode(self, raw: bytes) -> CheckedTx[Any]:
        """Check everything that is a function of the bytes: spelling, limits, signatures.

        Raises BadInput codec.01 to codec.04, ledger.01 to ledger.05 (signatures: Refused ledger.04).
        """
        if len(raw) > MAX_TX_BYTES:
            raise BadInput(TOO_LARGE)
        signed = codec.decode_as(raw, Signed)
        tx = codec.decode_as(signed.tx, self._kind)
        if not tx.msgs or not tx.signers:
            raise BadInput(EMPTY)
        if len(tx.msgs) > MAX_MESSAGES or len(tx.signers) > MAX_SIGNERS:
            raise BadInput(TOO_LARGE)
        if len(signed.signatures) != len(tx.signers):
            raise BadInput(SIGNATURE_COUNT)
        if len({signer.key for signer in tx.signers}) != len(tx.signers):
            raise BadInput(SAME_SIGNER)
        message = SIGNING_DOMAIN + signed.tx
        for index, (signer, signature) in enumerate(zip(tx.signers, signed.signatures, strict=True)):
            try:
                signatures.verify(signer.key, message, signature)
            except Tampered as error:
                raise Refused(BAD_SIGNATURE, f"signers[{index}]") from error
        return CheckedTx(codec.cid_of_cbor(signed.tx), tx, raw)


def encode_tx(
    *, chain: str, expires_at: Seconds, salt: bytes, signers: Sequence[Signer], msgs: Sequence[Message]
) -> bytes:
    """The bytes that signers sign. ``salt``: 8 random bytes, so that equal intents have different ids."""
    return codec.encode(Tx(1, chain, expires_at, salt, list(signers), list(msgs)))


def sign(tx: bytes, keys: Sequence[SigningKeyLike]) -> bytes:
    """The signed transaction; ``keys`` in the order of ``signers``."""
    return assemble(tx, [signature_of(tx, key) for key in keys])


def signature_of(tx: bytes, key: SigningKeyLike) -> bytes:
    """One signer's signature, for transactions whose signers are in different places."""
    return key.sign(SIGNING_DOMAIN + tx)


def assemble(tx: bytes, collected: Sequence[bytes]) -> bytes:
    """The signed transaction from signatures in the order of ``signers``."""
    return codec.encode(Signed(tx, list(collected)))
