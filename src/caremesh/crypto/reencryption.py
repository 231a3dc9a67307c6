"""Threshold proxy re-encryption (Umbral): seals, fragments, re-encryptions. The only user of ``umbral_pre``.

A seal holds a secret for a stream's reading key. The owner of the reading key makes *n* fragments towards
one receiving key; any *t* custodians turn the seal, each by its fragment, into re-encryptions that together
open it for the receiving key alone. Rules kept here, each of which the library leaves to its caller:
- both the delegating and the receiving key are signed into every fragment, and ``check_fragment`` refuses
  one where either is not: it would verify for anyone;
- a fragment carries a second signature, for the receiver, which the library reads only in re-encryptions:
  ``check_fragment`` tries the fragment on a seal of its own, lest a custodian be blamed for a bad deposit;
- 1 ≤ t ≤ n: the library makes fragments for other numbers, which never open anything;
- the signer of a grant's fragments is fresh and forgotten, so that it ties no two grants together;
- re-encryptions are verified before they open anything, and a wrong one names its custodian;
- one value has one spelling: bytes that the library reads but would write otherwise are refused.

Umbral draws its own entropy: seals, fragments and re-encryptions differ each time. Not for consensus code.
Source: D. Nuñez, "Umbral: a threshold proxy re-encryption scheme" (2018); curve secp256k1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Final, TypeVar

import umbral_pre
from msgspec import Meta, Struct
from umbral_pre import VerificationError  # type: ignore[attr-defined]  # missing from the library's stubs

from caremesh import codec
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, ErrorCode, Refused, Tampered

MAX_CUSTODIANS: Final = 255
CAPSULE_BYTES: Final = 105
FRAGMENT_BYTES: Final = 310
REENCRYPTION_BYTES: Final = 381

T = TypeVar("T", umbral_pre.Capsule, umbral_pre.KeyFrag, umbral_pre.CapsuleFrag)

BAD_SECRET = ErrorCode("reencryption.01", "The secret of a reading key is 32 bytes, neither zero nor too large.")
BAD_PUBLIC_KEY = ErrorCode("reencryption.02", "This is not a compressed public key for re-encryption.")
BAD_SEAL = ErrorCode(
    "reencryption.03", "The seal was changed, or belongs to another key.", "Fetch it from another party."
)
BAD_THRESHOLD = ErrorCode("reencryption.04", "A threshold is at least 1 and at most the number of custodians (255).")
BAD_FRAGMENT = ErrorCode("reencryption.05", "The fragment does not verify under the keys that it was made for.")
KEYS_NOT_SIGNED = ErrorCode(
    "reencryption.06",
    "The fragment does not sign both the delegating and the receiving key, so it would serve anyone.",
    "Make the fragments again, signing both keys.",
)
BAD_REENCRYPTION = ErrorCode(
    "reencryption.07",
    "The re-encryption is not that of this seal by a true fragment.",
    "Ask another custodian; keep it.",
)
TOO_FEW = ErrorCode(
    "reencryption.08",
    "These re-encryptions verify, but do not open the seal: too few, repeated, or of a false seal.",
    "Ask one custodian more.",
)


class Seal(Struct, frozen=True):
    """A secret sealed to a reading key. Not public: with source, custodians and wallet only."""

    capsule: Annotated[bytes, Meta(min_length=CAPSULE_BYTES, max_length=CAPSULE_BYTES)]
    ciphertext: Annotated[bytes, Meta(max_length=4096)]


class ReadingKey:
    """An Umbral secret key: a stream's reading key of one epoch, or an organisation's receiving key."""

    __slots__ = ("handle", "public")

    def __init__(self, secret: bytes) -> None:
        """``secret``: 32 bytes, big-endian, 1 to the order of secp256k1 less 1.

        Raises BadInput reencryption.01.
        """
        try:
            self.handle: Final = umbral_pre.SecretKey.from_be_bytes(secret)
        except ValueError as error:
            raise BadInput(BAD_SECRET) from error
        self.public: Final = self.handle.public_key().to_compressed_bytes()
        """The compressed point: 33 bytes."""

    @classmethod
    def from_secret(cls, secret: bytes) -> ReadingKey:
        """The key of these 32 bytes. Raises BadInput reencryption.01."""
        return cls(secret)

    def __repr__(self) -> str:
        return "ReadingKey(…)"


def seal_hash(seal: Seal) -> bytes:
    """H(seal) = SHA-256 of DAG-CBOR [capsule, ciphertext]: what the ledger holds of a seal (32 bytes)."""
    return sha256(codec.encode([seal.capsule, seal.ciphertext]))


def check_public_key(public: bytes) -> None:
    """Refuse what is not a compressed point (33 bytes). Raises BadInput reencryption.02."""
    _public(public)


def seal_to(reading_public: bytes, secret: bytes) -> Seal:
    """Seal a secret (a segment key: 32 bytes) to a reading key. Raises BadInput reencryption.02."""
    capsule, ciphertext = umbral_pre.encrypt(_public(reading_public), secret)
    return Seal(bytes(capsule), ciphertext)


def make_fragments(
    delegating: ReadingKey, receiving_public: bytes, threshold: int, count: int
) -> tuple[bytes, list[bytes]]:
    """The verifying key (33 bytes) of a fresh signer, and ``count`` fragments of 310 bytes of which ``threshold`` open.

    Raises BadInput reencryption.02, reencryption.04.
    """
    if not 1 <= threshold <= count <= MAX_CUSTODIANS:
        raise BadInput(BAD_THRESHOLD)
    signer = umbral_pre.Signer(umbral_pre.SecretKey.random())
    fragments = umbral_pre.generate_kfrags(
        delegating.handle,
        _public(receiving_public),
        signer,
        threshold,
        count,
        sign_delegating_key=True,
        sign_receiving_key=True,
    )
    return signer.verifying_key().to_compressed_bytes(), [bytes(fragment) for fragment in fragments]


def check_fragment(fragment: bytes, verifying: bytes, delegating: bytes, receiving: bytes) -> None:
    """Return when the fragment verifies with all three keys, with neither of the last two left out, and works.

    About 2 ms, once, at deposit. Raises Tampered reencryption.05, Refused reencryption.06, BadInput reencryption.02.
    """
    signer, giver, receiver = _public(verifying), _public(delegating), _public(receiving)
    parsed = _parse(umbral_pre.KeyFrag.from_bytes, fragment, BAD_FRAGMENT, "")
    if not _verifies(parsed, signer, giver, receiver):
        raise Tampered(BAD_FRAGMENT)
    if _verifies(parsed, signer, giver, None) or _verifies(parsed, signer, None, receiver):
        raise Refused(KEYS_NOT_SIGNED)
    try:
        capsule, _ = umbral_pre.encrypt(giver, b"")
        trial = umbral_pre.reencrypt(capsule, parsed.skip_verification()).unverify()
        trial.verify(capsule, signer, giver, receiver)
    except VerificationError as error:
        raise Tampered(BAD_FRAGMENT) from error


def reencrypt_kept(seal: Seal, fragment: bytes) -> bytes:
    """As ``reencrypt``, by a fragment that the caller has kept authenticated since ``check_fragment`` passed it.

    Raises Tampered reencryption.03, reencryption.05.
    """
    parsed = _parse(umbral_pre.KeyFrag.from_bytes, fragment, BAD_FRAGMENT, "")
    return bytes(umbral_pre.reencrypt(_capsule(seal), parsed.skip_verification()))


def reencrypt(seal: Seal, fragment: bytes, verifying: bytes, delegating: bytes, receiving: bytes) -> bytes:
    """The re-encryption (381 bytes) of a seal by one custodian's fragment, which is verified first.

    Raises Tampered reencryption.03, reencryption.05, BadInput reencryption.02.
    """
    capsule = _capsule(seal)
    parsed = _parse(umbral_pre.KeyFrag.from_bytes, fragment, BAD_FRAGMENT, "")
    try:
        verified = parsed.verify(_public(verifying), _public(delegating), _public(receiving))
    except VerificationError as error:
        raise Tampered(BAD_FRAGMENT) from error
    return bytes(umbral_pre.reencrypt(capsule, verified))


class Checked:
    """A re-encryption that verified, with the seal and the keys that it verified for. ``check_reencryption`` makes it.

    Nothing else opens a seal, so checking is done once and cannot be forgotten.
    """

    __slots__ = ("_capsule", "_delegating", "proven", "seal")

    def __init__(
        self, seal: Seal, reencryption: bytes, verifying: bytes, delegating: bytes, receiving: bytes, place: str
    ) -> None:
        """See ``check_reencryption``."""
        self.seal: Final = seal
        self._delegating: Final = _public(delegating)
        self._capsule: Final = _capsule(seal)
        parsed = _parse(umbral_pre.CapsuleFrag.from_bytes, reencryption, BAD_REENCRYPTION, place)
        try:
            self.proven: Final = parsed.verify(self._capsule, _public(verifying), self._delegating, _public(receiving))
        except VerificationError as error:
            raise Tampered(BAD_REENCRYPTION, place) from error

    def __repr__(self) -> str:
        return "Checked(…)"

    def opens_with(self, others: Sequence[Checked], receiving_key: ReadingKey) -> bytes:
        """The sealed secret. All are of one seal; the library sees to the rest. Raises Tampered reencryption.08."""
        if any(each.seal != self.seal for each in others):
            raise Tampered(TOO_FEW)
        proven = [each.proven for each in (self, *others)]
        try:
            return umbral_pre.decrypt_reencrypted(  # type: ignore[return-value]  # never None, whatever its stubs say
                receiving_key.handle, self._delegating, self._capsule, proven, self.seal.ciphertext
            )
        except ValueError as error:
            raise Tampered(TOO_FEW) from error


def check_reencryption(
    seal: Seal, reencryption: bytes, verifying: bytes, delegating: bytes, receiving: bytes, place: str
) -> Checked:
    """The re-encryption, when it is a true one of this seal; ``place`` names the custodian.

    Raises Tampered reencryption.07 (the custodian's), reencryption.03 (the seal's), BadInput reencryption.02.
    """
    return Checked(seal, reencryption, verifying, delegating, receiving, place)


def open_checked(receiving_key: ReadingKey, checked: Sequence[Checked]) -> bytes:
    """The sealed secret, from at least *t* checked re-encryptions of one seal. Raises Tampered reencryption.08."""
    if not checked:
        raise Tampered(TOO_FEW)
    return checked[0].opens_with(checked[1:], receiving_key)


def open_with(
    receiving_key: ReadingKey,
    delegating_public: bytes,
    seal: Seal,
    reencryptions: Sequence[bytes],
    verifying: bytes,
    *,
    places: Sequence[str] = (),
) -> bytes:
    """The sealed secret, from at least *t* re-encryptions, each of which is verified here: nobody can forget to.

    ``places``: the custodians' names, in the order of ``reencryptions``, so that a wrong one is named.
    Raises Tampered reencryption.07, reencryption.03, reencryption.08; BadInput reencryption.02.
    """
    keys = verifying, delegating_public, receiving_key.public
    checked = [
        check_reencryption(seal, data, *keys, places[i] if i < len(places) else f"re-encryption {i}")
        for i, data in enumerate(reencryptions)
    ]
    return open_checked(receiving_key, checked)


def open_original(reading: ReadingKey, seal: Seal) -> bytes:
    """The sealed secret, for the owner of the reading key. Raises Tampered reencryption.03."""
    try:
        return umbral_pre.decrypt_original(reading.handle, _capsule(seal), seal.ciphertext)
    except ValueError as error:
        raise Tampered(BAD_SEAL) from error


@lru_cache(maxsize=4096)
def _public(data: bytes) -> umbral_pre.PublicKey:
    try:
        key = umbral_pre.PublicKey.from_compressed_bytes(data)
    except ValueError as error:
        raise BadInput(BAD_PUBLIC_KEY) from error
    if key.to_compressed_bytes() != data:
        raise BadInput(BAD_PUBLIC_KEY)
    return key


def _capsule(seal: Seal) -> umbral_pre.Capsule:
    return _parsed_capsule(seal.capsule)


@lru_cache(maxsize=1024)
def _parsed_capsule(data: bytes) -> umbral_pre.Capsule:
    """Reading one proves that its points fit, 0.16 ms; *t* custodians hand out the same, and it is no secret."""
    return _parse(umbral_pre.Capsule.from_bytes, data, BAD_SEAL, "")


def _parse(reader: Callable[[bytes], T], data: bytes, error: ErrorCode, place: str) -> T:
    """An object of the library from its one spelling; the library's reader accepts others."""
    try:
        value = reader(data)
    except ValueError as cause:
        raise Tampered(error, place) from cause
    if bytes(value) != data:
        raise Tampered(error, place)
    return value


def _verifies(
    fragment: umbral_pre.KeyFrag,
    verifying: umbral_pre.PublicKey,
    delegating: umbral_pre.PublicKey | None,
    receiving: umbral_pre.PublicKey | None,
) -> bool:
    try:
        fragment.verify(verifying, delegating, receiving)
    except VerificationError:
        return False
    return True
