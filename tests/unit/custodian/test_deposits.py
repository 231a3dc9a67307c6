"""What a custodian keeps, and of whom: every rule of a deposit with its code."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.members.messages import Suspend
from caremesh.contracts.streams.messages import RotateKey, SetCustodians
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.reencryption import ReadingKey
from caremesh.custodian import deposits
from caremesh.sealing import custody
from caremesh.sealing.custody import Acknowledgement, FragmentDeposit, SealDeposit
from caremesh.sealing.segment import seal_anew
from caremesh.types import Did
from tests.support.keepers import HPKE_PRIVATE, HPKE_PUBLIC, Keepers, names, refusal, said
from tests.support.world import Actor

NOBODY = "did:caremesh:test:" + "a" * 32
CONSENT = bytes(range(32))
STRANGER = ReadingKey.from_secret(b"s" * 32).public


@pytest.mark.promise("P2")
def test_a_fragment_comes_from_the_key_that_the_stream_has_now(keepers: Keepers) -> None:
    keeper = keepers.keeper
    made = keepers.fragments(CONSENT)[keeper.did]
    other = SigningKey.generate()

    def attempt(deposit: FragmentDeposit = made, key: SigningKey | None = None) -> bytes:
        return keeper.deposit_fragment(keepers.sealed_fragment(deposit, key))

    assert attempt(), "the stream is not on the ledger: its id is that of its first key"
    assert refusal(lambda: attempt(key=other)) == ("custodian.20", "")
    keepers.add()
    assert attempt()
    assert refusal(lambda: attempt(key=other)) == ("custodian.20", "")
    new = Actor("new", stream=True)
    keepers.must(RotateKey(stream=keepers.stream, key=new.key.public), keepers.stream_key, new, keepers.practice)
    assert refusal(attempt) == ("custodian.20", "")
    assert attempt(key=new.key)


@pytest.mark.promise("P2")
def test_a_fragment_is_for_the_custodian_that_it_names(keepers: Keepers) -> None:
    keeper, fellow = keepers.keepers[:2]
    mine = keepers.fragments(CONSENT)[keeper.did]
    misdirected = keepers.sealed_fragment(replace(mine, custodian=fellow.did), to=keeper.did)
    assert refusal(lambda: keeper.deposit_fragment(misdirected)) == ("custodian.20", "")
    elsewhere = keepers.sealed_fragment(mine, to=fellow.did)
    assert refusal(lambda: keeper.deposit_fragment(elsewhere)) == ("custody.03", "")
    seal = custody.sign_payload(custody.FRAGMENT_DEPOSIT, keepers.seal_deposit(keepers.seal()), keepers.stream_key.key)
    kind = custody.seal_to_custodian(custody.FRAGMENT_DEPOSIT, HPKE_PUBLIC, keeper.did, seal)
    assert refusal(lambda: keeper.deposit_fragment(kind)) == ("custody.01", "FragmentDeposit")
    resealed = custody.sign_payload(custody.RESEAL_DEPOSIT, mine, keepers.stream_key.key)
    domain = custody.seal_to_custodian(custody.FRAGMENT_DEPOSIT, HPKE_PUBLIC, keeper.did, resealed)
    assert refusal(lambda: keeper.deposit_fragment(domain)) == ("custody.01", "FragmentDeposit")
    assert names(keeper, "") == []


@pytest.mark.promise("P2")
@pytest.mark.parametrize("field", ["delegating", "receiving", "verifying"])
def test_a_fragment_that_does_not_verify_is_not_kept(keepers: Keepers, field: str) -> None:
    made = replace(keepers.fragments(CONSENT)[keepers.keeper.did], **{field: STRANGER})
    assert refusal(lambda: keepers.keeper.deposit_fragment(keepers.sealed_fragment(made))) == ("reencryption.05", "")
    assert names(keepers.keeper, "") == []


def test_an_acknowledgement_is_of_the_deposit_as_it_was_signed(keepers: Keepers) -> None:
    keeper, sealed = keepers.keeper, keepers.seal()
    fragment = keepers.sealed_fragment(keepers.fragments(CONSENT)[keeper.did])
    signed = custody.open_by_custodian(custody.FRAGMENT_DEPOSIT, HPKE_PRIVATE, keeper.did, fragment)
    acknowledged = said(custody.ACKNOWLEDGEMENT, keeper.deposit_fragment(fragment), Acknowledgement, keeper)
    assert acknowledged == Acknowledgement(custodian=keeper.did, what=custody.deposit_digest(signed))
    raw = [keepers.signed_seal(keepers.seal_deposit(each)) for each in (sealed, keepers.seal(b"2"))]
    for data, answer in zip(raw, keeper.deposit_seals(raw), strict=True):
        told = said(custody.ACKNOWLEDGEMENT, answer, Acknowledgement, keeper)
        assert told.what == custody.deposit_digest(custody.read_signed(data))
    assert len(names(keeper, "seal/")) == 2
    kept = keeper._keeping.seal(keepers.stream, sealed.descriptor_cid)
    assert kept == replace(keepers.seal_deposit(sealed))


def test_several_seals_are_kept_or_none(keepers: Keepers) -> None:
    good, bad = (keepers.seal_deposit(keepers.seal(data)) for data in (b"1", b"2"))
    raw = [keepers.signed_seal(good), keepers.signed_seal(replace(bad, descriptor=good.descriptor))]
    assert refusal(lambda: keepers.keeper.deposit_seals(raw)) == ("custodian.13", "")
    assert names(keepers.keeper, "") == []


def seal_refused(keepers: Keepers, deposit: SealDeposit, key: SigningKey | None = None) -> tuple[str, str]:
    found = refusal(lambda: keepers.keeper.deposit_seal(keepers.signed_seal(deposit, key)))
    assert names(keepers.keeper, "") == []
    return found


@pytest.mark.promise("P2")
def test_a_seal_comes_from_a_source_that_is_a_member_under_its_own_key(keepers: Keepers) -> None:
    deposit = keepers.seal_deposit(keepers.seal())
    assert refusal(lambda: keepers.keeper.deposit_seal(b"\xa0")) == ("custody.01", "")
    signed = custody.sign_payload(
        custody.SEAL_DEPOSIT, keepers.fragments(CONSENT)[keepers.keeper.did], keepers.hospital.key
    )
    assert refusal(lambda: keepers.keeper.deposit_seal(codec.encode(signed))) == ("custody.01", "SealDeposit")
    assert seal_refused(keepers, replace(deposit, source=NOBODY)) == ("custodian.20", "")
    assert seal_refused(keepers, deposit, keepers.practice.key) == ("custody.02", "SealDeposit")
    other = custody.sign_payload(custody.RESEAL_DEPOSIT, deposit, keepers.hospital.key)
    assert refusal(lambda: keepers.keeper.deposit_seal(codec.encode(other))) == ("custody.01", "SealDeposit")
    keepers.must(Suspend(member=str(keepers.hospital.did)), *keepers.custodians[:2])
    assert seal_refused(keepers, deposit) == ("custodian.20", "")


@pytest.mark.promise("P2")
def test_a_seal_is_deposited_under_the_subjects_permit(keepers: Keepers) -> None:
    deposit = keepers.seal_deposit(keepers.seal())
    stranger = Actor("stranger", stream=True)

    def under(key: Actor | None = None, /, **changes: object) -> SealDeposit:
        made = keepers.permit(key, **changes)
        return replace(deposit, permit=made.permit, permit_signature=made.signature)

    assert seal_refused(keepers, replace(deposit, permit=b"\xa0")) == ("custodian.20", "")
    assert seal_refused(keepers, replace(deposit, permit_signature=bytes(64)))[0] == "signatures.03"
    assert seal_refused(keepers, under(stream=bytes(32)))[0] == "custodian.20"
    assert seal_refused(keepers, under(source=str(keepers.practice.did)))[0] == "custodian.20"
    others = [did for did in map(str, (each.did for each in keepers.custodians)) if did != keepers.keeper.did]
    assert seal_refused(keepers, under(custodians=others))[0] == "custodian.20"
    foreign = under(stranger, key=stranger.key.public)
    assert seal_refused(keepers, foreign) == ("custodian.20", ""), "the stream's first key is another"
    rotated = under(stranger, key=stranger.key.public, rotation=1)
    assert keepers.keeper.deposit_seal(keepers.signed_seal(rotated)), "a later key; the ledger knows which"


@pytest.mark.promise("P6")
def test_a_seal_belongs_to_its_descriptor_and_stream(keepers: Keepers) -> None:
    sealed, other = keepers.seal(b"1"), keepers.seal(b"2")
    elsewhere = keepers.seal(b"3", stream=bytes(32))
    deposit = keepers.seal_deposit(sealed)
    assert seal_refused(keepers, replace(deposit, seal=other.seal)) == ("custodian.13", "")
    assert seal_refused(keepers, keepers.seal_deposit(elsewhere)) == ("custodian.13", "")
    garbage = replace(deposit, descriptor=b"\xa0")
    assert seal_refused(keepers, garbage) == ("sealing.06", codec.cid_of_cbor(b"\xa0").encode())


@pytest.mark.promise("P2")
def test_a_seal_made_anew_comes_from_the_streams_owner(keepers: Keepers) -> None:
    keeper, fellow = keepers.keepers[:2]
    before = keepers.seal()
    descriptor, cid, seal = seal_anew(before.segment_key, before.descriptor, STRANGER)
    deposit = keepers.reseal_deposit(descriptor, seal)

    def refused(key: SigningKey | None = None, **changes: object) -> tuple[str, str]:
        return refusal(lambda: keeper.deposit_reseal(keepers.sealed_reseal(replace(deposit, **changes), key)))

    assert refused() == ("custodian.20", ""), "the ledger knows no such stream"
    keepers.put_seal(before)
    keepers.registered(before)
    kept = names(keeper, "")
    assert refused(SigningKey.generate()) == ("custodian.20", "")
    assert refused(seal=before.seal) == ("custodian.13", "")
    assert refused(custodian=fellow.did) == ("custody.03", "")
    signed = custody.sign_payload(
        custody.RESEAL_DEPOSIT, replace(deposit, custodian=fellow.did), keepers.stream_key.key
    )
    misdirected = custody.seal_to_custodian(custody.RESEAL_DEPOSIT, HPKE_PUBLIC, keeper.did, signed)
    assert refusal(lambda: keeper.deposit_reseal(misdirected)) == ("custodian.20", "")
    signed = custody.sign_payload(custody.FRAGMENT_DEPOSIT, deposit, keepers.stream_key.key)
    kind = custody.seal_to_custodian(custody.RESEAL_DEPOSIT, HPKE_PUBLIC, keeper.did, signed)
    assert refusal(lambda: keeper.deposit_reseal(kind)) == ("custody.01", "ResealDeposit")
    assert names(keeper, "") == kept
    raw = keepers.sealed_reseal(deposit)
    signed = custody.open_by_custodian(custody.RESEAL_DEPOSIT, HPKE_PRIVATE, keeper.did, raw)
    told = said(custody.ACKNOWLEDGEMENT, keeper.deposit_reseal(raw), Acknowledgement, keeper)
    assert told == Acknowledgement(custodian=keeper.did, what=custody.deposit_digest(signed))
    assert keeper._keeping.seal(keepers.stream, cid) == SealDeposit(
        stream=keepers.stream,
        source=str(keepers.hospital.did),
        descriptor=descriptor,
        seal=seal,
        permit=b"",
        permit_signature=bytes(64),
    )
    others: list[Did] = [each.did for each in keepers.keepers[1:]]
    keepers.must(
        SetCustodians(stream=keepers.stream, custodians=others, threshold=2), keepers.stream_key, keepers.practice
    )
    assert refused() == ("custodian.20", ""), "it is no custodian of this stream any more"


def test_whose_signature_to_ask_for_is_read_before_it_is_believed() -> None:
    key = SigningKey.generate()
    signed = custody.sign_payload(custody.ACKNOWLEDGEMENT, Acknowledgement(custodian=NOBODY, what=bytes(32)), key)
    assert refusal(lambda: deposits.peek(signed, SealDeposit)) == ("custody.01", "SealDeposit")


def test_a_permits_signature_is_over_its_own_bytes(keepers: Keepers) -> None:
    deposit, again = keepers.seal_deposit(keepers.seal()), keepers.permit(serial=2)
    assert seal_refused(keepers, replace(deposit, permit=again.permit))[0] == "signatures.03"
