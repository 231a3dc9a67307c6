"""Hash inputs have one spelling; signatures verify by libsodium's rules; unsafe keys are refused."""

import pytest

from caremesh.crypto import base58
from caremesh.crypto.hashes import length_prefixed, sha256, tagged_hash
from caremesh.crypto.keys import SigningKey, derive
from caremesh.crypto.signatures import (
    ED25519_PREFIX,
    check_key,
    did_of,
    multikey_text,
    parse_multikey,
    stream_of,
    verify,
)
from caremesh.errors import BadInput, Refused, Tampered

KEY = SigningKey.from_seed(bytes(range(32)))
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493

# All encodings of points whose order divides 8, canonical and not: libsodium's list, ed25519_ref10.c.
SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


def test_parts_are_told_apart_by_their_lengths() -> None:
    assert length_prefixed(b"ab", b"") == b"\0\0\0\x02ab\0\0\0\0"
    assert length_prefixed() == b""
    assert len({tagged_hash("d", b"ab", b"c"), tagged_hash("d", b"a", b"bc"), tagged_hash("d", b"abc")}) == 3
    assert tagged_hash("d", b"a") != tagged_hash("e", b"a")
    assert tagged_hash("d", b"a") == sha256(b"\0\0\0\x01d\0\0\0\x01a")


def test_a_part_that_does_not_fit_its_length_is_refused() -> None:
    class Long(bytes):
        def __len__(self) -> int:
            return 2**32

    with pytest.raises(BadInput, match=r"hashes\.01.*part 1"):
        length_prefixed(b"", Long())


def test_a_signature_of_rfc_8032() -> None:
    # Section 7.1, TEST 2.
    key = SigningKey.from_seed(bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    assert key.public == ED25519_PREFIX + public
    assert key.sign(b"\x72") == signature
    verify(key.public, b"\x72", signature)


@pytest.mark.parametrize("position", range(64))
def test_every_flipped_byte_of_a_signature_is_noticed(position: int) -> None:
    signature = bytearray(KEY.sign(b"message"))
    signature[position] ^= 1
    with pytest.raises(Tampered, match=r"signatures\.03"):
        verify(KEY.public, b"message", bytes(signature))


def test_a_signature_is_of_one_message_and_one_key() -> None:
    signature = KEY.sign(b"message")
    for key, message, forged in [
        (KEY.public, b"massage", signature),
        (SigningKey.generate().public, b"message", signature),
        (KEY.public, b"message", signature[:-1]),
        (KEY.public, b"message", signature + b"\0"),
        (KEY.public, b"essage", signature + b"m"),
        (KEY.public[:-1], b"message", signature),
        (KEY.public + b"\0", b"message", signature),
        (b"\xe7\x01" + KEY.public[2:], b"message", signature),
    ]:
        with pytest.raises(Tampered, match=r"signatures\.03"):
            verify(key, message, forged)


def test_a_signature_has_one_spelling() -> None:
    signature = KEY.sign(b"message")
    scalar = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    with pytest.raises(Tampered):
        verify(KEY.public, b"message", signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize("encoding", SMALL_ORDER)
def test_keys_of_small_order_are_refused(encoding: str) -> None:
    key = ED25519_PREFIX + bytes.fromhex(encoding)
    with pytest.raises(Refused, match=r"signatures\.02"):
        check_key(key)
    # With the neutral element as key and R, and S = 0, the equation holds for every message.
    with pytest.raises(Tampered):
        verify(key, b"any message", bytes.fromhex(SMALL_ORDER[1]) + bytes(32))


def test_keys_that_are_not_canonical_or_not_in_the_group_are_refused() -> None:
    for encoding in [
        (2**255 - 19 + 3).to_bytes(32, "little"),  # y = 3, spelt with p added
        (2**255 - 19 + 4).to_bytes(32, "little"),
        (2).to_bytes(32, "little"),  # no point has y = 2
        b"\xff" * 32,
        (3).to_bytes(32, "little"),  # on the curve, but not in the prime-order subgroup
    ]:
        with pytest.raises(Refused, match=r"signatures\.02"):
            check_key(ED25519_PREFIX + encoding)


def test_keys_of_other_algorithms_and_lengths_are_refused() -> None:
    check_key(KEY.public)
    for key in [b"", KEY.public[:-1], KEY.public + b"\0", b"\xe7\x01" + KEY.public[2:], KEY.public[2:]]:
        with pytest.raises(Refused, match=r"signatures\.01"):
            check_key(key)
        with pytest.raises(BadInput, match=r"signatures\.04"):
            multikey_text(key)


@pytest.mark.parametrize(
    ("secret", "text"),
    [  # W3C CCG did:key test vectors, ed25519-x25519.json
        ("00" * 32, "z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"),
        ("00" * 31 + "01", "z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG"),
    ],
)
def test_published_multikeys(secret: str, text: str) -> None:
    key = SigningKey.from_seed(bytes.fromhex(secret)).public
    assert multikey_text(key) == text
    assert parse_multikey(text) == key


def test_published_base58() -> None:
    # draft-msporny-base58-03, section 5.
    assert base58.encode(b"Hello World!") == "2NEpo7TZRRrLZSi2U"
    fox = b"The quick brown fox jumps over the lazy dog."
    assert base58.encode(fox) == "USm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z"
    assert base58.encode(bytes.fromhex("0000287fb4cd")) == "11233QC4"
    assert base58.decode("11233QC4") == bytes.fromhex("0000287fb4cd")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("0", "character 0"),
        ("O", "character 0"),
        ("I", "character 0"),
        ("abl", "character 2"),
        ("abc d", "character 3"),
        ("é", "character 0"),
        ("1" * 129, "longer than 128 characters"),
    ],
)
def test_texts_that_are_not_base58(text: str, place: str) -> None:
    with pytest.raises(BadInput) as caught:
        base58.decode(text)
    assert (caught.value.code, caught.value.place) == ("base58.01", place)
    assert base58.decode("1" * 128) == bytes(128)


