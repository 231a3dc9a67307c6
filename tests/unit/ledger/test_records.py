"""What stands in the database's files says itself where it belongs, and what of it is damaged."""

from __future__ import annotations

from hashlib import sha256

import pytest

from caremesh.errors import Tampered
from caremesh.ledger.records import seal, state_record, value_in
from caremesh.ledger.trie import leaf_hash

pytestmark = pytest.mark.promise("P5")

KEY, OTHER, VALUE = b"members/member/\x00\x01m", b"members/member/\x00\x01n", b"value"
DIGEST = sha256(KEY).digest()
RECORD = state_record(leaf_hash(DIGEST, sha256(VALUE).digest()), KEY, VALUE)


def test_a_record_gives_its_value() -> None:
    assert value_in(DIGEST, KEY, RECORD) == VALUE


def test_a_record_of_another_key_is_named_by_where_it_stood() -> None:
    with pytest.raises(Tampered, match=r"ledger\.32") as caught:
        value_in(DIGEST, OTHER, RECORD)
    assert caught.value.place == f"state record {DIGEST.hex()}"


def test_another_value_is_named_by_its_key() -> None:
    with pytest.raises(Tampered, match=r"ledger\.32") as caught:
        value_in(DIGEST, KEY, RECORD[:-1] + b"!")
    assert caught.value.place == "state key members/member/00016d"


def test_a_checksum_is_of_database_key_and_payload() -> None:
    """Fixed: other copies of the ledger, and later versions, read the same files."""
    whole = seal("undo", b"\0\1", b"payload")
    assert whole == sha256(b"undo\0" + b"\0\1" + b"payload").digest()[: len(whole) - 7] + b"payload"
