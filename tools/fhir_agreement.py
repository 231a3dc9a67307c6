"""How far our verdicts agree with HAPI's, raw and curated: the numbers, the differences, and the table of the docs.

    python -m tools.fhir_agreement            shows
    python -m tools.fhir_agreement --page     writes docs/reference/fhir-agreement.md

*Raw*: both find an error, or neither does. *Curated*: messages of ``EXCLUDED`` do not count as HAPI's errors, and an
example on which HAPI crashes is left out.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from caremesh.fhir.validation import validate
from tools import fhir_patients
from tools.fhir_examples import is_held_out, kept
from tools.fhir_function_body import LEFT_OUT
from tools.fhir_mutants import FAULTS
from tools.fhir_verdicts import HAPI, all_mutants, verdicts

PAGE: Final = Path("docs/reference/fhir-agreement.md")
PUBLISHER: Final = "HL7's policy for what it publishes, not a rule of R4"
SEMANTICS: Final = "what a definition means (maps, measures, value sets), beyond R4's rules for the resource itself"
ELSEWHERE: Final = "a code system that is not HL7's: not checked, and said so"
EXCLUDED: Final = {
    "VALIDATION_HL7_WG_NEEDED": PUBLISHER,
    "VALIDATION_HL7_PUBLISHER_MISMATCH": PUBLISHER,
    "VALIDATION_VAL_PROFILE_UNKNOWN_NOT_POLICY": "a profile that is not installed: not checked, and said so",
    "CONCEPTMAP_GROUP_SOURCE_CODE_INVALID": SEMANTICS,
    "CONCEPTMAP_GROUP_SOURCE_CODE_INVALID_VS": SEMANTICS,
    "CONCEPTMAP_GROUP_TARGET_CODE_INVALID": SEMANTICS,
    "MEASURE_M_CRITERIA_CQL_NO_LIB": SEMANTICS,
    "SM_NAME_INVALID": SEMANTICS,
    "SM_SOURCE_CONTEXT_UNKNOWN": SEMANTICS,
    "SM_TARGET_CONTEXT_UNKNOWN": SEMANTICS,
    "SM_TARGET_PATH_INVALID": SEMANTICS,
    "VALUESET_BAD_FILTER_VALUE_VALID_CODE": SEMANTICS,
    "Terminology_PassThrough_TX_Message http://unitsofmeasure.org": ELSEWHERE,
    "Terminology_PassThrough_TX_Message urn:iso:std:iso:4217": ELSEWHERE,
}
"""Message ids that do not count in the curated comparison, each with its reason."""
TARGETS: Final = "ours: R4 lists the types that this reference may point at; HAPI looks only where it finds the target"
NESTED: Final = "ours: R4 has Bundle.link.relation and url, also for a Bundle inside a Bundle"
DECIDED: Final = {
    "Bundle-bundle-response-medsallergies.json": NESTED,
    "Bundle-bundle-response-simplesummary.json": NESTED,
    "Bundle-father.json": "HAPI's: R4, Bundle, Resolving references; between entries import resolves, not validation",
    "DeviceMetric-example.json": TARGETS,
    "DeviceUseStatement-example.json": TARGETS,
    "MedicationRequest-medrx0301.json": TARGETS,
    "Observation-clinical-gender.json": TARGETS,
    "Specimen-isolate.json": "ours: R4 has Specimen.collection.collector, collected[x] and method",
}
"""Every example on which the curated verdicts differ: who is right, and by which rule of R4."""


class Compared(NamedTuple):
    """One example: our errors (rule, place) and HAPI's (message id, place)."""

    name: str
    ours: list[tuple[str, str]]
    hapi: list[tuple[str, str]]

    @property
    def crashed(self) -> bool:
        """True when HAPI has no verdict."""
        return any(one[0].startswith("!") for one in self.hapi)

    @property
    def counted(self) -> list[tuple[str, str]]:
        """HAPI's errors that count when curated."""
        return [one for one in self.hapi if one[0] not in EXCLUDED]

    @property
    def agree_raw(self) -> bool:
        """Both find an error, or neither."""
        return bool(self.ours) == bool(self.hapi)

    @property
    def agree(self) -> bool:
        """The same, curated."""
        return bool(self.ours) == bool(self.counted)


def compare(source: str, *, held_out: bool | None = None) -> list[Compared]:
    """Every example of a source, or of one side of the line that was drawn before the rules were written."""
    return [one for one in _compared(source) if held_out is None or is_held_out(one.name) == held_out]


@cache
def _compared(source: str) -> list[Compared]:
    said = verdicts()[source]
    found = []
    for name, resource in kept(source).items():
        errors = [one for one in validate(resource).issues if one.severity in {"error", "fatal"}]
        hapi = [(one[0], one[1]) for one in said[name]]
        found.append(Compared(name, [(one.rule, one.expression) for one in errors], hapi))
    return found


