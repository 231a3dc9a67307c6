"""Ask the HAPI validator, offline, what it thinks of every kept example, and keep its verdicts.

    python -m tools.fhir_verdicts

Needs ``java`` 17 or newer and ``mvn`` (HAPI comes from Maven Central). Answers are cached in build/fhir by the hash
of what
was asked, so a second run asks only what is new. What is written, tests/conformance/fhir/data/verdicts.json.zst, holds
``{source: {name: [[message id, location], …]}}``: errors only, an empty list is a pass; ``!`` begins the name of a
crash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import zstandard

from caremesh.fhir.validation import validate
from tools.fhir_examples import FETCHED, KEPT, kept
from tools.fhir_mutants import Mutant, mutants

HAPI: Final = "8.0.0"
ARTIFACTS: Final = (
    "hapi-fhir-validation",
    "hapi-fhir-structures-r4",
    "hapi-fhir-validation-resources-r4",
    "hapi-fhir-caching-caffeine",
)
PROGRAM: Final = Path("tools/hapi/Verdicts.java")
CACHE: Final = FETCHED / "verdicts-cache.jsonl"
VERDICTS: Final = KEPT / "verdicts.json.zst"
_SYSTEM: Final = re.compile(r"['\"]([a-z]+:[^#'\"]+)#")
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\([^)]*\)")
SOURCES: Final = ("r4", "ibm", "synthea")


def library() -> Path:
    """The folder with HAPI's jars, fetched from Maven Central when missing."""
    folder = FETCHED / f"hapi-{HAPI}"
    if not folder.exists():
        dependencies = "".join(
            f"<dependency><groupId>ca.uhn.hapi.fhir</groupId><artifactId>{name}</artifactId>"
            f"<version>{HAPI}</version></dependency>"
            for name in ARTIFACTS
        )
        FETCHED.mkdir(parents=True, exist_ok=True)
        project = FETCHED / "hapi.xml"
        project.write_text(
            '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
            "<groupId>caremesh</groupId><artifactId>hapi</artifactId><version>1</version>"
            f"<dependencies>{dependencies}</dependencies></project>",
            "utf-8",
        )
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder.resolve()}"]
        subprocess.run(["mvn", "--quiet", "--batch-mode", "-f", str(project), *goal], check=True, stdout=sys.stderr)
    return folder


class Hapi:
    """The validator as a child process: one resource in, its errors out."""

    def __init__(self) -> None:
        command = ["java", "-Xmx3g", "-cp", f"{library()}/*", str(PROGRAM)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("HAPI has no pipes")
        self._in, self._out = self._process.stdin, self._process.stdout
        self._line()

    def ask(self, resource: bytes) -> tuple[int, list[list[str]]]:
        """Microseconds it took, and its errors: message id, severity, location, text."""
        self._in.write(base64.b64encode(resource).decode() + "\n")
        self._in.flush()
        took, *fields = self._line().split("\t")
        errors = [field.split("|") for field in fields]
        return int(took), [[*one[:3], base64.b64decode(one[3]).decode()] for one in errors]

    def close(self) -> None:
        """End the process."""
        self._in.close()
        self._process.wait()

    def _line(self) -> str:
        while True:
            line = self._out.readline()
            if not line:
                raise RuntimeError("HAPI ended before its answer")
            if line.startswith("!ready") or line[0].isdigit():
                return line.rstrip("\n")


def asked(name: str, resource: bytes, cache: dict[str, list[list[str]]], hapi: list[Hapi]) -> list[list[str]]:
    """HAPI's errors on one resource, from the cache when it was asked before."""
    key = hashlib.sha256(resource).hexdigest()
    if key not in cache:
        if not hapi:
            hapi.append(Hapi())
        took, cache[key] = hapi[0].ask(resource)
        with CACHE.open("a", encoding="utf-8") as file:
            file.write(json.dumps([key, name, took, cache[key]]) + "\n")
    return cache[key]


def identity(message: str, text: str) -> str:
    """The id of a message; where HAPI has one for all code systems, with the system; where it has none, its words."""
    if message == "Terminology_PassThrough_TX_Message":
        match = _SYSTEM.search(text)
        return f"{message} {match[1]}" if match else message
    return f"parser: {_QUOTED.sub('…', text)}"[:60] if message == "null" else message


def cached() -> dict[str, list[list[str]]]:
    """Every answer given before, by the hash of what was asked."""
    if not CACHE.exists():
        return {}
    return {line[0]: line[3] for line in map(json.loads, CACHE.read_text("utf-8").splitlines())}


def questions() -> Iterator[tuple[str, str, bytes]]:
    """Source, name and bytes of everything that HAPI is asked."""
    for source in SOURCES:
        for name, resource in kept(source).items():
            yield source, name, resource
    for mutant in all_mutants():
        yield "mutants", mutant.name, mutant.resource


@cache
def all_mutants() -> list[Mutant]:
    """Mutants of the R4 and Synthea examples in which nobody finds a fault."""
    return mutants(("r4", "synthea"), lambda source, name: validate(kept(source)[name]).valid)


@cache
def verdicts() -> dict[str, dict[str, list[list[str]]]]:
    """The kept verdicts."""
    text = zstandard.ZstdDecompressor().decompress(VERDICTS.read_bytes())
    found: dict[str, dict[str, list[list[str]]]] = json.loads(text)
    return found


def main() -> int:
    """Ask, and write."""
    cache, hapi = cached(), list[Hapi]()
    found: dict[str, dict[str, list[list[str]]]] = {}
    for source, name, resource in questions():
        errors = asked(name, resource, cache, hapi)
        said = {(identity(one[0], one[3]), one[2]) for one in errors}
        found.setdefault(source, {})[name] = [list(one) for one in sorted(said)]
    for one in hapi:
        one.close()
    text = json.dumps(found, separators=(",", ":"), sort_keys=True)
    VERDICTS.write_bytes(zstandard.ZstdCompressor(level=19).compress(text.encode()))
    print(f"{VERDICTS}: {sum(map(len, found.values()))} verdicts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
