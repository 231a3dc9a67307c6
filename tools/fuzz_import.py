"""Feed the first pass of an import with bytes that coverage steers, until anything but a refusal comes out.

    python -m tools.fuzz_import -max_total_time=600

Arguments are libFuzzer's. What it finds becomes an example in tests/property/fhir. ``make test`` runs it briefly, `make
sim` for longer, where atheris has wheels.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["caremesh.fhir", "caremesh.source"]):
    from caremesh.errors import CareMeshError
    from caremesh.fhir.classify import classify
    from caremesh.fhir.entries import lines, read_entry, split
    from caremesh.fhir.labs import lab_rows
    from caremesh.source.resolving import Resolver
    from caremesh.source.survey import survey, valid_r4


PATIENT = b'{"resourceType":"Patient","id":"p","gender":"female"}'
CONDITION = b'{"resourceType":"Condition","subject":{"reference":"urn:uuid:p"},"code":{"coding":[{"code":"1"}]}}'
BEGINNINGS = (
    b'{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"urn:uuid:p","resource":' + PATIENT
    + b',"request":{"method":"POST","url":"Patient"}},{"resource":' + CONDITION
    + b',"request":{"method":"POST","url":"Condition","ifNoneExist":"identifier=a|b"}}]}',
    PATIENT + b"\n" + CONDITION + b"\n",
)  # fmt: skip


class Nothing:
    """Knows nothing."""

    def find(self, condition: object) -> list[str]:  # noqa: ARG002
        """None."""
        return []

    def look_at(self, patient: str) -> None:
        """Nothing to look at."""

    def is_enrolled(self, patient: str) -> bool:  # noqa: ARG002
        """Nobody."""
        return False

    def version(self, *_: str) -> None:
        """None."""


def one(data: bytes) -> None:
    """One input: all that import does before it writes."""
    try:
        file = split(data)
        survey(file.entries, Nothing(), valid_r4, kind=file.kind)
        Resolver(Nothing(), [])
    except CareMeshError:
        pass
    for entry in lines(iter([data]), 10_000):
        try:
            resource = read_entry(entry)
        except CareMeshError:
            continue
        classify(resource)
        lab_rows([resource.json])


def main() -> None:
    """Fill an empty corpus with the beginnings of a bundle and of lines, and go on until libFuzzer stops."""
    for folder in [Path(each) for each in sys.argv[1:] if not each.startswith("-")][:1]:
        folder.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(BEGINNINGS):
            (folder / str(number)).write_bytes(data)
    atheris.Setup([sys.argv[0], "-max_len=4096", "-timeout=10", *sys.argv[1:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
