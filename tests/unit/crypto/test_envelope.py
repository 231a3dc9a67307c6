"""Envelopes open for the right key, passphrase and place, and for nothing else."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from caremesh import codec
from caremesh.crypto.envelope import (
    HPKE_PUBLIC_BYTES,
    ManyAead,
    hpke_from_seed,
    hpke_generate,
    hpke_open,
    hpke_seal,
    lock,
    open_aead,
    seal_aead,
    unlock,
)
from caremesh.errors import BadInput, Locked, Tampered

KEY = bytes(range(32))


@pytest.fixture(scope="module")
def locked() -> bytes:
    return lock("correct horse", b"plaintext")


@pytest.fixture(scope="module")
def hpke_pair() -> tuple[bytes, bytes]:
    return hpke_generate()


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def test_published_aes_gcm() -> None:
    # McGrew and Viega, "The Galois/Counter Mode of Operation", test case 14: zero key, nonce and plaintext.
    expected = "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
    assert seal_aead(bytes(32), bytes(16), b"").hex() == expected


@pytest.mark.promise("P6")
def test_every_change_to_a_ciphertext_is_noticed_and_the_place_named() -> None:
    sealed = seal_aead(KEY, b"plaintext", b"place one")
    assert open_aead(KEY, sealed, b"place one", "x") == b"plaintext"
    wrong = [(KEY, flipped(sealed, i), b"place one") for i in range(len(sealed))]
    wrong += [(KEY, sealed[:i], b"place one") for i in range(len(sealed))]
    wrong += [(KEY, sealed, b"place two"), (bytes(32), sealed, b"place one"), (KEY, sealed + b"\0", b"place one")]
    for key, data, aad in wrong:
        with pytest.raises(Tampered, match=r"envelope\.02.*\(block 7\)"):
            open_aead(key, data, aad, "block 7")


def test_keys_of_other_lengths_are_refused() -> None:
    for key in (b"", bytes(16), bytes(24), bytes(33)):
        with pytest.raises(BadInput, match=r"envelope\.01"):
            seal_aead(key, b"", b"")
        with pytest.raises(BadInput, match=r"envelope\.01"):
            open_aead(key, bytes(16), b"", "")


def test_a_passphrase_opens_what_it_locked(locked: bytes) -> None:
    assert unlock("correct horse", locked) == b"plaintext"
    assert lock("correct horse", b"plaintext") != locked
    for wrong in ("correct hors", "correct horse ", "Correct horse"):
        with pytest.raises(Locked, match=r"envelope\.03"):
            unlock(wrong, locked)


def test_a_passphrase_is_the_same_on_every_keyboard() -> None:
    assert unlock("Zu\u0308rich", lock("Z\u00fcrich", b"x")) == b"x"


@pytest.mark.parametrize("passphrase", ["a", "a" * 1024])
def test_the_shortest_and_the_longest_passphrase(passphrase: str) -> None:
    assert unlock(passphrase, lock(passphrase, b"x")) == b"x"


def test_passphrases_that_are_none(locked: bytes) -> None:
    for wrong in ("", "a" * 1025, "\ud800"):
        with pytest.raises(BadInput, match=r"envelope\.05"):
            lock(wrong, b"x")
        with pytest.raises(BadInput, match=r"envelope\.05"):
            unlock(wrong, locked)


def test_the_lock_says_how_it_was_made(locked: bytes) -> None:
    header = codec.decode(locked)
    assert header["stretch"] == "argon2id"
    assert header["cost"] == {"memory_kib": 65_536, "passes": 3, "lanes": 4}


def test_a_changed_ciphertext_or_salt_does_not_open(locked: bytes) -> None:
    header = codec.decode(locked)
    for field in ("ciphertext", "salt"):
        with pytest.raises(Locked, match=r"envelope\.03"):
            unlock("correct horse", codec.encode(header | {field: flipped(header[field], 0)}))


@pytest.mark.parametrize(
    "cost",
    [
        {"memory_kib": 100_000_000},
        {"memory_kib": 1_048_577},
        {"memory_kib": 8},
        {"passes": 0},
        {"passes": 17},
        {"passes": 2**31},
        {"lanes": 0},
        {"lanes": 17},
    ],
)
def test_a_hostile_file_cannot_ask_for_the_whole_machine(locked: bytes, cost: dict[str, int]) -> None:
    header = codec.decode(locked)
    with pytest.raises(Tampered, match=r"envelope\.04") as caught:
        unlock("correct horse", codec.encode(header | {"cost": header["cost"] | cost}))
    assert caught.value.place == f"$.cost.{next(iter(cost))}"


def test_what_is_not_a_lock_is_said_to_be_none(locked: bytes) -> None:
    header = codec.decode(locked)
    for wrong in (
        b"",
        b"text",
        locked[:-1],
        locked + b"\0",
        codec.encode(header | {"stretch": "scrypt"}),
        codec.encode(header | {"kind": "caremesh/v2/lock"}),
        codec.encode(header | {"salt": bytes(15)}),
        codec.encode(header | {"more": 1}),
    ):
        with pytest.raises(Tampered, match=r"envelope\.04"):
            unlock("correct horse", wrong)


def test_a_message_opens_for_its_recipient(hpke_pair: tuple[bytes, bytes]) -> None:
    private, public = hpke_pair
    assert (len(private), len(public)) == (32, HPKE_PUBLIC_BYTES)
    assert hpke_from_seed(private) == hpke_pair
    sealed = hpke_seal(public, b"hello", b"channel", b"message 1")
    assert hpke_open(private, sealed, b"channel", b"message 1") == b"hello"
    assert hpke_seal(public, b"hello", b"channel", b"message 1") != sealed


@pytest.mark.promise("P6")
def test_a_message_opens_nowhere_else(hpke_pair: tuple[bytes, bytes]) -> None:
    private, public = hpke_pair
    sealed = hpke_seal(public, b"hello", b"channel", b"message 1")
    wrong = [(private, flipped(sealed, i), b"channel", b"message 1") for i in range(0, len(sealed), 13)]
    wrong += [(private, flipped(sealed, len(sealed) - 1 - i), b"channel", b"message 1") for i in range(22)]
    wrong += [(private, sealed[:i], b"channel", b"message 1") for i in (0, 1, 1087, 1120, len(sealed) - 1)]
    wrong += [
        (private, sealed, b"other", b"message 1"),
        (private, sealed, b"channel", b"message 2"),
        (private, sealed, b"channelm", b"essage 1"),
        (hpke_generate()[0], sealed, b"channel", b"message 1"),
    ]
    for key, data, info, aad in wrong:
        with pytest.raises(Tampered, match=r"envelope\.06"):
            hpke_open(key, data, info, aad)


def test_keys_that_are_none(hpke_pair: tuple[bytes, bytes]) -> None:
    _, public = hpke_pair
    for key in (b"", public[:-1], public + b"\0", b"\xff" * HPKE_PUBLIC_BYTES, public[:-32] + bytes(32)):
        with pytest.raises(BadInput, match=r"envelope\.01"):
            hpke_seal(key, b"", b"", b"")
    for private in (b"", bytes(31), bytes(96)):
        with pytest.raises(BadInput, match=r"envelope\.01"):
            hpke_open(private, b"", b"", b"")


def test_the_key_pair_of_a_seed_is_that_of_x_wing() -> None:
    # draft-connolly-cfrg-xwing-kem, appendix C, first vector: the start of pk.
    seed = bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")
    assert hpke_from_seed(seed)[1][:16].hex() == "e2236b35a8c24b39b10aa1323a96a919"


def test_many_ciphertexts_under_one_key_and_a_nonce_for_each() -> None:
    many, other = ManyAead(KEY), ManyAead(bytes(32))
    sealed = many.seal(b"n" * 12, b"plaintext", b"aad")
    assert sealed == AESGCM(KEY).encrypt(b"n" * 12, b"plaintext", b"aad")
    assert many.open(b"n" * 12, sealed, b"aad") == b"plaintext"
    for attempt in (
        lambda: other.open(b"n" * 12, sealed, b"aad"),
        lambda: many.open(b"m" * 12, sealed, b"aad"),
        lambda: many.open(b"n" * 12, sealed, b""),
        lambda: many.open(b"n" * 12, flipped(sealed, 0), b"aad"),
    ):
        with pytest.raises(Tampered) as caught:
            attempt()
        assert (caught.value.code, caught.value.place) == ("envelope.02", "")
    for key in (b"", bytes(31), bytes(33)):
        with pytest.raises(BadInput, match=r"envelope\.01"):
            ManyAead(key)
