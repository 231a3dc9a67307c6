"""The dictionary of frames: part of the format, the same in both languages, and nobody in it."""

import gzip
import json
import random
import re
from pathlib import Path

import msgspec
import pytest
import zstandard

from caremesh.errors import Tampered
from caremesh.fhir import samples
from caremesh.sealing.frames import DICTIONARY_ID, LEVEL, Framer, dictionary
from tools import record_dictionary as tool

FORMAT = "36c0f4a60a00fb6c143f251bf7ecb8f4268ac9a4625247ea5bf079dd79174aea"
RECORD = b'{"resourceType":"Observation","status":"final"}'


def packed(frame: bytes) -> bytes:
    return frame[4 : 4 + int.from_bytes(frame[:4], "big")]


def test_it_is_the_one_of_the_format() -> None:
    from caremesh.crypto.hashes import sha256

    assert sha256(tool.BINARY.read_bytes()).hex() == FORMAT, "another dictionary opens nothing that was sealed before"
    assert tool.BROWSER.read_text("utf-8") == tool.browsers(tool.BINARY.read_bytes())
    assert dictionary().dict_id() == DICTIONARY_ID


def test_frames_are_made_with_it_and_open_without_it_only_when_they_need_none() -> None:
    framer = Framer()
    made = framer.frame(RECORD)
    assert zstandard.get_frame_parameters(packed(made)).dict_id == DICTIONARY_ID
    assert framer.unframe(made, 100) == RECORD
    with pytest.raises(zstandard.ZstdError):
        zstandard.ZstdDecompressor().decompress(packed(made))


def test_a_frame_of_another_dictionary_is_none() -> None:
    framer = Framer()
    other = zstandard.ZstdCompressionDict(tool.BINARY.read_bytes()[:4] + b"\1\2\3\4" + tool.BINARY.read_bytes()[8:])
    data = zstandard.ZstdCompressor(LEVEL, other).compress(RECORD)
    frame = framer.frame(RECORD)
    changed = len(data).to_bytes(4, "big") + data
    padded = changed.ljust(len(frame), b"\0")
    with pytest.raises(Tampered, match=r"sealing\.09"):
        framer.unframe(padded, 100)


def test_it_makes_records_of_other_systems_smaller() -> None:
    rows = gzip.decompress(tool.HELD_OUT.read_bytes()).splitlines()
    records = [msgspec.json.encode(row.get("resource", row)) for row in map(msgspec.json.decode, rows)]
    framer, plain = Framer(), zstandard.ZstdCompressor(LEVEL)
    assert sum(len(packed(framer.frame(r))) for r in records) < 0.75 * sum(len(plain.compress(r)) for r in records)


@pytest.mark.promise("P1")
def test_nobody_is_in_it() -> None:
    bundle = json.loads(samples.patient())
    patient = next(e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Patient")
    own = {name["family"] for name in patient["name"]} | {given for name in patient["name"] for given in name["given"]}
    own |= {part for each in patient["address"] for part in (*each["line"], each["city"])}
    own |= {each["value"] for each in patient["telecom"] + patient["identifier"]} | {patient["birthDate"]}
    own |= {entry["resource"]["id"] for entry in bundle["entry"]}
    data = tool.BINARY.read_bytes()
    assert [text for text in own if text.encode() in data] == []


def test_scrubbing_leaves_the_form_and_nobody_in_it() -> None:
    record = (
        '{"resourceType":"Patient","id":"2641da07-aca9-b7bb-0475-4d968f17e586","name":[{"family":"Aranda\\n843",'
        '"given": [ "Javier97" ]}],"identifier":[{"system":"urn:x","value":"999-12-3456"}],"birthDate":"1969-05-11",'
        '"address":[{"line": [ "12 Elm \\u00e9" ],"city":"Lynn"}],"generalPractitioner":[{"reference":"Practitioner/1",'
        '"display":"Dr. Who"}],"valueQuantity":{"value":0.75}}'
    )
    made = tool.scrubbed(record, random.Random(1))  # noqa: S311 -- replaces what is invented
    parsed = json.loads(made)
    assert list(parsed) == list(json.loads(record))
    for gone in ("2641da07", "Aranda", "Javier", "999", "1969", "Elm", "Lynn", "Who", "0.75"):
        assert gone not in made
    assert parsed["identifier"][0]["system"] == "urn:x"
    assert re.fullmatch(r"[0-9a-f-]{36}", parsed["id"])
    assert "\\n" in made
    assert Path(tool.LABELLED).exists()
