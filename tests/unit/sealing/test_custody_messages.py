"""What passes between wallet, source, custodian and requester says who made it, and is nothing else."""

from typing import Any

import pytest

from caremesh import codec
from caremesh.crypto import envelope
from caremesh.crypto.hashes import tagged_hash
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.reencryption import FRAGMENT_BYTES, REENCRYPTION_BYTES, ReadingKey, seal_to
from caremesh.errors import Tampered
from caremesh.sealing import custody
from caremesh.sealing.release_log import Anchor, LogEntry, LogHead

DID = "did:caremesh:test:" + "a" * 32
OTHER = "did:caremesh:test:" + "b" * 32
KEY = SigningKey.from_seed(bytes(range(32)))
READING = ReadingKey.from_secret(bytes(range(1, 33))).public
SEAL = seal_to(READING, bytes(32))
CID = codec.cid_of_cbor(b"\xa0")
D32, D16 = bytes(32), bytes(16)

OBJECTS: list[tuple[str, Any]] = [
    (
        custody.FRAGMENT_DEPOSIT,
        custody.FragmentDeposit(
            consent=D32,
            stream=D32,
            epoch=1,
            custodian=DID,
            fragment=bytes(FRAGMENT_BYTES),
            delegating=READING,
            receiving=READING,
            verifying=READING,
        ),
    ),
    (
        custody.SEAL_DEPOSIT,
        custody.SealDeposit(
            stream=D32, source=DID, descriptor=b"\xa0", seal=SEAL, permit=b"\xa0", permit_signature=bytes(64)
        ),
    ),
    (custody.ACKNOWLEDGEMENT, custody.Acknowledgement(custodian=DID, what=D32)),
    (
        custody.RELEASE_REQUEST,
        custody.ReleaseRequest(receipt=D32, stream=D32, descriptors=[CID], custodian=DID, nonce=D16, at=5),
    ),
    (
        custody.RELEASE,
        custody.Release(
            receipt=D32,
            stream=D32,
            descriptor=CID,
            custodian=DID,
            at=5,
            keys=custody.FragmentKeys(verifying=READING, delegating=READING, receiving=READING),
            seal=SEAL,
            reencryption=bytes(REENCRYPTION_BYTES),
            log=custody.LogPosition(index=0, previous=D32, entry=D32),
        ),
    ),
    (custody.DESTROY_CONFIRMATION, custody.DestroyConfirmation(consent=D32, custodian=DID, at=5)),
    (
        custody.ERASURE_CONFIRMATION,
        custody.ErasureConfirmation(stream=D32, segment=0, version=1, erased=True, member=DID, kept="seals", at=5),
    ),
    (
        custody.LOG_ANSWER,
        custody.LogAnswer(
            stream=D32,
            custodian=DID,
            nonce=D16,
            at=5,
            entries=[LogEntry(D32, 0, D32, D32, CID, 5)],
            head=LogHead(1, D32),
            anchor=Anchor({D32: LogHead(1, D32)}).prove(D32),
        ),
    ),
    (custody.SEAL_REQUEST, custody.StreamRequest(stream=D32, custodian=DID, nonce=D16, at=5)),
    (
        custody.SEAL_ANSWER,
        custody.SealAnswer(
            stream=D32, custodian=DID, nonce=D16, seals=[custody.HeldSeal(descriptor=b"\xa0", seal=SEAL)]
        ),
    ),
]
IDS = [type(value).__name__ for _, value in OBJECTS]


@pytest.mark.parametrize(("domain", "value"), OBJECTS, ids=IDS)
def test_what_is_signed_is_read_back(domain: str, value: Any) -> None:
    wire = codec.encode(custody.sign_payload(domain, value, KEY))
    assert custody.open_signed(domain, custody.read_signed(wire), type(value), KEY.public) == value


@pytest.mark.promise("P6")
@pytest.mark.parametrize(("domain", "value"), OBJECTS, ids=IDS)
def test_a_change_of_any_byte_is_named(domain: str, value: Any) -> None:
    wire = codec.encode(custody.sign_payload(domain, value, KEY))
    for position in range(0, len(wire), 5):
        changed = bytearray(wire)
        changed[position] ^= 1
        with pytest.raises(Tampered, match=r"custody\.0[12]") as caught:
            custody.open_signed(domain, custody.read_signed(bytes(changed), "it"), type(value), KEY.public, "it")
        assert caught.value.place == "it"


