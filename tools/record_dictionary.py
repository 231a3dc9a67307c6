"""Write the dictionary with which records are compressed: src/caremesh/sealing/records.zdict, and the browser's copy.

    python -m tools.record_dictionary            train anew, and write both files
    python -m tools.record_dictionary --measure  what it saves on records that it was not trained on

The dictionary is part of the format: another one opens nothing that was sealed with this. Train a new one only together
with a new version of the format. Trained on the sample patient and the labelled resources (sources and licences:
src/caremesh/fhir/samples/README.md, tests/conformance/fhir), as they are written and without white space, after every
name, address, identifier, date and id in them was replaced by random characters.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import random
import re
import sys
import tarfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import zstandard
from rich.console import Console
from rich.table import Table

from caremesh.fhir import samples
from caremesh.fhir.entries import split
from caremesh.sealing.frames import DICTIONARY_ID, LEVEL, dictionary

BINARY: Final = Path("src/caremesh/sealing/records.zdict")
BROWSER: Final = Path("web/src/sealing/dictionary.ts")
LABELLED: Final = Path("tests/conformance/fhir/labelled.ndjson.gz")
HELD_OUT: Final = Path("tests/conformance/fhir/held_out.ndjson.gz")
PATIENTS: Final = Path("tests/data/synthea.tar.xz")
SIZE_BYTES: Final = 16 * 1024
"""Twice as much saves a few per cent more, and costs as much time again in each record."""
_EVERY: Final = 7
_LARGEST_BUNDLE: Final = 6_000_000
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CHARACTER: Final = re.compile(r"\\u[0-9a-f]{4}|\\.|(?P<one>\w)")
_DATE: Final = re.compile(r'(?<=")\d{4}-\d\d-\d\d(?:T[0-9:.]+)?')
_NUMBER: Final = re.compile(r"(?<=: |.:)\d+\.\d+(?=[,\s}])")
_OWN: Final = re.compile(
    r'(?P<key>"(?:family|city|postalCode|div|name|value|valueString|data)"\s*:\s*")(?P<text>(?:[^"\\]|\\.)*)'
    r'|(?P<many>"(?:given|line)"\s*:\s*\[)(?P<texts>[^\]]*)'
    r'|(?P<before>"reference"\s*:\s*"[^"]*",\s*"display"\s*:\s*")(?P<display>(?:[^"\\]|\\.)*)'
)
_HEADER: Final = """/** The dictionary of `caremesh.sealing.frames`, as `tools/record_dictionary.py` wrote it. */
export const DICTIONARY = Uint8Array.from(
  atob(
    [
{lines}
    ].join(""),
  ),
  (character) => character.charCodeAt(0),
);
"""


def scrubbed(record: str, dice: random.Random) -> str:
    """The record with nobody in it: names, addresses, identifiers, dates, numbers and ids are random characters."""

    def letters(text: str) -> str:
        return _CHARACTER.sub(lambda match: dice.choice(_LETTERS) if match["one"] else match.group(), text)

    def digits(match: re.Match[str]) -> str:
        return re.sub(r"\d", lambda _: str(dice.randrange(1, 10)), match.group())

    def own(match: re.Match[str]) -> str:
        parts = match.groupdict()
        kept = parts["key"] or parts["many"] or parts["before"] or ""
        return kept + letters(parts["text"] or parts["texts"] or parts["display"] or "")

    record = _OWN.sub(own, record)
    record = _UUID.sub(lambda match: re.sub(r"[0-9a-f]", lambda _: f"{dice.randrange(16):x}", match.group()), record)
    return _NUMBER.sub(digits, _DATE.sub(digits, record))


def trained() -> bytes:
    """The dictionary: the same bytes on every run with the same zstandard."""
    dice = random.Random(1)  # noqa: S311 -- replaces what is invented, the same on every run
    records = [scrubbed(record.decode(), dice) for record in (*_of_bundle(samples.patient()), *_lines(LABELLED))]
    texts: list[bytes | bytearray | memoryview] = []
    for record in records:
        texts += [record.encode(), _compact(record.encode())]
    return zstandard.train_dictionary(SIZE_BYTES, texts, level=LEVEL, dict_id=DICTIONARY_ID).as_bytes()


def browsers(data: bytes) -> str:
    """The browser's copy, as TypeScript."""
    text = base64.b64encode(data).decode()
    return _HEADER.replace("{lines}", "\n".join(f'      "{line}",' for line in textwrap.wrap(text, 100)))


def measure(console: Console) -> None:
    """Print sizes and times with and without, on records of other patients and on HL7's held-out examples."""
    others = [record for bundle in _bundles() for record in _of_bundle(bundle)[::_EVERY]]
    plain, with_it = zstandard.ZstdCompressor(level=LEVEL), zstandard.ZstdCompressor(LEVEL, dictionary())
    unpack, unpack_with = zstandard.ZstdDecompressor(), zstandard.ZstdDecompressor(dictionary())
    table = Table("records", "of", "size", "time to compress", "time to unpack", title="with the dictionary ÷ without")
    for name, records in (
        ("of twelve other patients", others),
        ("the same without white space", [_compact(record) for record in others]),
        ("HL7's examples, held out", _lines(HELD_OUT)),
    ):
        bare, packed = [plain.compress(record) for record in records], [with_it.compress(record) for record in records]
        size = sum(map(len, packed)) / sum(map(len, bare))
        compress = _seconds(with_it.compress, records) / _seconds(plain.compress, records)
        open_ = _seconds(unpack_with.decompress, packed) / _seconds(unpack.decompress, bare)
        table.add_row(name, str(len(records)), f"{size:.2f}", f"{compress:.2f}", f"{open_:.2f}")
    console.print(table)


def _of_bundle(data: bytes) -> list[bytes]:
    return [bytes(entry.raw) for entry in split(data).entries]


def _lines(path: Path) -> list[bytes]:
    rows: list[Any] = [msgspec.json.decode(line) for line in gzip.decompress(path.read_bytes()).splitlines() if line]
    return [msgspec.json.encode(row.get("resource", row)) for row in rows]


def _compact(record: bytes) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(record))


def _bundles() -> Iterator[bytes]:
    trained_on = samples.patient()
    with tarfile.open(PATIENTS) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.size < _LARGEST_BUNDLE else None
            data = file.read() if file is not None else b""
            if b'"Patient"' in data and data != trained_on:
                yield data


def _seconds(call: Callable[[bytes], object], records: list[bytes]) -> float:
    """Of all records, the fastest of five."""
    taken = []
    for _ in range(5):
        start = time.thread_time()
        for record in records:
            call(record)
        taken.append(time.thread_time() - start)
    return min(taken)


def main() -> int:
    """Write, or measure."""
    parser = argparse.ArgumentParser(prog="python -m tools.record_dictionary")
    parser.add_argument("--measure", action="store_true", help="what it saves, instead of training")
    if parser.parse_args().measure:
        measure(Console())
        return 0
    data = trained()
    BINARY.write_bytes(data)
    BROWSER.write_text(browsers(data), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
