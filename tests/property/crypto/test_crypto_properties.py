"""For all inputs: what is encoded comes back, and hash inputs never collide."""

from hypothesis import given
from hypothesis import strategies as st

from caremesh.crypto import base58
from caremesh.crypto.envelope import open_aead, seal_aead
from caremesh.crypto.hashes import length_prefixed
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.signatures import check_key, multikey_text, parse_multikey, verify
from caremesh.errors import BadInput

keys = st.binary(min_size=32, max_size=32)


@given(st.binary(max_size=90))
def test_base58_comes_back(data: bytes) -> None:
    assert base58.decode(base58.encode(data)) == data


@given(st.text(max_size=130))
def test_a_base58_text_has_one_spelling_or_none(text: str) -> None:
    try:
        data = base58.decode(text)
    except BadInput:
        return
    assert base58.encode(data) == text


@given(keys, st.binary(max_size=300))
def test_own_signatures_verify_under_own_keys(seed: bytes, message: bytes) -> None:
    key = SigningKey.from_seed(seed)
    check_key(key.public)
    verify(key.public, message, key.sign(message))
    assert parse_multikey(multikey_text(key.public)) == key.public


@given(st.lists(st.binary(max_size=6), max_size=5), st.lists(st.binary(max_size=6), max_size=5))
def test_different_parts_never_make_the_same_bytes(one: list[bytes], two: list[bytes]) -> None:
    assert (length_prefixed(*one) == length_prefixed(*two)) == (one == two)


@given(keys, st.binary(max_size=200), st.binary(max_size=50))
def test_envelopes_come_back(key: bytes, plaintext: bytes, aad: bytes) -> None:
    sealed = seal_aead(key, plaintext, aad)
    assert len(sealed) == len(plaintext) + 16
    assert open_aead(key, sealed, aad, "") == plaintext
