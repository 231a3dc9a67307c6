"""Fuzz validation with atheris: bytes guided by coverage, from the examples on.

    python -m tools.fuzz_fhir -max_total_time=60 build/fuzz

Arguments are libFuzzer's. ``make test`` runs it briefly, `make sim` for longer, where atheris has wheels.
A finding is an exception that leaves ``validate``, or an outcome that is itself no sound
OperationOutcome; libFuzzer writes the input that did it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["caremesh.fhir"]):
    from caremesh.fhir.validation import validate

from tools.fhir_examples import kept

LARGEST = 4_000


def one_input(data: bytes) -> None:
    """Validate, and validate what validation says."""
    outcome = validate(data)
    answer = validate(outcome.as_fhir())
    if not answer.valid:
        raise ValueError(f"an outcome that is not sound: {[issue.rule for issue in answer.issues]}")


def main() -> None:
    """Fill an empty corpus with the smaller examples, and go on until libFuzzer stops."""
    folders = [Path(each) for each in sys.argv[1:] if not each.startswith("-")]
    for folder in folders[:1]:
        folder.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate([each for each in kept("r4").values() if len(each) < LARGEST][::10]):
            (folder / str(number)).write_bytes(data)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
