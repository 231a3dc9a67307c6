"""How things lie in the database, so that a changed byte is noticed when it is read, and named.

A state record is  leaf hash ‖ length of the key (2 bytes) ‖ key ‖ value  under H(key): the leaf hash binds key and
value, and the root over all leaf hashes is compared with the last app hash at every start.
Any other record is  checksum (16 bytes) ‖ payload  under its own key.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from caremesh.errors import ErrorCode, Tampered
from caremesh.ledger.trie import leaf_hash

_LEAF: Final = 32
_HEAD: Final = 34
_CHECKSUM: Final = 16

DAMAGED = ErrorCode(
    "ledger.32",
    "The ledger's database is damaged here.",
    "Restore it from a snapshot, or let it follow the others anew.",
)


def name_of(key: bytes) -> str:
    """A state key for people: its text as far as it is text, the rest in hexadecimal."""
    end = next((at for at, byte in enumerate(key) if not 0x21 <= byte <= 0x7E), len(key))
    return "state key " + key[:end].decode() + key[end:].hex()


def state_record(leaf: bytes, key: bytes, value: bytes) -> bytes:
    """The record of a key and its value; ``leaf``: their leaf hash."""
    return leaf + len(key).to_bytes(2, "big") + key + value


def leaf_in(record: bytes | memoryview) -> bytes:
    """The leaf hash of a record."""
    return bytes(record[:_LEAF])


def key_in(record: bytes | memoryview) -> bytes:
    """The key of a record, unchecked."""
    return bytes(record[_HEAD : _HEAD + int.from_bytes(record[_LEAF:_HEAD], "big")])


def value_in(digest: bytes, key: bytes, record: bytes) -> bytes:
    """The value in the record of a key, whose SHA-256 is ``digest``. Raises Tampered ledger.32, which names the key."""
    at = _HEAD + len(key)
    if record[_LEAF:at] != len(key).to_bytes(2, "big") + key:
        raise Tampered(DAMAGED, f"state record {digest.hex()}")
    value = record[at:]
    if leaf_hash(digest, sha256(value).digest()) != record[:_LEAF]:
        raise Tampered(DAMAGED, name_of(key))
    return value


def open_record(digest: bytes, record: bytes | memoryview) -> tuple[bytes, bytes]:
    """(key, value) of the record under ``digest``. Raises Tampered ledger.32, which names the key."""
    key = key_in(record)
    value = bytes(record[_HEAD + len(key) :])
    if sha256(key).digest() != digest:
        raise Tampered(DAMAGED, f"state record {digest.hex()}")
    if leaf_hash(digest, sha256(value).digest()) != leaf_in(record):
        raise Tampered(DAMAGED, name_of(key))
    return key, value


def seal(database: str, key: bytes, payload: bytes) -> bytes:
    """A record of another database than state's."""
    return _checksum(database, key, payload) + payload


def unseal(database: str, key: bytes, record: bytes) -> bytes:
    """The payload of such a record. Raises Tampered ledger.32, which names database and key."""
    payload = record[_CHECKSUM:]
    if _checksum(database, key, payload) != record[:_CHECKSUM]:
        raise Tampered(DAMAGED, f"{database} {key.hex()}")
    return payload


def _checksum(database: str, key: bytes, payload: bytes) -> bytes:
    return sha256(database.encode() + b"\0" + key + payload).digest()[:_CHECKSUM]