@pytest.mark.promise("P6")
def test_no_object_passes_for_one_of_another_kind() -> None:
    for domain, value in OBJECTS:
        signed = custody.sign_payload(domain, value, KEY)
        for other_domain, other in OBJECTS:
            if other_domain == domain:
                continue
            with pytest.raises(Tampered, match=r"custody\.01"):
                custody.open_signed(other_domain, signed, type(value), KEY.public)
            with pytest.raises(Tampered, match=r"custody\.01") as caught:
                custody.open_signed(domain, signed, type(other), KEY.public)
            assert caught.value.place == type(other).__name__


def test_another_key_is_refused_however_well_it_signs() -> None:
    other = SigningKey.generate()
    signed = custody.sign_payload(custody.ACKNOWLEDGEMENT, OBJECTS[2][1], other)
    with pytest.raises(Tampered, match=r"custody\.02"):
        custody.open_signed(custody.ACKNOWLEDGEMENT, signed, custody.Acknowledgement, KEY.public)


@pytest.mark.parametrize(
    "data", [b"", b"\xa0", b"\xff\xff", codec.encode({"payload": b"", "key": b"", "signature": b""})]
)
def test_what_is_not_signed_is_refused(data: bytes) -> None:
    for place in ("", "it"):
        with pytest.raises(Tampered, match=r"custody\.01") as caught:
            custody.read_signed(data, *[place] * bool(place))
        assert caught.value.place == place
        with pytest.raises(Tampered, match=r"custody\.01") as caught:
            custody.kept_releases(data, *[place] * bool(place))
        assert caught.value.place == place


def test_what_is_signed_and_what_is_acknowledged_follow_from_the_design() -> None:
    domain, value = OBJECTS[0]
    signed = custody.sign_payload(domain, value, KEY)
    assert (signed.payload, signed.key) == (codec.encode(value), KEY.public)
    assert signed.signature == KEY.sign(b"caremesh/fragment-deposit/v1\0" + signed.payload)
    assert custody.deposit_digest(signed) == tagged_hash("caremesh/v1/deposit", codec.encode(signed))


def test_an_acknowledgement_names_one_deposit_only() -> None:
    domain, value = OBJECTS[0]
    signed = custody.sign_payload(domain, value, KEY)
    digests = {
        custody.deposit_digest(signed),
        custody.deposit_digest(custody.sign_payload(domain, value, SigningKey.generate())),
    }
    digests.add(custody.deposit_digest(custody.sign_payload(*OBJECTS[1], KEY)))
    assert len(digests) == 3
    assert all(len(digest) == 32 for digest in digests)


def test_only_the_custodian_it_is_for_opens_a_deposit() -> None:
    private, public = envelope.hpke_generate()
    domain, value = OBJECTS[0]
    signed = custody.sign_payload(domain, value, KEY)
    sealed = custody.seal_to_custodian(domain, public, DID, signed)
    assert custody.open_by_custodian(domain, private, DID, sealed) == signed
    wrong = [
        (domain, private, OTHER, sealed),
        (custody.SEAL_DEPOSIT, private, DID, sealed),
        (domain, envelope.hpke_generate()[0], DID, sealed),
        (domain, private, DID, sealed[:-1]),
        (domain, private, DID, b""),
    ]
    for arguments in wrong:
        with pytest.raises(Tampered, match=r"custody\.03"):
            custody.open_by_custodian(*arguments)


def test_the_text_of_what_holds_fragments_or_seals_shows_none() -> None:
    secretive = {"FragmentDeposit", "SealDeposit", "Release", "SealAnswer"}
    values = [value for _, value in OBJECTS if type(value).__name__ in secretive]
    assert len(values) == len(secretive)
    values += [custody.sign_payload(domain, value, KEY) for domain, value in OBJECTS]
    values.append(custody.HeldSeal(descriptor=b"\xa0", seal=SEAL))
    assert repr(values[-1]) == "HeldSeal(…)"
    assert not [
        repr(value) for value in values if "\\x" in repr(value) or "Seal(" in repr(value).replace("HeldSeal", "")
    ]
