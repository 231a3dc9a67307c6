"""Seals open for t custodians and the grantee together, and what each party sends is checked."""

import os

import pytest
import umbral_pre
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from caremesh.crypto.reencryption import (
    ReadingKey,
    Seal,
    check_fragment,
    check_public_key,
    check_reencryption,
    make_fragments,
    open_checked,
    open_original,
    open_with,
    reencrypt,
    reencrypt_kept,
    seal_hash,
    seal_to,
)
from caremesh.errors import BadInput, CareMeshError, Refused, Tampered

SECRET = bytes(range(32))
PATIENT = ReadingKey.from_secret(bytes([1]) * 32)
GRANTEE = ReadingKey.from_secret(bytes([2]) * 32)
STRANGER = ReadingKey.from_secret(bytes([3]) * 32)
SEAL = seal_to(PATIENT.public, SECRET)
VERIFYING, FRAGMENTS = make_fragments(PATIENT, GRANTEE.public, 2, 3)
KEYS = (VERIFYING, PATIENT.public, GRANTEE.public)
REENCRYPTIONS = [reencrypt(SEAL, fragment, *KEYS) for fragment in FRAGMENTS]


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def fragments_signing(*, delegating: bool, receiving: bool) -> tuple[bytes, bytes]:
    """A verifying key and a fragment as a careless wallet would make it."""
    signer = umbral_pre.Signer(umbral_pre.SecretKey.random())
    fragments = umbral_pre.generate_kfrags(
        PATIENT.handle,
        umbral_pre.PublicKey.from_compressed_bytes(GRANTEE.public),
        signer,
        2,
        3,
        sign_delegating_key=delegating,
        sign_receiving_key=receiving,
    )
    return signer.verifying_key().to_compressed_bytes(), bytes(fragments[0])


@pytest.mark.promise("P2")
@pytest.mark.parametrize("who", [(0, 1), (0, 2), (1, 2), (2, 0), (0, 1, 2)])
def test_any_two_of_three_open(who: tuple[int, ...]) -> None:
    assert open_with(GRANTEE, PATIENT.public, SEAL, [REENCRYPTIONS[i] for i in who], VERIFYING) == SECRET


@pytest.mark.promise("P2")
@pytest.mark.parametrize("who", [(), (0,), (1, 1)])
def test_fewer_do_not(who: tuple[int, ...]) -> None:
    with pytest.raises(Tampered, match=r"reencryption\.08"):
        open_with(GRANTEE, PATIENT.public, SEAL, [REENCRYPTIONS[i] for i in who], VERIFYING)


def test_the_owner_opens_alone() -> None:
    assert open_original(PATIENT, seal_to(PATIENT.public, SECRET)) == SECRET
    with pytest.raises(Tampered, match=r"reencryption\.03"):
        open_original(STRANGER, SEAL)


@pytest.mark.parametrize(("threshold", "count"), [(0, 3), (4, 3), (-1, 3), (1, 0), (0, 0), (1, 256)])
def test_thresholds_that_never_open_anything_are_refused(threshold: int, count: int) -> None:
    with pytest.raises(BadInput, match=r"reencryption\.04"):
        make_fragments(PATIENT, GRANTEE.public, threshold, count)


def test_there_are_at_most_255_custodians() -> None:
    assert len(make_fragments(PATIENT, GRANTEE.public, 1, 255)[1]) == 255


def test_one_of_one_and_three_of_three() -> None:
    for threshold, count in ((1, 1), (3, 3)):
        verifying, fragments = make_fragments(PATIENT, GRANTEE.public, threshold, count)
        assert len(fragments) == count
        answers = [reencrypt(SEAL, fragment, verifying, PATIENT.public, GRANTEE.public) for fragment in fragments]
        assert open_with(GRANTEE, PATIENT.public, SEAL, answers, verifying) == SECRET
        with pytest.raises(Tampered):
            open_with(GRANTEE, PATIENT.public, SEAL, answers[1:], verifying)


