"""Whatever the messages: what is encoded is read back, and no changed byte passes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caremesh.errors import CareMeshError
from caremesh.ledger.transactions import Message, TransactionCodec, encode
from tests.support.kv import Append, Delete, DropFirst, Kv, Put, Refuse, Revoke, transaction

CODEC = TransactionCodec(Kv([]).messages)
short = st.binary(max_size=40)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Put, key=short, value=short, note=st.none() | st.text(max_size=10)),
    st.builds(Delete, key=short),
    st.builds(Append, owner=short, item=short),
    st.builds(DropFirst, owner=short),
    st.builds(Refuse, key=short),
    st.builds(Revoke, key=short),
)


@given(st.lists(messages, min_size=1, max_size=5), st.binary(min_size=8, max_size=8))
def test_what_is_encoded_is_read_back(msgs: list[Message], salt: bytes) -> None:
    raw = transaction(*msgs, salt=salt)
    checked = CODEC.decode(raw)
    assert checked.tx.msgs == msgs
    assert encode(checked.tx) in raw


@settings(max_examples=300)
@given(st.lists(messages, min_size=1, max_size=3), st.data())
def test_no_changed_bit_passes(msgs: list[Message], data: st.DataObject) -> None:
    raw = bytearray(transaction(*msgs, salt=b"saltsalt"))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CareMeshError):
        CODEC.decode(bytes(raw))


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(CareMeshError):
        CODEC.decode(data)
