"""Feed the first pass of an import with bytes that coverage steers, until anything but a refusal comes out.

    pip install atheris && python -m tools.fuzz_import --seconds 600

Not a dependency: atheris has wheels for some Pythons only. What it finds becomes an example in tests/property/fhir.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["caremesh.fhir", "caremesh.source"]):
    from caremesh.errors import CareMeshError
    from caremesh.fhir import samples
    from caremesh.fhir.classify import classify
    from caremesh.fhir.entries import lines, read_entry, split
    from caremesh.fhir.labs import lab_rows
    from caremesh.source.resolving import Resolver
    from caremesh.source.survey import survey, valid_r4


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
    """Run for ``--seconds`` (60)."""
    seconds = sys.argv[sys.argv.index("--seconds") + 1] if "--seconds" in sys.argv else "60"
    one(samples.practitioners()[:20_000])
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10"], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
