"""Every key of a person, derived from one seed. Pure; no key depends on anything but seed, names and counters.

    relationship        = HKDF(seed, "caremesh/v1/relationship" ‖ member DID ‖ counter)
      channel signing   = HKDF(relationship, "channel" ‖ "signing")       Ed25519 seed
      channel HPKE      = HKDF(relationship, "channel" ‖ "hpke")          seed of X25519 and ML-KEM-768
      stream            = HKDF(relationship, "stream" ‖ category ‖ counter)
        signing key     = HKDF(stream, "signing" ‖ rotation)              Ed25519 seed; the first one's hash is the id
        reading key     = HKDF(stream, "reading" ‖ epoch)                 Umbral secret

HKDF is HKDF-SHA256 without salt; "‖" joins length-prefixed parts (uint32 big-endian), texts are UTF-8, counters are
uint32 big-endian. Vectors: ``vectors/wallet/derivation.json``.
"""

from __future__ import annotations

from msgspec import Struct

from caremesh.crypto.envelope import hpke_from_seed
from caremesh.crypto.keys import SigningKey, derive
from caremesh.crypto.reencryption import ReadingKey
from caremesh.crypto.signatures import stream_of
from caremesh.errors import BadInput
from caremesh.types import Did, StreamId
from caremesh.wallet.errors import BAD_COUNTER, BAD_SEED
from caremesh.wallet.phrase import SEED_BYTES


class Channel(Struct, frozen=True):
    """A person's keys towards one member, off the ledger: they sign as ``signing``, and read with ``hpke_private``."""

    signing: SigningKey
    hpke_private: bytes
    hpke_public: bytes

    def __repr__(self) -> str:
        return "Channel(…)"


class RelationshipKeys:
    """One person with one member. Its text never shows the secret."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def channel(self) -> Channel:
        """The keys of the encrypted channel with the member."""
        private, public = hpke_from_seed(derive(self._secret, b"channel", b"hpke"))
        return Channel(SigningKey.from_seed(derive(self._secret, b"channel", b"signing")), private, public)

    def stream(self, category: str, counter: int = 0) -> StreamKeys:
        """The keys of one stream; ``counter`` tells streams of one category apart. Raises BadInput wallet.10."""
        return StreamKeys(derive(self._secret, b"stream", category.encode(), _uint32(counter)))

    def __repr__(self) -> str:
        return "RelationshipKeys(…)"


class StreamKeys:
    """The keys of one stream. Its text never shows the secret."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def signing(self, rotation: int) -> SigningKey:
        """What the stream signs with after so many rotations. Raises BadInput wallet.10."""
        return SigningKey.from_seed(derive(self._secret, b"signing", _uint32(rotation)))

    def reading(self, epoch: int) -> ReadingKey:
        """What seals of this epoch are made to. Raises BadInput wallet.10.

        A secret outside 1 … order − 1 of secp256k1, which ``ReadingKey`` refuses, has a chance of 2⁻¹²⁷.
        """
        return ReadingKey.from_secret(derive(self._secret, b"reading", _uint32(epoch)))

    @property
    def id(self) -> StreamId:
        """The stream's id: all that the ledger ever sees of it."""
        return stream_of(self.signing(0).public)

    def __repr__(self) -> str:
        return "StreamKeys(…)"


def relationship(seed: bytes, member: Did, counter: int = 0) -> RelationshipKeys:
    """A person's keys towards ``member``; another ``counter`` is another relationship.

    Raises BadInput wallet.04, wallet.10.
    """
    if len(seed) != SEED_BYTES:
        raise BadInput(BAD_SEED)
    return RelationshipKeys(derive(seed, b"caremesh/v1/relationship", member.encode(), _uint32(counter)))


def _uint32(number: int) -> bytes:
    if not 0 <= number < 2**32:
        raise BadInput(BAD_COUNTER)
    return number.to_bytes(4, "big")
