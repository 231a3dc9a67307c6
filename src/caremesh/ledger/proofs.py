"""Proofs: a key's value, or its absence, under an app hash.

A proof is the path from the key's place to the root. Verifying needs nothing but the app hash of a header
that one trusts; a proof that does not hold raises, whatever is wrong with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from caremesh.crypto.hashes import sha256
from caremesh.errors import ErrorCode, Tampered
from caremesh.ledger.trie import BUCKET_BITS, EMPTY, bit, inner_hash, leaf_hash, upper_hash
from caremesh.types import Digest

MAX_SIBLINGS: Final = 256

BAD_PROOF = ErrorCode("proof.01", "This proof does not lead to the app hash of this block.", "Ask another node.")


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A path from a key to the root; about 0.8 kB with a million keys.

    ``siblings``: the hashes beside the path, lowest first, the upper 16 last. ``value``: of the key, None when it
    is absent. ``other``: [H(key), H(value)] of the lone leaf that stands where an absent key would be.
    """

    siblings: list[Digest]
    value: bytes | None = None
    other: list[Digest] | None = None

    def verify(self, app_hash: Digest, key: bytes) -> bytes | None:
        """The value of ``key`` under ``app_hash``; None when it is proven absent. Raises Tampered proof.01."""
        digest = sha256(key)
        if not BUCKET_BITS <= len(self.siblings) <= MAX_SIBLINGS:
            raise Tampered(BAD_PROOF)
        node = self._lowest(digest)
        depth = len(self.siblings)
        for sibling in self.siblings:
            depth -= 1
            join = inner_hash if depth >= BUCKET_BITS else upper_hash
            node = join(sibling, node) if bit(digest, depth) else join(node, sibling)
        if node != app_hash:
            raise Tampered(BAD_PROOF)
        return self.value

    def _lowest(self, digest: bytes) -> bytes:
        if self.value is not None:
            if self.other is not None:
                raise Tampered(BAD_PROOF)
            return leaf_hash(digest, sha256(self.value))
        if self.other is None:
            return EMPTY
        if len(self.other) != 2 or self.other[0] == digest or not _agree(self.other[0], digest, len(self.siblings)):
            raise Tampered(BAD_PROOF)
        return leaf_hash(self.other[0], self.other[1])


def check_proof(app_hash: Digest, key: bytes, proof: Proof) -> bytes | None:
    """``proof.verify(app_hash, key)``."""
    return proof.verify(app_hash, key)


def size_bytes(proof: Proof) -> int:
    """How many bytes of hashes and value a proof carries."""
    hashes: Sequence[bytes] = [*proof.siblings, *(proof.other or [])]
    return sum(map(len, hashes)) + len(proof.value or b"")


def _agree(one: bytes, two: bytes, bits: int) -> bool:
    return int.from_bytes(one, "big") >> (256 - bits) == int.from_bytes(two, "big") >> (256 - bits)