def test_the_signer_is_fresh_for_each_grant() -> None:
    assert make_fragments(PATIENT, GRANTEE.public, 1, 1)[0] != make_fragments(PATIENT, GRANTEE.public, 1, 1)[0]


def test_fragments_as_made_pass() -> None:
    verifying, fragments = make_fragments(PATIENT, GRANTEE.public, 2, 3)
    for fragment in fragments:
        check_fragment(fragment, verifying, PATIENT.public, GRANTEE.public)


@pytest.mark.promise("P2")
@pytest.mark.parametrize(("delegating", "receiving"), [(True, False), (False, True), (False, False)])
def test_fragments_that_did_not_sign_both_keys_are_refused(*, delegating: bool, receiving: bool) -> None:
    verifying, fragment = fragments_signing(delegating=delegating, receiving=receiving)
    with pytest.raises(Refused, match=r"reencryption\.06"):
        check_fragment(fragment, verifying, PATIENT.public, GRANTEE.public)


def test_fragments_for_other_keys_do_not_verify() -> None:
    other = STRANGER.public
    for keys in ((other, *KEYS[1:]), (KEYS[0], other, KEYS[2]), (*KEYS[:2], other), (KEYS[0], KEYS[2], KEYS[1])):
        with pytest.raises(Tampered, match=r"reencryption\.05"):
            check_fragment(FRAGMENTS[0], *keys)
        with pytest.raises(Tampered, match=r"reencryption\.05"):
            reencrypt(SEAL, FRAGMENTS[0], *keys)


@pytest.mark.promise("P6")
def test_every_flipped_byte_of_a_fragment_is_noticed() -> None:
    for position in range(len(FRAGMENTS[0])):
        with pytest.raises(Tampered, match=r"reencryption\.05"):
            check_fragment(flipped(FRAGMENTS[0], position), *KEYS)
    for wrong in (b"", FRAGMENTS[0][:-1], FRAGMENTS[0] + b"\0"):
        with pytest.raises(Tampered, match=r"reencryption\.05"):
            check_fragment(wrong, *KEYS)
        with pytest.raises(Tampered, match=r"reencryption\.05"):
            reencrypt(SEAL, wrong, *KEYS)


@pytest.mark.promise("P6")
@pytest.mark.slow
def test_every_flipped_byte_of_a_reencryption_names_the_custodian() -> None:
    for position in range(len(REENCRYPTIONS[0])):
        with pytest.raises(Tampered, match=r"reencryption\.07.*\(custodian 4\)"):
            check_reencryption(SEAL, flipped(REENCRYPTIONS[0], position), *KEYS, "custodian 4")
    for wrong in (b"", REENCRYPTIONS[0][:-1], REENCRYPTIONS[0] + b"\0"):
        with pytest.raises(Tampered, match=r"reencryption\.07.*custodian 4"):
            check_reencryption(SEAL, wrong, *KEYS, "custodian 4")


def test_a_true_reencryption_passes() -> None:
    for reencryption in REENCRYPTIONS:
        check_reencryption(SEAL, reencryption, *KEYS, "custodian")


@pytest.mark.promise("P6")
def test_a_reencryption_of_another_seal_or_grant_names_the_custodian() -> None:
    another_seal = seal_to(PATIENT.public, SECRET)
    verifying, fragments = make_fragments(PATIENT, GRANTEE.public, 2, 3)
    another_grant = reencrypt(SEAL, fragments[1], verifying, PATIENT.public, GRANTEE.public)
    for lie in (reencrypt(another_seal, FRAGMENTS[1], *KEYS), another_grant):
        with pytest.raises(Tampered, match=r"reencryption\.07.*custodian 1"):
            check_reencryption(SEAL, lie, *KEYS, "custodian 1")
        with pytest.raises(Tampered, match=r"reencryption\.07.*\(the laboratory\)"):
            open_with(GRANTEE, PATIENT.public, SEAL, [REENCRYPTIONS[0], lie], VERIFYING, places=["x", "the laboratory"])
        with pytest.raises(Tampered, match=r"reencryption\.07.*\(re-encryption 1\)"):
            open_with(GRANTEE, PATIENT.public, SEAL, [REENCRYPTIONS[0], lie], VERIFYING)


