"""Enrolment: a stream for every category, and a profile that only the member reads and nobody can bend."""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.members import queries as members
from caremesh.contracts.streams.messages import PERMIT_DOMAIN, Permit
from caremesh.crypto import signatures
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, Refused, Tampered
from caremesh.sealing import channel
from caremesh.sealing.channel import SealingProfile, hear_profile, tell
from caremesh.types import DAY_S
from caremesh.wallet.enrol import Custody, Enrolled, Writing, custody_for, enrol, sign_permit
from caremesh.wallet.state import Relationship, Stream, keys_of
from tests.support.patient import Patient

CATEGORIES = ["laboratory", "medications", "substance-use"]


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    patient = Patient(tmp_path_factory.mktemp("enrol"))
    yield patient
    patient.mesh.close()


def enrolled(patient: Patient, **changes: object) -> Enrolled:
    options = {
        "state": patient.wallet.state,
        "reader": patient.ledger.reader(),
        "member": patient.did("hospital"),
        "categories": CATEGORIES,
        "custody": Custody(custodians=sorted(patient.mesh.custodians), threshold=2),
        "writing": Writing(until=(patient.clock() // DAY_S + 30) * DAY_S),
    }
    return enrol(**(options | changes))  # type: ignore[arg-type]


def heard(patient: Patient, sealed: bytes, member: str = "hospital") -> SealingProfile:
    home = patient.mesh.member(member).home
    return hear_profile(patient.wallet.state.chain, home.did, home.hpke_private, sealed)


def test_the_member_hears_what_the_wallet_tells(patient: Patient) -> None:
    done = enrolled(patient)
    assert heard(patient, done.sealed) == done.profile
    assert [entry.category for entry in done.profile.entries] == CATEGORIES
    assert len({entry.stream for entry in done.profile.entries}) == 3
    assert len({entry.reading_key for entry in done.profile.entries}) == 3
    for entry in done.profile.entries:
        permit = codec.decode_as(entry.permit.permit, Permit)
        signatures.verify(permit.key, PERMIT_DOMAIN + entry.permit.permit, entry.permit.signature)
        assert signatures.stream_of(permit.key) == entry.stream == permit.stream
        assert (permit.source, permit.threshold, permit.rotation) == (patient.did("hospital"), 2, 0)
        assert permit.custodians == sorted(patient.mesh.custodians)


def test_the_second_stream_of_a_category_keeps_keys_of_its_own(patient: Patient) -> None:
    keys = keys_of(patient.wallet.state, patient.did("hospital")).stream("imaging", 1)
    second = Relationship(member=patient.did("hospital"), streams=[Stream(category="imaging", id=keys.id, counter=1)])
    state = replace(patient.wallet.state, relationships=[second])
    [entry] = enrolled(patient, state=state, categories=["imaging"]).profile.entries
    permit = codec.decode_as(entry.permit.permit, Permit)
    signatures.verify(permit.key, PERMIT_DOMAIN + entry.permit.permit, entry.permit.signature)
    assert signatures.stream_of(permit.key) == entry.stream == keys.id
    assert entry.reading_key == keys.reading(0).public


@pytest.mark.promise("P1")
def test_no_permit_names_a_category_or_another_stream(patient: Patient) -> None:
    done = enrolled(patient)
    for entry in done.profile.entries:
        for other in done.profile.entries:
            assert other.category.encode() not in entry.permit.permit
            assert other is entry or other.stream not in entry.permit.permit
        assert done.profile.channel_key not in entry.permit.permit


def test_enrolling_again_signs_higher_serials_for_the_same_streams(patient: Patient) -> None:
    first = enrolled(patient)
    again = enrolled(patient, state=first.state, categories=["substance-use", "imaging"])
    of = {stream.category: stream for stream in first.state.relationships[0].streams}
    then = {stream.category: stream for stream in again.state.relationships[0].streams}
    assert set(then) == set(of) | {"imaging"}
    assert then["substance-use"].id == of["substance-use"].id
    assert then["substance-use"].serial == of["substance-use"].serial + 1
    assert then["laboratory"] == of["laboratory"]
    assert codec.decode_as(again.profile.entries[0].permit.permit, Permit).serial == then["substance-use"].serial


def test_two_members_get_strangers_for_streams(patient: Patient) -> None:
    hospital, laboratory = enrolled(patient), enrolled(patient, member=patient.did("laboratory"))
    assert hospital.profile.channel_key != laboratory.profile.channel_key
    ids = {entry.stream for done in (hospital, laboratory) for entry in done.profile.entries}
    assert len(ids) == 2 * len(CATEGORIES)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"categories": []}, "wallet.16"),
        ({"categories": ["substance-use", "substance-use"]}, "wallet.16"),
        ({"threshold": 0}, "wallet.18"),
        ({"threshold": 4}, "wallet.18"),
        ({"twice": True}, "wallet.18"),
        ({"until": 1}, "wallet.17"),
    ],
)
def test_malformed_enrolments_are_refused(patient: Patient, changes: dict[str, object], code: str) -> None:
    custodians = sorted(patient.mesh.custodians)
    if changes.pop("twice", False):
        changes["custody"] = Custody(custodians=[custodians[0], *custodians], threshold=2)
    if "threshold" in changes:
        changes["custody"] = Custody(custodians=custodians, threshold=changes.pop("threshold"))  # type: ignore[arg-type]
    if "until" in changes:
        changes["writing"] = Writing(until=DAY_S + changes.pop("until"))  # type: ignore[operator]
    with pytest.raises(BadInput) as caught:
        enrolled(patient, **changes)
    assert caught.value.code == code


