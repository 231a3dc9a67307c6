"""A member's directory: signed entries, checked wherever they come from, all versions kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from caremesh import codec
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.signatures import did_of
from caremesh.errors import BadInput, Refused, Tampered
from caremesh.fhir.directory import (
    DIRECTORY_ENTRY,
    MAX_ANSWER_BYTES,
    MAX_ENTRY_BYTES,
    MAX_FITTING,
    MAX_QUERY_BYTES,
    MAX_WANTED,
    DirectoryAnswer,
    DirectoryEntry,
    DirectoryQuery,
    open_entry,
    sign_entry,
)
from caremesh.fhir.entries import DIRECTORY_TYPES, Resource, read_entry, split
from caremesh.fhir.references import Condition, identifier_digest
from caremesh.sealing.custody import sign_payload
from caremesh.source import directory as source
from caremesh.source.directory import Directory

KEY, OTHER = SigningKey.from_seed(b"a" * 32), SigningKey.from_seed(b"b" * 32)
MEMBER, STRANGER = did_of("test", KEY.public), did_of("test", OTHER.public)


def resource(type_: str = "Practitioner", id_: str = "1", value: str = "npi-1", **others: str) -> Resource:
    json_ = {"resourceType": type_, "id": id_, "identifier": [{"system": "http://npi", "value": value}], **others}
    return read_entry(split(json.dumps(json_).encode()).entries[0])


def signed(**others: str) -> bytes:
    return sign_entry(resource(**others), MEMBER, KEY, 1000)


def query(*wanted: Condition) -> bytes:
    return codec.encode(DirectoryQuery(wanted=list(wanted)))


def test_an_entry_says_what_was_signed() -> None:
    entry = open_entry(signed(), MEMBER, KEY.public)
    assert (entry.data, entry.type, entry.id, entry.recorded) == (resource().data, "Practitioner", "1", 1000)
    assert entry.identifiers == [identifier_digest("http://npi", "npi-1")]


@pytest.mark.promise("P6")
def test_no_byte_can_be_changed() -> None:
    data = signed()
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(Tampered):
            open_entry(changed, MEMBER, KEY.public)


def test_only_by_the_members_key_and_for_the_member() -> None:
    with pytest.raises(Tampered, match=r"custody\.02"):
        open_entry(signed(), MEMBER, OTHER.public)
    with pytest.raises(Tampered, match=r"fhir\.34"):
        open_entry(signed(), STRANGER, KEY.public)
    with pytest.raises(Tampered):
        open_entry(b"", MEMBER, KEY.public)


def test_only_what_is_nobodys_record() -> None:
    with pytest.raises(Tampered, match=r"fhir\.34"):
        sign_entry(resource("Condition"), MEMBER, KEY, 0)
    forged = DirectoryEntry(member=MEMBER, type="Condition", id="1", version="", data=b"{}", identifiers=[], recorded=0)
    with pytest.raises(Tampered, match=r"fhir\.34"):
        open_entry(codec.encode(sign_payload(DIRECTORY_ENTRY, forged, KEY)), MEMBER, KEY.public)


def test_versions_search_and_restart(tmp_path: Path) -> None:
    directory = Directory(tmp_path, MEMBER, KEY.public)
    assert directory.put([signed(), signed(id_="2", value="npi-2")]) == 2
    assert directory.put([signed()]) == 0
    assert directory.put([signed(value="npi-9")]) == 1
    directory.close()
    directory = Directory(tmp_path, MEMBER, KEY.public)
    newest = directory.get("Practitioner", "1")
    assert newest is not None
    assert newest.data == resource(value="npi-9").data
    assert len(directory.versions("Practitioner", "1")) == 2
    assert len(list(directory.entries())) == 2
    found = {
        value: directory.find(Condition(type="Practitioner", identifier=identifier_digest("http://npi", value)))
        for value in ("npi-1", "npi-2", "npi-9")
    }
    assert found == {"npi-1": [], "npi-2": ["2"], "npi-9": ["1"]}
    assert directory.find(Condition(type="Practitioner", id="2")) == ["2"]
    assert directory.find(Condition(type="Organization", id="2")) == []
    assert directory.get("Practitioner", "3") is None
    directory.close()


@pytest.mark.parametrize(
    "wanted",
    [
        Condition(type="Condition", id="1"),
        Condition(type="Practitioner", id="1/2"),
        Condition(type="Practitioner", id="x" * 65),
        Condition(type="Practitioner"),
        Condition(type="Practitioner", identifier=b"/" * 15),
        Condition(type="Practitioner", identifier=b"/" * 600),
    ],
)
def test_what_no_directory_can_have_is_not_looked_for(tmp_path: Path, wanted: Condition) -> None:
    directory = Directory(tmp_path, MEMBER, KEY.public)
    directory.put([signed()])
    good = Condition(type="Practitioner", id="1")
    assert codec.decode_as(directory.answer(query(good)), DirectoryAnswer).found == [[signed()]]
    with pytest.raises(BadInput, match=r"fhir\.46"):
        directory.answer(query(good, wanted))
    directory.close()


def test_an_answer_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = Directory(tmp_path, MEMBER, KEY.public)
    directory.put([signed(), signed(id_="2")])
    one, two = (Condition(type="Practitioner", id=each) for each in "12")
    monkeypatch.setattr(source, "MAX_ANSWER_BYTES", len(signed()))
    assert directory.answer(query(one))
    assert directory.answer(query(two))
    with pytest.raises(Refused, match=r"fhir\.47"):
        directory.answer(query(one, two))
    directory.close()


def test_what_one_condition_finds_fits_into_one_answer_of_a_directory() -> None:
    assert MAX_FITTING * MAX_ENTRY_BYTES * 1.5 < MAX_ANSWER_BYTES
    longest = Condition(type=max(DIRECTORY_TYPES, key=len), id="x" * 64, identifier=b"x" * 16)
    assert len(query(*[longest] * MAX_WANTED)) < MAX_QUERY_BYTES


@pytest.mark.promise("P6")
def test_all_or_nothing_and_nothing_of_others(tmp_path: Path) -> None:
    directory = Directory(tmp_path, MEMBER, KEY.public)
    by_other = sign_entry(resource(id_="2"), STRANGER, OTHER, 0)
    with pytest.raises(Tampered):
        directory.put([signed(), by_other])
    assert directory.versions("Practitioner", "1") == []
    directory.close()


@pytest.mark.promise("P6")
def test_what_was_changed_on_disk_is_noticed(tmp_path: Path) -> None:
    directory = Directory(tmp_path, MEMBER, KEY.public)
    directory.put([signed(family="Koval")])
    directory.close()
    path = tmp_path / "data.mdb"
    data = path.read_bytes()
    assert b"Koval" in data
    path.write_bytes(data.replace(b"Koval", b"Kovac"))
    directory = Directory(tmp_path, MEMBER, KEY.public)
    with pytest.raises(Tampered, match=r"custody\.01"):
        directory.get("Practitioner", "1")
    directory.close()
