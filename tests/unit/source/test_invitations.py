"""Invitations: one code, one patient, one wallet, once. The wrong patient's record is the worst error there is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from msgspec.structs import replace

from caremesh.errors import BadInput, CareMeshError, Refused
from caremesh.node.mesh import LocalMesh
from caremesh.sealing.invitation import Invitation, claim
from caremesh.source.invitations import LIFE_S, MAX_TRIES, Invitations
from caremesh.source.profiles import Profiles
from caremesh.testing.clock import SettableClock
from caremesh.testing.person import Person
from caremesh.types import DAY_S
from caremesh.wallet import state as states
from caremesh.wallet.enrol import Writing, custody_for

pytestmark = pytest.mark.slow
_numbers = count(1)
PASSPHRASE = "correct horse battery staple"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("invite") / "mesh", SettableClock()) as made:
        yield made


@pytest.fixture
def desk(mesh: LocalMesh) -> Invitations:
    return mesh.member("hospital").invitations


@pytest.fixture
def name() -> str:
    return f"patient-{next(_numbers)}"


@pytest.fixture
def someone(mesh: LocalMesh, tmp_path: Path) -> Person:
    return newcomer(mesh, tmp_path)


def newcomer(mesh: LocalMesh, folder: Path) -> Person:
    return Person.create(mesh, folder / f"w{next(_numbers)}.wallet", PASSPHRASE)[0]


def join(person: Person, invitation: Invitation) -> str:
    return person.join(invitation, categories=["conditions"])


def refusal(person: Person, invitation: Invitation) -> str:
    with pytest.raises(CareMeshError) as caught:
        join(person, invitation)
    return caught.value.code


def channel(person: Person, mesh: LocalMesh) -> bytes:
    return states.keys_of(person.wallet.state, mesh.did("hospital")).channel().signing.public


def test_a_code_enrols_its_patient_and_the_front_desk_sees_whom(
    mesh: LocalMesh, desk: Invitations, someone: Person, name: str
) -> None:
    invitation = mesh.invite("hospital", name)
    assert [(known.patient, known.standing(mesh.clock()), known.check) for known in desk.listed(name)] == [
        (name, "open", "")
    ]
    shown = join(someone, invitation)
    [known] = desk.listed(name)
    assert (known.patient, known.standing(mesh.clock()), known.check) == (name, "used", shown)
    assert known.channel_key == channel(someone, mesh)
    profiles = Profiles(mesh.member("hospital").home.vault)
    assert profiles.patient_of(known.channel_key) == name
    kept = profiles.of(name)
    assert kept is not None
    assert kept.relay == mesh.relay, "where messages for this person are left"
    assert invitation.code not in repr(known)


def test_a_used_code_is_refused_to_anyone_else(mesh: LocalMesh, someone: Person, name: str, tmp_path: Path) -> None:
    invitation = mesh.invite("hospital", name)
    shown = join(someone, invitation)
    assert join(someone, invitation) == shown, "the same wallet, whose answer was lost, gets it again"
    assert refusal(newcomer(mesh, tmp_path), invitation) == "relay.21"


def test_an_expired_code_is_refused(mesh: LocalMesh, desk: Invitations, someone: Person, name: str) -> None:
    invitation = mesh.invite("hospital", name)
    clock = mesh.clock
    assert isinstance(clock, SettableClock)
    clock.advance(LIFE_S)
    mesh.tick()
    assert refusal(someone, invitation) == "relay.22"
    assert desk.listed(name)[0].standing(mesh.clock()) == "expired"


def test_a_wrong_code_counts_and_ends_the_invitation_for_good(
    mesh: LocalMesh, desk: Invitations, someone: Person, name: str
) -> None:
    invitation = mesh.invite("hospital", name)
    wrong = replace(invitation, code="z" * 16)
    assert [refusal(someone, wrong) for _ in range(MAX_TRIES + 1)] == ["relay.20"] * MAX_TRIES + ["relay.24"]
    assert refusal(someone, invitation) == "relay.24", "the right one comes too late"
    assert desk.listed(name)[0].standing(mesh.clock()) == "wrong-code"
    assert refusal(someone, replace(invitation, id=bytes(8))) == "relay.20", "no invitation: the same answer"


def test_a_newer_invitation_ends_the_older_and_the_front_desk_ends_any(
    mesh: LocalMesh, desk: Invitations, someone: Person, name: str
) -> None:
    older, newer = mesh.invite("hospital", name), mesh.invite("hospital", name)
    assert refusal(someone, older) == "relay.23"
    assert desk.end(newer.id).standing(mesh.clock()) == "ended"
    assert refusal(someone, newer) == "relay.23"
    with pytest.raises(Refused, match=r"relay\.20"):
        desk.end(bytes(8))
    join(someone, mesh.invite("hospital", name))
    with pytest.raises(Refused, match=r"relay\.21"):
        desk.end(desk.listed(name)[-1].id)


def test_twins_at_the_front_desk(mesh: LocalMesh, desk: Invitations, tmp_path: Path, name: str) -> None:
    """The desk hands Ann's code to her twin, who is enrolled already, and Bea's to Ann."""
    ann, bea = newcomer(mesh, tmp_path), newcomer(mesh, tmp_path)
    join(bea, mesh.invite("hospital", f"{name}-bea"))
    for_ann = mesh.invite("hospital", f"{name}-ann")
    assert refusal(bea, for_ann) == "relay.26", "one wallet is one person"
    with pytest.raises(Refused, match=r"relay\.25"):
        mesh.invite("hospital", f"{name}-bea")
    assert join(ann, for_ann) != desk.listed(f"{name}-bea")[0].check, "what the two compare differs"
    profiles = Profiles(mesh.member("hospital").home.vault)
    assert profiles.patient_of(channel(ann, mesh)) == f"{name}-ann"
    assert profiles.patient_of(channel(bea, mesh)) == f"{name}-bea"


def test_a_new_wallet_takes_the_olds_place_only_where_the_front_desk_says_so(
    mesh: LocalMesh, tmp_path: Path, name: str
) -> None:
    old, new = newcomer(mesh, tmp_path), newcomer(mesh, tmp_path)
    early = mesh.invite("hospital", name)
    join(old, early)
    assert refusal(new, early) == "relay.21"
    again = mesh.invite("hospital", name, again=True)
    join(new, again)
    profiles = Profiles(mesh.member("hospital").home.vault)
    assert profiles.patient_of(channel(new, mesh)) == name
    assert profiles.patient_of(channel(old, mesh)) is None
    with pytest.raises(CareMeshError) as caught:
        join(old, early)
    assert caught.value.code == "relay.25", "a code that was used once brings no older wallet back"


@pytest.mark.promise("P6")
def test_whoever_carried_an_older_profile_cannot_bring_it_back(mesh: LocalMesh, someone: Person, name: str) -> None:
    did = mesh.did("hospital")
    join(someone, mesh.invite("hospital", name))
    reader, until = someone.ledger.reader(), mesh.clock() // DAY_S * DAY_S + DAY_S
    older = someone.wallet.profile(did, reader)
    newer = someone.wallet.enrol(reader, did, ["conditions"], custody_for(reader, did), Writing(until=until)).sealed
    source = mesh.member("hospital").source(mesh)
    source.renew_profile(newer)
    with pytest.raises(Refused, match=r"source\.10"):
        source.renew_profile(older)
    source.renew_profile(newer)


def test_a_claim_with_somebody_elses_profile_is_refused(mesh: LocalMesh, tmp_path: Path, name: str) -> None:
    ann, bea = newcomer(mesh, tmp_path), newcomer(mesh, tmp_path)
    did = mesh.did("hospital")
    join(ann, mesh.invite("hospital", f"{name}-ann"))
    theirs = ann.wallet.profile(did, ann.ledger.reader())
    mine = states.keys_of(bea.wallet.state, did).channel().signing
    with pytest.raises(Refused, match=r"relay\.20"):
        mesh.member("hospital").invitations.claim(claim(mesh.invite("hospital", name), mesh.chain, theirs, mine))


def test_what_cannot_be_an_invitation_is_refused(desk: Invitations) -> None:
    for patient, life_s in (("", 1), ("a/b", 1), ("a" * 201, 1), ("a", 0), ("a", 91 * DAY_S)):
        with pytest.raises(BadInput, match=r"relay\.27"):
            desk.invite(patient, life_s)


@pytest.mark.promise("P1")
def test_no_code_is_kept(mesh: LocalMesh, name: str) -> None:
    invitation = mesh.invite("hospital", name)
    vault = mesh.member("hospital").home.vault
    kept = b"".join(vault.get(each) or b"" for each in vault.names("invitation/"))
    assert name.encode() in kept
    assert invitation.code.encode() not in kept
