"""References into another member's directory: signed by that member, what was asked for, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from caremesh import codec
from caremesh.api.errors import NO_SUCH_PATH, NOT_ALLOWED
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, CareMeshError, Refused, Tampered, Unavailable
from caremesh.fhir.directory import TOO_MUCH, DirectoryAnswer, DirectoryQuery, sign_entry
from caremesh.fhir.entries import read_entry, split
from caremesh.fhir.references import Condition
from caremesh.gateway import directories as module
from caremesh.gateway.directories import KEPT_S, Directories
from caremesh.node.member import MemberHome
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock

NPI = "http://npi"


def signed(home: MemberHome, id_: str, value: str, at: int = 0, kind: str = "Practitioner", **more: Any) -> bytes:
    json_ = {"resourceType": kind, "id": id_, "identifier": [{"system": NPI, "value": value}], **more}
    return sign_entry(read_entry(split(json.dumps(json_).encode()).entries[0]), home.did, home.node_key, at)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("directories") / "mesh", SettableClock()) as made:
        home = made.member("hospital").home
        entries = [signed(home, "1", "a"), signed(home, "2", "b"), signed(home, "3", "b")]
        made.member("hospital").directory.put([*entries, signed(home, "o", "a", kind="Organization")])
        yield made


@pytest.fixture
def hospital(mesh: LocalMesh) -> MemberHome:
    return mesh.member("hospital").home


class Way:
    """The way to a directory, which counts what is asked, and can be made to answer something else."""

    def __init__(self, mesh: LocalMesh) -> None:
        self.mesh = mesh
        self.asked: list[Condition] = []
        self.instead: bytes | None = None

    def answer(self, query: bytes) -> bytes:
        self.asked += codec.decode_as(query, DirectoryQuery).wanted
        return self.mesh.member("hospital").directory.answer(query) if self.instead is None else self.instead


def seen(mesh: LocalMesh, way: Way, clock: SettableClock | None = None) -> Directories:
    """As the practice sees the hospital's directory."""
    ledger = mesh.member("practice").ledger
    return Directories({mesh.member("hospital").home.did: way}, ledger, clock or SettableClock())


def test_another_member_finds_what_a_record_names(mesh: LocalMesh, hospital: MemberHome) -> None:
    way = Way(mesh)
    named = ["Practitioner/1", f"Practitioner?identifier={NPI}|a", f"Organization?identifier={NPI}|a", "Patient/1"]
    nothing = [f"Practitioner?identifier={NPI}|none", "#p", "urn:uuid:1", "Practitioner?name=x", "Practitioner/9"]
    several = f"Practitioner?identifier={NPI}|b"
    directories = seen(mesh, way)
    found = directories.resolve(hospital.did, [*named, *nothing, several])
    assert {name: (entry.type, entry.id) for name, entry in found.items()} == {
        named[0]: ("Practitioner", "1"),
        named[1]: ("Practitioner", "1"),
        named[2]: ("Organization", "o"),
    }
    assert all(wanted.type in ("Practitioner", "Organization") for wanted in way.asked)


def test_it_is_asked_once_in_a_while(mesh: LocalMesh, hospital: MemberHome) -> None:
    way, clock = Way(mesh), SettableClock()
    directories = seen(mesh, way, clock)
    for _ in range(3):
        assert len(directories.resolve(hospital.did, ["Practitioner/1"])) == 1
    assert len(way.asked) == 1
    clock.advance(KEPT_S)
    directories.resolve(hospital.did, ["Practitioner/1"])
    assert len(way.asked) == 2