def test_custodians_and_a_stranger_open_nothing() -> None:
    with pytest.raises(Tampered):
        open_with(STRANGER, PATIENT.public, SEAL, REENCRYPTIONS, VERIFYING)


def test_a_fragment_checked_at_deposit_need_not_be_checked_again() -> None:
    answers = [reencrypt_kept(SEAL, fragment) for fragment in FRAGMENTS[:2]]
    assert open_with(GRANTEE, PATIENT.public, SEAL, answers, VERIFYING) == SECRET


@pytest.mark.promise("P6")
def test_every_flipped_byte_of_a_seal_is_noticed() -> None:
    for position in range(len(SEAL.capsule)):
        with pytest.raises(Tampered, match=r"reencryption\.03"):
            open_original(PATIENT, Seal(flipped(SEAL.capsule, position), SEAL.ciphertext))
    for position in range(len(SEAL.ciphertext)):
        broken = Seal(SEAL.capsule, flipped(SEAL.ciphertext, position))
        with pytest.raises(Tampered, match=r"reencryption\.03"):
            open_original(PATIENT, broken)
        if position % 8 == 0:  # the capsule is untouched, so the re-encryptions verify: the seal is the evidence
            with pytest.raises(Tampered, match=r"reencryption\.08"):
                open_with(GRANTEE, PATIENT.public, broken, REENCRYPTIONS, VERIFYING)
    for capsule in (b"", SEAL.capsule[:-1], SEAL.capsule + b"\0", bytes(105)):
        with pytest.raises(Tampered, match=r"reencryption\.03"):
            reencrypt(Seal(capsule, SEAL.ciphertext), FRAGMENTS[0], *KEYS)


def test_the_hash_of_a_seal_binds_both_parts() -> None:
    hashes = {
        seal_hash(SEAL),
        seal_hash(Seal(flipped(SEAL.capsule, 0), SEAL.ciphertext)),
        seal_hash(Seal(SEAL.capsule, flipped(SEAL.ciphertext, 0))),
        seal_hash(Seal(SEAL.capsule + SEAL.ciphertext[:1], SEAL.ciphertext[1:])),
    }
    assert len(hashes) == 4
    assert {len(value) for value in hashes} == {32}


@pytest.mark.parametrize("public", [b"", bytes(33), b"\x04" + bytes(32), b"\x02" + b"\xff" * 32, b"\x02" + bytes(31)])
def test_public_keys_that_are_none(public: bytes) -> None:
    for action in (
        lambda: check_public_key(public),
        lambda: seal_to(public, SECRET),
        lambda: make_fragments(PATIENT, public, 1, 1),
        lambda: check_fragment(FRAGMENTS[0], public, PATIENT.public, GRANTEE.public),
        lambda: open_with(GRANTEE, public, SEAL, REENCRYPTIONS, VERIFYING),
    ):
        with pytest.raises(BadInput, match=r"reencryption\.02"):
            action()


def test_a_public_key_has_one_spelling() -> None:
    """The library also reads SEC 1's uncompressed and compact points."""
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), PATIENT.public)
    uncompressed = point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    for spelling in (uncompressed, b"\x05" + PATIENT.public[1:]):
        assert umbral_pre.PublicKey.from_compressed_bytes(spelling)
        with pytest.raises(BadInput, match=r"reencryption\.02"):
            check_public_key(spelling)


def compact(data: bytes, position: int) -> bytes:
    """The same with the point that starts here spelled as SEC 1's compact point: the library reads it."""
    return data[:position] + b"\x05" + data[position + 1 :]


