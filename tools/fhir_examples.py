"""Choose the examples that validation is compared with HAPI on, and keep a compact copy of them.

    python -m tools.fhir_examples [--synthea FOLDER]

Sources, fetched by the ordinary package clients (npm, mvn) into build/fhir: npm ``hl7.fhir.r4.examples`` (CC0-1.0) and
Maven ``com.ibm.fhir:fhir-examples`` (Apache-2.0); the third source is a folder of Synthea bundles (``*.json.gz``), by
default the samples that ship with CareMesh. The choice is a function of names only, made before any rule was written:

- R4: every example under 200 kB, of the four kinds that are definitions (StructureDefinition, ValueSet, CodeSystem,
  SearchParameter) 40 each, in the order of the hash of their names;
- IBM: 60 each of minimal, complete-absent and complete-mock by that order;
- Synthea: up to 30 of each resource type by that order;
- *held out* are a quarter of all, by another hash of their names: nobody looks at them while writing rules.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import zstandard

FETCHED: Final = Path("build/fhir")
KEPT: Final = Path("tests/conformance/fhir/data")
SAMPLES: Final = Path("src/caremesh/fhir/samples")
R4_PACKAGE: Final = "hl7.fhir.r4.examples@4.0.1"
IBM_PACKAGE: Final = "com.ibm.fhir:fhir-examples:4.11.1"
LARGEST: Final = 200_000
DEFINITIONS: Final = frozenset({"StructureDefinition", "ValueSet", "CodeSystem", "SearchParameter"})
PER_DEFINITION: Final = 40
PER_IBM_KIND: Final = 60
PER_SYNTHEA_TYPE: Final = 30
_SPACE: Final = re.compile(r'("(?:[^"\\]|\\.)*")|\s+')


def order(name: str) -> bytes:
    """Where a name stands when there are more than are taken."""
    return hashlib.sha256(f"chosen/{name}".encode()).digest()


def is_held_out(name: str) -> bool:
    """True for a quarter of all names, whatever was taken."""
    return hashlib.sha256(f"held-out/{name}".encode()).digest()[0] < 64


def minified(text: str) -> str:
    """JSON text without the white space between its tokens; the tokens stay as they were written."""
    return _SPACE.sub(lambda match: match[1] or "", text)


def r4_package() -> Path:
    """The npm package of R4 examples, fetched when missing."""
    return npm_package(R4_PACKAGE)


def npm_package(package: str) -> Path:
    """The tar of an npm package (``name@version``), fetched when missing."""
    name, _, version = package.rpartition("@")
    path = FETCHED / f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"
    if not path.exists():
        FETCHED.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", package], cwd=FETCHED, check=True, stdout=sys.stderr)
    return path


def ibm_package() -> Path:
    """The jar of IBM's examples, fetched when missing."""
    _, name, version = IBM_PACKAGE.split(":")
    path = FETCHED / f"{name}-{version}.jar"
    if not path.exists():
        FETCHED.mkdir(parents=True, exist_ok=True)
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
        arguments = [f"-Dartifact={IBM_PACKAGE}", f"-DoutputDirectory={FETCHED.resolve()}", "-Dtransitive=false"]
        subprocess.run(["mvn", "--quiet", "--batch-mode", goal, *arguments], check=True, stdout=sys.stderr)
    return path


def r4_examples() -> Iterator[tuple[str, str]]:
    """Name and minified text of the chosen R4 examples."""
    found: dict[str, str] = {}
    by_kind: dict[str, list[str]] = defaultdict(list)
    with tarfile.open(r4_package()) as tar:
        for member in tar:
            name = Path(member.name).name
            file = tar.extractfile(member)
            if (
                member.size > LARGEST
                or not name.endswith(".json")
                or name in {"package.json", ".index.json"}
                or not file
            ):
                continue
            found[name] = file.read().decode("utf-8-sig")
            kind = name.partition("-")[0]
            by_kind[kind if kind in DEFINITIONS else "other"].append(name)
    chosen = by_kind.pop("other")
    for names in by_kind.values():
        chosen += sorted(names, key=order)[:PER_DEFINITION]
    return ((name, minified(found[name])) for name in sorted(chosen))


def ibm_examples() -> Iterator[tuple[str, str]]:
    """Name and minified text of the chosen IBM examples."""
    with zipfile.ZipFile(ibm_package()) as jar:
        for kind in ("minimal", "complete-absent", "complete-mock"):
            names = [name for name in jar.namelist() if name.startswith(f"json/ibm/{kind}/") and name.endswith(".json")]
            for name in sorted(sorted(names, key=order)[:PER_IBM_KIND]):
                yield f"{kind}/{Path(name).name}", minified(jar.read(name).decode("utf-8-sig"))


def synthea_examples(folder: Path) -> Iterator[tuple[str, str]]:
    """Name (type and id) and minified text of the chosen resources of every bundle in a folder."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for path in sorted(folder.glob("*.json.gz")):
        # numbers stay as they were written: a float would lose digits
        bundle = json.loads(gzip.decompress(path.read_bytes()), parse_float=_Number)
        for entry in bundle["entry"]:
            resource = entry["resource"]
            name = f"{resource['resourceType']}/{resource['id']}"
            found[resource["resourceType"]][name] = _compact(resource)
    for kind in sorted(found):
        for name in sorted(sorted(found[kind], key=order)[:PER_SYNTHEA_TYPE]):
            yield name, found[kind][name]


class _Number(float):
    """A float that is written as it was read."""

    def __new__(cls, text: str) -> _Number:
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str

    def __repr__(self) -> str:
        return self.text


def _compact(resource: object) -> str:
    encoder = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
    return "".join(_pieces(encoder, resource))


def _pieces(encoder: json.JSONEncoder, value: object) -> Iterator[str]:
    match value:
        case dict():
            yield "{"
            for index, (key, item) in enumerate(value.items()):
                yield "," * (index > 0) + encoder.encode(key) + ":"
                yield from _pieces(encoder, item)
            yield "}"
        case list():
            yield "["
            for index, item in enumerate(value):
                yield "," * (index > 0)
                yield from _pieces(encoder, item)
            yield "]"
        case _Number():
            yield value.text
        case _:
            yield encoder.encode(value)


def keep(name: str, examples: Iterable[tuple[str, str]]) -> int:
    """Write one source, one ``name TAB json`` line each. Returns how many."""
    lines = [f"{key}\t{text}\n" for key, text in examples]
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{name}.jsonl.zst").write_bytes(zstandard.ZstdCompressor(level=19).compress("".join(lines).encode()))
    return len(lines)


@cache
def kept(name: str) -> dict[str, bytes]:
    """The examples of one source, by name: their minified bytes."""
    text = zstandard.ZstdDecompressor().decompress((KEPT / f"{name}.jsonl.zst").read_bytes())
    lines = (line.partition(b"\t") for line in text.split(b"\n") if line)
    return {key.decode(): data for key, _, data in lines}


def main() -> int:
    """Fetch, choose, write."""
    parser = argparse.ArgumentParser(prog="python -m tools.fhir_examples")
    parser.add_argument("--synthea", type=Path, default=SAMPLES, help="a folder of Synthea bundles (*.json.gz)")
    folder = parser.parse_args().synthea
    for name, examples in (("r4", r4_examples()), ("ibm", ibm_examples()), ("synthea", synthea_examples(folder))):
        print(f"{name}: {keep(name, examples)} examples")
    return 0


if __name__ == "__main__":
    sys.exit(main())