def test_many_are_asked_for_in_pieces(mesh: LocalMesh, hospital: MemberHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WANTED", 2)
    way = Way(mesh)
    names = [f"Practitioner/{number}" for number in range(1, 6)]
    assert list(seen(mesh, way).resolve(hospital.did, names)) == names[:3]
    assert len(way.asked) == 5
    with pytest.raises(BadInput):
        mesh.member("hospital").directory.answer(b"no query")
    monkeypatch.setattr(module, "MAX_KEPT", 1)
    assert list(seen(mesh, way).resolve(hospital.did, names[:2])) == names[1:2]


@pytest.mark.promise("P6")
def test_what_the_member_did_not_sign_or_was_not_asked_for_is_named(mesh: LocalMesh, hospital: MemberHome) -> None:
    way = Way(mesh)
    good = signed(hospital, "1", "a")
    payer = mesh.member("payer").home
    forged = sign_entry(
        read_entry(split(b'{"resourceType":"Practitioner","id":"1"}').entries[0]),
        hospital.did,
        SigningKey.generate(),
        0,
    )
    for found in ([[good], [good]], [], [[signed(hospital, "2", "a")]], [[forged]], [[signed(payer, "1", "a")]]):
        way.instead = codec.encode(DirectoryAnswer(found=found))
        with pytest.raises(Tampered, match=r"(gateway\.15|custody\.0[12]|fhir\.34)") as caught:
            seen(mesh, way).resolve(hospital.did, ["Practitioner/1"])
        assert hospital.did in caught.value.place, "who did not sign it, or answers something else"
    changed = bytearray(good)
    changed[len(good) // 2] ^= 1
    way.instead = codec.encode(DirectoryAnswer(found=[[bytes(changed)]]))
    with pytest.raises(Tampered):
        seen(mesh, way).resolve(hospital.did, ["Practitioner/1"])
    way.instead = b"\xff"
    with pytest.raises(Tampered, match=rf"gateway\.15.*{hospital.did}"):
        seen(mesh, way).resolve(hospital.did, ["Practitioner/1"])
    way.instead = codec.encode(DirectoryAnswer(found=[[signed(hospital, "1", "a", kind="Organization")]]))
    with pytest.raises(Tampered, match=r"gateway\.15"):
        seen(mesh, way).resolve(hospital.did, ["Practitioner/1"])


def test_an_older_version_does_not_replace_a_newer_one(mesh: LocalMesh, hospital: MemberHome) -> None:
    way, clock = Way(mesh), SettableClock()
    directories = seen(mesh, way, clock)
    got = []
    for at, family in ((20, "New"), (10, "Old"), (30, "Newest")):
        entry = signed(hospital, "1", "a", at, name=[{"family": family}])
        way.instead = codec.encode(DirectoryAnswer(found=[[entry]]))
        got.append(directories.resolve(hospital.did, ["Practitioner/1"])["Practitioner/1"].recorded)
        clock.advance(KEPT_S)
    assert got == [20, 20, 30]
    entry = signed(hospital, "1", "a", 30, name=[{"family": "Newest of all"}])
    way.instead = codec.encode(DirectoryAnswer(found=[[entry]]))
    found = directories.resolve(hospital.did, ["Practitioner/1"])["Practitioner/1"]
    assert b"Newest of all" in found.data, "of two of the same second, what the directory says now"


def test_who_is_told_that_it_is_too_much_asks_for_fewer(mesh: LocalMesh, hospital: MemberHome) -> None:
    named = [f"Practitioner/{each}" for each in range(1, 8)]

    class Small(Way):
        most, asks = 2, 0

        def answer(self, query: bytes) -> bytes:
            self.asks += 1
            if len(codec.decode_as(query, DirectoryQuery).wanted) > self.most:
                raise Refused(TOO_MUCH)
            return super().answer(query)

    way = Small(mesh)
    assert sorted(seen(mesh, way).resolve(hospital.did, named)) == named[:3]
    assert sorted(each.id for each in way.asked) == [str(each) for each in range(1, 8)]
    way.most, way.asks = 0, 0
    with pytest.raises(Refused, match=r"fhir\.47"):
        seen(mesh, way).resolve(hospital.did, named)
    assert way.asks == 3, "7, 3, 1"


def test_other_refusals_and_nodes_that_do_not_know_the_question(mesh: LocalMesh, hospital: MemberHome) -> None:
    class Refusing(Way):
        error: CareMeshError = Refused(NOT_ALLOWED)
        asks = 0

        def answer(self, query: bytes) -> bytes:  # noqa: ARG002 - the name is the way's
            self.asks += 1
            raise self.error

    way = Refusing(mesh)
    with pytest.raises(Refused, match=r"api\.05"):
        seen(mesh, way).resolve(hospital.did, ["Practitioner/1", "Practitioner/2"])
    assert way.asks == 1
    way.error = BadInput(NO_SUCH_PATH)
    with pytest.raises(Unavailable, match=rf"gateway\.16.*{hospital.did}"):
        seen(mesh, way).resolve(hospital.did, ["Practitioner/1"])


def test_what_the_directory_has_no_more_or_has_twice_is_forgotten(mesh: LocalMesh, hospital: MemberHome) -> None:
    way, clock = Way(mesh), SettableClock()
    directories = seen(mesh, way, clock)
    for answer in ([], [signed(hospital, "1", "a"), signed(hospital, "1", "a", 1)]):
        assert list(directories.resolve(hospital.did, ["Practitioner/1"])) == ["Practitioner/1"]
        clock.advance(KEPT_S)
        way.instead = codec.encode(DirectoryAnswer(found=[answer]))
        assert directories.resolve(hospital.did, ["Practitioner/1"]) == {}
        assert directories.resolve(hospital.did, ["Practitioner/1"]) == {}, "and asked for again"
        way.instead = None


def test_a_member_that_is_not_known_or_not_reached(mesh: LocalMesh, hospital: MemberHome) -> None:
    practice = mesh.member("practice").home.did
    for member in (practice, "did:caremesh:demo:" + "a" * 32):
        with pytest.raises(Unavailable, match=rf"gateway\.16.*{member}"):
            seen(mesh, Way(mesh)).resolve(member, ["Practitioner/1"])
    assert seen(mesh, Way(mesh)).resolve(practice, ["Patient/1"]) == {}
    assert len(mesh.member("practice").directories(mesh).resolve(hospital.did, ["Practitioner/1"])) == 1