def seal_in_two_spellings() -> Seal:
    """A seal to the patient whose first point, spelled otherwise, reads as the same point: every other one does."""
    while True:
        seal = seal_to(PATIENT.public, SECRET)
        spelled = Seal(compact(seal.capsule, 3), seal.ciphertext)
        try:
            assert umbral_pre.Capsule.from_bytes(spelled.capsule)
        except ValueError:
            continue
        return spelled


@pytest.mark.promise("P6")
def test_what_parties_send_has_one_spelling_and_its_error_names_them() -> None:
    """A point's prefix says which of two it is; the compact spelling leaves it to the reader."""
    fragment, reencryption, respelled = (
        compact(FRAGMENTS[0], 143),
        compact(REENCRYPTIONS[0], 38),
        seal_in_two_spellings(),
    )
    assert umbral_pre.KeyFrag.from_bytes(fragment)
    assert umbral_pre.CapsuleFrag.from_bytes(reencryption)
    attempts = [
        (lambda: check_reencryption(SEAL, reencryption, *KEYS, "custodian 4"), "reencryption.07", "custodian 4"),
        (lambda: check_reencryption(SEAL, b"", *KEYS, "custodian 4"), "reencryption.07", "custodian 4"),
        (lambda: check_fragment(fragment, *KEYS), "reencryption.05", ""),
        (lambda: check_fragment(b"", *KEYS), "reencryption.05", ""),
        (lambda: reencrypt(SEAL, fragment, *KEYS), "reencryption.05", ""),
        (lambda: reencrypt_kept(SEAL, fragment), "reencryption.05", ""),
        (lambda: open_original(PATIENT, respelled), "reencryption.03", ""),
    ]
    for attempt, code, place in attempts:
        with pytest.raises(Tampered) as caught:
            attempt()
        assert (caught.value.code, caught.value.place) == (code, place)


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33), bytes(32), b"\xff" * 32])
def test_secrets_that_are_no_key(secret: bytes) -> None:
    with pytest.raises(BadInput, match=r"reencryption\.01"):
        ReadingKey.from_secret(secret)


def test_a_reading_key_does_not_show() -> None:
    assert repr(PATIENT) == "ReadingKey(…)"
    assert "01" * 8 not in str(PATIENT.handle)


def test_garbage_never_crashes() -> None:
    for length in (0, 1, 33, 105, 310, 381, 1000):
        garbage = os.urandom(length)
        for action in (
            lambda: check_fragment(garbage, *KEYS),  # noqa: B023 -- called in this turn of the loop
            lambda: check_reencryption(SEAL, garbage, *KEYS, "c"),  # noqa: B023
            lambda: open_original(PATIENT, Seal(garbage, garbage)),  # noqa: B023
            lambda: check_public_key(garbage),  # noqa: B023
        ):
            with pytest.raises(CareMeshError):
                action()


def test_checked_re_encryptions_open_only_together_with_those_of_the_same_seal() -> None:
    other = seal_to(PATIENT.public, b"o" * 32)
    mixed = Seal(SEAL.capsule, other.ciphertext)
    mine = [check_reencryption(SEAL, REENCRYPTIONS[i], *KEYS, "") for i in range(2)]
    assert open_checked(GRANTEE, mine) == SECRET
    same_capsule = check_reencryption(mixed, REENCRYPTIONS[1], *KEYS, "")
    elsewhere = check_reencryption(other, reencrypt(other, FRAGMENTS[1], *KEYS), *KEYS, "")
    for checked in ([mine[0], same_capsule], [same_capsule, mine[0]], [mine[0], elsewhere], [mine[0]], []):
        with pytest.raises(Tampered, match=r"reencryption\.08"):
            open_checked(GRANTEE, checked)
    with pytest.raises(Tampered, match=r"reencryption\.08"):
        open_checked(STRANGER, mine)
    assert repr(mine[0]) == "Checked(…)"
