"""Makes proofs at the head and at every kept height."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Final

from caremesh.crypto.hashes import sha256
from caremesh.errors import Tampered
from caremesh.ledger.authenticated_map import AuthenticatedMap
from caremesh.ledger.past import Past, head_of
from caremesh.ledger.proofs import Proof
from caremesh.ledger.records import DAMAGED, name_of
from caremesh.ledger.store import Head, Read, Store
from caremesh.ledger.trie import bucket_of, insert, leaf_hash, remove, walk
from caremesh.types import Digest, Height

_KEPT_PASTS: Final = 8


class Prover:
    """Proofs out of a store and its map, which are of the same height whenever the gate is open to readers."""

    def __init__(self, store: Store, tree: AuthenticatedMap) -> None:
        self._store: Final = store
        self._map: Final = tree
        self._pasts: Final[OrderedDict[Height, Past]] = OrderedDict()

    def prove(self, key: bytes, height: Height | None = None) -> tuple[bytes | None, Proof, Height]:
        """(value, proof, height). Raises BadInput ledger.11, Tampered ledger.32."""
        with self._store.read() as read:
            head = head_of(read)
            past = self._past(read, head, head.height if height is None else height)
            value = past.values[key] if key in past.values else read.get(key)
            return value, self._proof(read, past, sha256(key), key, value), past.height

    def _proof(self, read: Read, past: Past, digest: Digest, key: bytes, value: bytes | None) -> Proof:
        number, slot = bucket_of(digest), partial(read.slot, bits=self._map.flat.bits)
        then = past.in_bucket(number)
        if then:
            trie = self._map.trie(number, slot)
            for key_digest, before in then:
                leaf = None if before is None else leaf_hash(key_digest, sha256(before))
                trie = remove(trie, key_digest) if leaf is None else insert(trie, key_digest, leaf)
            end, beside = walk(trie, digest)
            stands = None if end is None else end.digest
        else:
            stands, beside = self._map.find(digest, slot)
        above = self._map.flat.above(past.roots)
        siblings = beside + self._map.flat.siblings(number, above)
        if (stands == digest) != (value is not None):  # the map and the values come from the same records
            raise Tampered(DAMAGED, name_of(key))
        if stands is None or stands == digest:
            return Proof(siblings=siblings, value=value)
        other = dict(then).get(stands)
        if other is None:
            record = read.record(stands)
            if record is None:
                raise Tampered(DAMAGED, f"state record {stands.hex()}")
            other = record[1]
        return Proof(siblings=siblings, other=[stands, sha256(other)])

    def _past(self, read: Read, head: Head, height: Height) -> Past:
        past = self._pasts.pop(height, None) or Past(height)
        past.extend(read, head)
        if height != head.height:
            self._pasts[height] = past
            while len(self._pasts) > _KEPT_PASTS:
                self._pasts.popitem(last=False)
        return past