@pytest.mark.parametrize("role", ["member", "custodian"])
def test_an_unknown_party_is_refused(patient: Patient, role: str) -> None:
    nobody = "did:caremesh:caremesh-local:" + "a" * 32
    changes = {"member": nobody} if role == "member" else {"custody": Custody(custodians=[nobody], threshold=1)}
    with pytest.raises(Refused, match=r"wallet\.13"):
        enrolled(patient, **changes)


@pytest.mark.promise("P6")
def test_a_profile_that_was_changed_or_is_anothers_is_not_heard(patient: Patient) -> None:
    sealed = enrolled(patient).sealed
    for changed in (sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1]), b"", sealed + b"\0"):
        with pytest.raises(Tampered, match=r"custody\.05"):
            heard(patient, changed)
    with pytest.raises(Tampered, match=r"custody\.05"):
        heard(patient, sealed, "practice")


def bent(patient: Patient, profile: SealingProfile, key: SigningKey | None = None, domain: str = "") -> bytes:
    """A profile as its maker could have bent it, properly signed and sealed."""
    home = patient.mesh.member("hospital").home
    key = key or keys_of(patient.wallet.state, home.did).channel().signing
    public = patient.mesh.member("hospital").home.admission().keys.channel
    return tell(domain or channel.SEALING_PROFILE, home.did, public, profile, key)


@pytest.mark.promise("P6")
def test_a_profile_that_contradicts_itself_is_refused(patient: Patient) -> None:
    profile = enrolled(patient).profile
    entry, other = profile.entries[0], profile.entries[1]
    permit = codec.decode_as(entry.permit.permit, Permit)
    stranger = SigningKey.generate()

    def entries(**changes: object) -> SealingProfile:
        return replace(profile, entries=[replace(entry, **changes), *profile.entries[1:]])

    lies = {
        "another chain": replace(profile, chain="other"),
        "another member": replace(profile, member=patient.did("practice")),
        "a stream twice": replace(profile, entries=[*profile.entries, entry]),
        "another's stream": entries(stream=other.stream),
        "another reading key": entries(reading_key=other.reading_key),
        "another's permit": entries(permit=other.permit),
        "a permit that is none": entries(permit=replace(entry.permit, permit=b"\xa0")),
        "a permit that was changed": entries(permit=replace(entry.permit, signature=other.permit.signature)),
        "a permit by a stranger": entries(permit=sign_permit(replace(permit, key=stranger.public), stranger)),
        "a permit for another source": entries(
            permit=sign_permit(replace(permit, source=patient.did("practice"), key=stranger.public), stranger)
        ),
    }
    for lie in lies.values():
        with pytest.raises(Tampered, match=r"custody\.06"):
            heard(patient, bent(patient, lie))
    with pytest.raises(Tampered, match=r"custody\.06"):
        heard(patient, bent(patient, profile, stranger))
    home = patient.mesh.member("hospital").home
    with pytest.raises(Tampered, match=r"custody\.06"):
        hear_profile("other", home.did, home.hpke_private, bent(patient, profile))
    practice = enrolled(patient, member=patient.did("practice")).profile
    key = keys_of(patient.wallet.state, patient.did("practice")).channel().signing
    with pytest.raises(Tampered, match=r"custody\.06"):
        heard(patient, bent(patient, practice, key))
    with pytest.raises(Tampered, match=r"custody\.05"):
        heard(patient, bent(patient, profile, domain=channel.SHARE))


def test_a_profile_names_the_member_that_keeps_messages(patient: Patient) -> None:
    for relay in (None, patient.did("payer"), patient.did("practice")):
        assert enrolled(patient, state=replace(patient.wallet.state, relay=relay)).profile.relay == relay


@pytest.mark.parametrize(("able", "custodians", "threshold"), [(0, 0, 1), (1, 1, 1), (2, 2, 2), (3, 3, 2), (4, 3, 2)])
def test_as_many_custodians_must_agree_as_the_mesh_has_and_two_where_it_has_more(
    patient: Patient, able: int, custodians: int, threshold: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, source = patient.ledger.reader(), patient.did("hospital")
    known = [replace(each, roles=["custodian"]) for each in members.members(reader)]
    known.sort(key=lambda each: each.did == source)  # the source is never one of them
    listed = [*known[:able], *(replace(each, status="suspended") for each in known[able:-1]), known[-1]]
    monkeypatch.setattr(members, "members", lambda _: listed)
    made = custody_for(reader, source)
    assert (len(made.custodians), made.threshold) == (custodians, threshold)
    assert made.custodians == sorted(made.custodians)
    assert {*made.custodians} <= {each.did for each in known[:able]}


def test_the_text_of_a_profile_shows_no_stream(patient: Patient) -> None:
    done = enrolled(patient)
    assert repr(done.profile) == "SealingProfile(3 entries)"
    assert patient.wallet.state.seed.hex() not in repr(done)
    assert repr(patient.wallet.state) == "WalletState(caremesh-local)"