class Share(NamedTuple):
    """How many of how many."""

    agreed: int
    total: int

    @property
    def value(self) -> float:
        """A ratio between 0 and 1."""
        return self.agreed / self.total if self.total else 1.0

    def __str__(self) -> str:
        return f"{self.agreed} of {self.total} ({self.value:.1%})"


def raw(found: list[Compared]) -> Share:
    """Agreement with nothing left out."""
    return Share(sum(one.agree_raw for one in found), len(found))


def curated(found: list[Compared]) -> Share:
    """Agreement without excluded messages and crashes."""
    judged = [one for one in found if not one.crashed]
    return Share(sum(one.agree for one in judged), len(judged))


def false_alarms(found: list[Compared]) -> Share:
    """Examples that only we refuse, among those that HAPI lets pass when curated."""
    passed = [one for one in found if not one.crashed and not one.counted]
    return Share(sum(bool(one.ours) for one in passed), len(passed))


def differences(found: list[Compared]) -> list[Compared]:
    """Where the curated verdicts differ."""
    return [one for one in found if not one.crashed and not one.agree]


SOURCES: Final = {
    "r4": ("npm `hl7.fhir.r4.examples` 4.0.1", "CC0-1.0"),
    "ibm": ("Maven `com.ibm.fhir:fhir-examples` 4.11.1", "Apache-2.0"),
    "synthea": ("Synthea 3.3.0, US Core 5.0.1", "made with Apache-2.0 software; no real person"),
}


def examples_table() -> list[str]:
    """Raw and curated agreement, by source and by side of the line."""
    lines = ["| examples | licence | raw | curated | only we refuse | crashes of HAPI |", "|---|---|---|---|---|---|"]
    for source, (what, licence) in SOURCES.items():
        for held_out in (False, True):
            found = compare(source, held_out=held_out)
            side = "set aside" if held_out else "looked at"
            crashed = sum(one.crashed for one in found)
            cells = (f"{what}, {side}", licence, raw(found), curated(found), false_alarms(found), crashed)
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def mutants_table() -> list[str]:
    """How many mutants of each kind we catch, and how many HAPI does."""
    said = verdicts()["mutants"]
    lines = ["| fault | mutants | caught | HAPI catches |", "|---|---|---|---|"]
    for kind in FAULTS:
        made = [mutant for mutant in all_mutants() if mutant.kind == kind]
        ours = Share(sum(not validate(one.resource).valid for one in made), len(made))
        theirs = sum(any(error[0] not in EXCLUDED for error in said[one.name]) for one in made)
        lines.append(f"| {kind} | {len(made)} | {ours.value:.1%} | {Share(theirs, len(made)).value:.1%} |")
    return lines


def page() -> str:
    """docs/reference/fhir-agreement.md."""
    lines = [
        "# Agreement with the HAPI validator",
        "",
        f"Written by `python -m tools.fhir_agreement --page` from the verdicts of HAPI {HAPI}, offline, which",
        "`python -m tools.fhir_verdicts` keeps beside the examples. The examples set aside are a quarter of all, by a",
        "hash of their names, drawn before any rule was written. *Raw*: both find an error, or neither. *Curated*:",
        "without the messages listed below, and without examples on which HAPI crashes (nearly all of IBM's",
        "`complete-absent`). The labels of IBM's examples are not used.",
        "",
        *examples_table(),
        "",
        "## The thirteen patients and both directory files",
        "",
        "Every resource that imports of `tests/data` see, asked of both (`python -m tools.fhir_patients`). Whatever is",
        "refused would stand here with its place and the rule of FHIR that it breaks.",
        "",
        *fhir_patients.table(),
        "",
        "## Mutants",
        "",
        "Sound examples with one fault each. The faults were chosen by the project, so that this measures what is",
        "caught of known kinds of fault, not of every fault there is.",
        "",
        *mutants_table(),
        "",
        "## Messages that do not count",
        "",
        "| message id of HAPI | why |",
        "|---|---|",
        *(f"| `{name}` | {why} |" for name, why in EXCLUDED.items()),
        "",
        "## Every difference that is left",
        "",
        "| example | who is right, by which rule of R4 |",
        "|---|---|",
        *(f"| `{name}` | {why} |" for name, why in DECIDED.items()),
        "",
        "## Constraints that no function holds",
        "",
        "| constraint | why |",
        "|---|---|",
        *(f"| {key} | {why} |" for key, why in LEFT_OUT.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Show, or write the page."""
    if "--page" in sys.argv[1:]:
        PAGE.write_text(page(), "utf-8")
        return 0
    for source in SOURCES:
        for held_out in (False, True):
            found = compare(source, held_out=held_out)
            print(source, "set aside" if held_out else "looked at", "raw", raw(found), "curated", curated(found))
            for one in differences(found):
                print("   ", one.name, "ours:", one.ours[:2], "HAPI:", one.counted[:2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
