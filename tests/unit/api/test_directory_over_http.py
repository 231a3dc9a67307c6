"""Another member's directory over real servers: what is found there, what is refused, and who is let in."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from caremesh import codec
from caremesh.client import wire
from caremesh.client.directory import PREFIX, RemoteDirectory
from caremesh.errors import BadInput, Refused, Tampered
from caremesh.fhir.directory import MAX_QUERY_BYTES, DirectoryQuery, sign_entry
from caremesh.fhir.entries import read_entry, split
from caremesh.fhir.references import Condition
from caremesh.gateway.directories import Directories
from caremesh.node.member import MemberHome
from caremesh.node.mesh import LocalMesh
from caremesh.source import directory as source
from caremesh.testing.clock import SettableClock
from tests.support.over_http import OverHttp, over_http

DOCTORS = 12


def entry(home: MemberHome, id_: str) -> bytes:
    json_ = {"resourceType": "Practitioner", "id": id_, "identifier": [{"system": "http://npi", "value": f"n{id_}"}]}
    return sign_entry(read_entry(split(json.dumps(json_).encode()).entries[0]), home.did, home.node_key, 0)


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OverHttp]:
    folder = tmp_path_factory.mktemp("directory")
    with LocalMesh(folder / "mesh", SettableClock()) as mesh, over_http(mesh, folder) as made:
        hospital = mesh.member("hospital")
        hospital.directory.put([entry(hospital.home, str(each)) for each in range(DOCTORS)])
        yield made


def seen(http: OverHttp) -> Directories:
    """As the practice's node sees all directories."""
    return Directories(http.directories("practice"), http.mesh.member("practice").ledger, http.mesh.clock)


def hospital(http: OverHttp) -> MemberHome:
    return http.mesh.member("hospital").home


NAMED = [*(f"Practitioner/{each}" for each in range(DOCTORS)), "Practitioner?identifier=http://npi|n3"]


def test_the_same_is_found_as_in_one_process(http: OverHttp) -> None:
    near = http.mesh.member("practice").directories(http.mesh).resolve(hospital(http).did, [*NAMED, "Practitioner/x"])
    assert sorted(near) == sorted(NAMED)
    assert seen(http).resolve(hospital(http).did, [*NAMED, "Practitioner/x"]) == near
    assert seen(http).resolve(http.mesh.did("laboratory"), NAMED) == {}, "it is another member's"


def test_what_does_not_fit_into_one_answer_comes_in_several(http: OverHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_ANSWER_BYTES", 3 * len(entry(hospital(http), "1")))
    assert sorted(seen(http).resolve(hospital(http).did, NAMED)) == sorted(NAMED)


@pytest.mark.promise("P6")
def test_entries_that_its_node_key_did_not_sign_are_noticed(http: OverHttp) -> None:
    other = http.directories("practice")[http.mesh.did("hospital")]
    there = Directories({http.mesh.did("payer"): other}, http.mesh.member("practice").ledger, http.mesh.clock)
    with pytest.raises(Tampered, match=r"custody\.02"):
        there.resolve(http.mesh.did("payer"), ["Practitioner/1"])


@pytest.mark.promise("P2")
def test_who_is_no_node_is_not_answered(http: OverHttp) -> None:
    door = http.doors["hospital"]
    wallet = RemoteDirectory(http.portal, http.portal.node(door.as_key))
    with pytest.raises(Refused, match=r"api\.05"):
        wallet.answer(codec.encode(DirectoryQuery(wanted=[Condition(type="Practitioner", id="1")])))


def test_what_is_no_query_and_what_is_too_large(http: OverHttp) -> None:
    way = http.directories("practice")[http.mesh.did("hospital")]
    for wrong, code in (
        (b"", "codec"),
        (codec.encode(DirectoryQuery(wanted=[Condition(type="Practitioner")])), r"fhir\.46"),
        (codec.encode({"wanted": [{"type": "Practitioner", "id": "1", "identifier": b""}] * 201}), "codec"),
    ):
        with pytest.raises(BadInput, match=code):
            way.answer(wrong)
    with pytest.raises(Refused, match=r"api\.11"):
        way.answer(b"x" * (MAX_QUERY_BYTES + 1))
    node = http.portal.node(lambda: http.doors["hospital"].as_member("practice"))
    with pytest.raises(BadInput, match=r"api\.16"):
        http.portal.call(lambda: node.call("POST", f"{PREFIX}/queries", b"{}", media=wire.JSON))