def test_texts_that_are_not_multikeys() -> None:
    text = multikey_text(KEY.public)
    for wrong in [
        "",
        "z",
        text[1:],
        "u" + text[1:],
        text[:-1],
        text + "1",
        "z" + base58.encode(b"\xe7\x01" + bytes(32)),
    ]:
        with pytest.raises(BadInput, match=r"signatures\.04"):
            parse_multikey(wrong)


def test_names_come_from_the_first_key() -> None:
    assert did_of("demo", KEY.public) == did_of("demo", KEY.public)
    assert did_of("demo", KEY.public).startswith("did:caremesh:demo:")
    assert len(did_of("demo", KEY.public).rpartition(":")[2]) == 32
    assert did_of("demo", KEY.public) != did_of("demo", SigningKey.generate().public)
    assert stream_of(KEY.public) == tagged_hash("caremesh/v1/stream", KEY.public)


def test_derivation_of_rfc_5869() -> None:
    # Appendix A.3: no salt, no info.
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    assert derive(b"\x0b" * 22, length=42).hex() == expected


def test_what_derivation_tells_apart_and_its_limits() -> None:
    assert derive(b"secret", b"ab") != derive(b"secret", b"a", b"b")
    assert [len(derive(b"secret", length=length)) for length in (1, 8160)] == [1, 8160]
    for length in (0, 8161):
        with pytest.raises(BadInput, match=r"keys\.02"):
            derive(b"secret", length=length)


def test_secrets_do_not_show() -> None:
    assert KEY.seed.hex() not in repr(KEY)
    assert repr(KEY) == "SigningKey(…)"
    assert SigningKey.generate().seed != SigningKey.generate().seed
    for seed in (b"", bytes(31), bytes(33)):
        with pytest.raises(BadInput, match=r"keys\.01"):
            SigningKey.from_seed(seed)
